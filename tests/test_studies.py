import subprocess
import sys
from pathlib import Path

import pytest

from autoexp import studies
from autoexp.errors import AutoexpError


@pytest.mark.parametrize(
    ("content", "what"),
    [
        pytest.param(None, "is no study", id="missing"),
        pytest.param("{", "cannot be read", id="torn"),
        pytest.param("[]", "cannot be read", id="no object"),
        pytest.param('{"v":2}', "it is of version 2; this autoexp reads 1", id="of a later version"),
        pytest.param('{"v":1}', "cannot be read", id="without its parts"),
        pytest.param(
            '{"v":1,"templates":[{"new":1}],"jobs":[]}', "Template has no new", id="with a field of the future"
        ),
    ],
)
def test_a_plan_that_cannot_be_read_says_why_and_what_to_do(tmp_path: Path, content: str | None, what: str) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    if content is not None:
        (folder / "plan.json").write_text(content)

    with pytest.raises(AutoexpError, match="plan") as caught:
        studies.load(folder)

    assert what in str(caught.value)
    assert "autoexp plan" in caught.value.fix


def test_the_studies_of_a_root_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").write_text("{}")
    (tmp_path / "c").mkdir()
    (tmp_path / "plan.json").touch()
    (tmp_path / "link").symlink_to("a")

    assert [folder.name for folder in studies.all_in(tmp_path)] == ["a", "b", "link"]
    assert [folder.name for folder in studies.folders_in(tmp_path)] == ["a", "b", "c", "link"]


def test_a_root_that_cannot_be_read_is_the_users_to_fix(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError, match="cannot be read"):
        studies.all_in(tmp_path / "none")


def test_a_folder_that_we_may_not_look_into_is_no_study(tmp_path: Path, humble: tuple[str, ...]) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo").chmod(0)
    script = (
        "import sys; from pathlib import Path; from autoexp import studies; print(studies.exists(Path(sys.argv[1])))"
    )
    command = [*humble, sys.executable, "-c", script, str(tmp_path / "demo")]

    done = subprocess.run(command, check=False, capture_output=True, text=True)

    (tmp_path / "demo").chmod(0o700)
    assert (done.stdout, done.stderr) == ("False\n", "")
