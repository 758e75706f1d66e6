"""The wheel: built without a network, unpacked, and used far from the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Room

TOP = Path(__file__).parent.parent
SHIPPED = {"machines": "*.yaml", "recipes": "*.yaml", "hooks": "*.py"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's file."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, check=True, cwd=TOP, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installation is."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)  # our own
    return folder


@pytest.fixture
def away(room: "Room", site: Path) -> "Room":
    """A room in which the installed program runs."""
    room.variables = {"PYTHONPATH": str(site)}
    return room


def test_the_wheel_carries_the_folders_and_leaves_the_tests_at_home(site: Path) -> None:
    shipped = site / "autoexp" / "shipped"
    for kind, pattern in SHIPPED.items():
        ours = {path.name: path.read_bytes() for path in (TOP / kind).glob(pattern)}
        assert {path.name: path.read_bytes() for path in (shipped / kind).iterdir()} == ours
        assert ours
    assert {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} == {"autoexp"}
    assert (site / "autoexp" / "py.typed").exists()
    modules = {path.relative_to(TOP) for path in (TOP / "autoexp").rglob("*.py")}
    assert {
        path.relative_to(site) for path in (site / "autoexp").rglob("*.py") if shipped not in path.parents
    } == modules


def test_the_wheel_has_the_command(site: Path) -> None:
    (entries,) = site.glob("*.dist-info/entry_points.txt")

    assert "autoexp = autoexp.cli:main" in entries.read_text()


def found(away: "Room", kind: str, suffix: str) -> dict[str, str]:
    """What the installed program finds of a kind, by name."""
    script = (
        f"from autoexp import folders\nfor name, path in folders.files({kind!r}, {suffix!r}).items(): print(name, path)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, **away.settings(timeout=60)
    )
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize(("kind", "suffix"), [("machines", ".yaml"), ("recipes", ".yaml"), ("hooks", ".py")])
def test_what_the_wheel_carries_is_found_and_one_s_own_comes_first(
    away: "Room", site: Path, kind: str, suffix: str
) -> None:
    names = sorted(path.stem for path in (TOP / kind).glob(f"*{suffix}"))
    shipped = site / "autoexp" / "shipped" / kind
    (away.home / "machines" / "bench.yaml").unlink()
    assert found(away, kind, suffix) == {name: str(shipped / f"{name}{suffix}") for name in names}

    ours = away.write(f"{kind}/{names[0]}{suffix}", "")
    theirs = away.write(f".config/autoexp/{kind}/{names[-1]}{suffix}", "")

    expected = {name: str(shipped / f"{name}{suffix}") for name in names}
    assert found(away, kind, suffix) == {**expected, names[-1]: str(theirs), names[0]: str(ours)}


def test_a_recipe_of_the_wheel_is_planned_by_its_name(away: "Room", site: Path) -> None:
    done = away.run("plan", "demo")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("demo: 12 jobs on machine local, in ")
    script = next(away.job_dir("").glob("pretrain-*/run.sh")).read_text()
    assert "autoexp.trainers.gpt" in script
    assert f"{TOP}/" not in script.replace(sys.prefix, "")
    study = (away.root / "demo" / "plan.json").read_text()
    assert f"{site}/autoexp/shipped/hooks/cooldown_symlink.py" in study
    assert f"{TOP}/" not in study.replace(sys.prefix, "")


def test_one_s_own_recipe_machine_and_hook_come_before_those_of_the_wheel(away: "Room") -> None:
    away.write("recipes/demo.yaml", "study: mine\nmachine: local\nstages:\n  one: {hook: evaluate}\n")
    away.write("machines/local.yaml", "executor: local\ncpus: 1\n")
    hook = away.write("hooks/evaluate.py", "print('mine')\n")

    done = away.run("run", "demo")

    assert done.returncode == 0, done.stderr
    assert (away.job_dir("one", "mine") / "current.log").read_text() == "mine\n"
    study = (away.root / "mine" / "plan.json").read_text()
    assert str(hook) in study
    assert '"cpus":1,' in study


def test_the_wheel_runs_a_study(away: "Room") -> None:
    away.plan("one: {command: 'true'}\ntwo: {each: {job: one}, command: 'true'}\n")

    assert away.run("watch", away.root, "--until-done").returncode == 0
    assert away.states() == {"one": "succeeded", "two-one": "succeeded"}
