import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp.checkup import Grade, installation

if TYPE_CHECKING:
    from tests.checkup.conftest import Ask
    from tests.conftest import Room


def test_an_interpreter_that_jobs_cannot_have_fails(ask: "Ask") -> None:
    assert list(ask(installation.python, python=sys.executable)) == ["python"]
    assert ask(installation.python, python="/bin/sh")["python of jobs"].grade is Grade.OK
    missing = ask(installation.python, python="/opt/none/python")["python of jobs"]

    assert missing.line() == (
        "FAIL  python of jobs: /opt/none/python cannot be run; correct python: in machines/m.yaml"
    )


REQUIREMENTS = [
    "pytest>=1.0",
    "PyYAML>=999",
    "no-such-package>=1",
    'ruff>=0.1; extra == "lint"',
    "nowhere; extra == 'lint'",
    "autoexp[lint]; extra == 'all'",
    "pytest>=1000.2; extra == 'all'",
]


def test_packages_that_are_missing_or_too_old_are_told_by_extra() -> None:
    missing, old, far = (list(installation.lacking_of(REQUIREMENTS, extra)) for extra in ("lint", "", "all"))

    assert missing == ["nowhere is missing"]
    assert [line.partition(" is ")[0] for line in old] == ["PyYAML", "no-such-package"]
    assert old[0].endswith(", and 999 is needed")
    assert far[0] == "nowhere is missing"
    assert far[1].endswith(", and 1000.2 is needed")


def test_what_is_installed_here_is_enough(ask: "Ask") -> None:
    found = ask(installation.packages)

    assert {finding.grade for finding in found.values()} == {Grade.OK}
    assert found["packages"].why == "all that watching needs"


def said(room: "Room", about: str) -> str:
    """What the real program says about one thing, in the room's own world."""
    lines = room.run("doctor", "--machine", "local").stdout.splitlines()
    return next(line for line in lines if line[6:].startswith(f"{about}:"))


def test_a_limit_on_open_files_is_told(room: "Room") -> None:
    assert said(room, "open files").startswith("ok ")
    room.prefix = ("sh", "-c", 'ulimit -n 200; exec "$@"', "sh")

    assert said(room, "open files") == "warn  open files: at most 200; allow more before you watch: ulimit -n 200"


@pytest.mark.parametrize(("observer", "grade"), [("auto", "warn"), ("inotify", "FAIL"), ("poll", "ok  ")])
def test_a_kernel_that_tells_nothing_matters_as_much_as_it_is_asked(room: "Room", observer: str, grade: str) -> None:
    script = 'echo 0 > /proc/sys/user/max_inotify_instances; exec "$@"'
    room.prefix = ("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    (room.home / "machines").mkdir(exist_ok=True)
    (room.home / "machines" / "local.yaml").write_text(f"executor: local\nobserver: {observer}\n")

    assert said(room, "inotify").startswith(f"{grade}  inotify: ")


def test_few_watches_are_told(ask: "Ask", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "max_user_watches").write_text("100\n")
    (tmp_path / "max_user_instances").write_text("128\n")
    monkeypatch.setattr(installation, "_INOTIFY", tmp_path)

    found = ask(installation.inotify)["inotify"]

    assert (found.grade, found.why) == (Grade.WARN, "100 watches and 128 instances for a user")
    assert "fs.inotify.max_user_watches=8192" in found.fix
