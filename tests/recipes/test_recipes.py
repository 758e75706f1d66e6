"""The shipped recipes, run for real: the moves of their jobs are those of the reference log beside this file.

And broken ones, each with what is to be said of it in its first line.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoexp import cli

if TYPE_CHECKING:
    from tests.conftest import Room

BROKEN = Path(__file__).with_name("broken")
RECIPES = Path(__file__).parents[2] / "recipes"
PINNED = {"demo": ("model=small", "lr=2e-3")}
"""One point of a recipe's sweep is enough: the others move alike, and take minutes."""
TOLD = ("iteration", "path", "ending", "code", "reason", "parent")
"""What is compared of the evidence; the rest is of one run."""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_a_shipped_recipe_moves_as_its_reference_log_says(room: "Room", tmp_path: Path, name: str) -> None:
    room.machine(cpus=2)
    words = ("run", RECIPES / f"{name}.yaml", *PINNED[name], "--machine", "bench")

    status = room.start(*words).wait(1000)

    assert status == 0, room.said()
    moves = tmp_path / f"{name}.moves"
    moves.write_text(spell(room.journal()))
    reference = Path(__file__).with_name(moves.name)
    assert moves.read_text() == reference.read_text(), f"if this is how it is to be: cp {moves} {reference}"


def spell(records: list[dict[str, Any]]) -> str:
    """Write each job's moves down, in their order; jobs that do not wait for each other go on in any."""
    jobs = sorted({record["job"] for record in records})
    return "\n".join(f"{job}\n{''.join(_line(r) for r in records if r['job'] == job)}" for job in jobs)


def _line(record: dict[str, Any]) -> str:
    told = {key: value for key, value in record["evidence"].items() if key in TOLD}
    words = [f"{record['trigger']}: {record['from'] or 'unborn'} -> {record['to']}"]
    words += [f"{key} {value}" for key, value in told.items()]
    return f"  {' | '.join([*words, *record['actions']])}\n"


@pytest.mark.parametrize("recipe", sorted(BROKEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_broken_recipe_is_refused_with_what_why_fix_and_the_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    says = recipe.read_text().split("\n")[0].removeprefix("# says: ")

    status = cli.main(["plan", str(recipe)])

    what, why, fix = capsys.readouterr().err.splitlines()
    assert status == 1
    assert what.startswith(f"autoexp: {recipe}:{says}")
    assert why.startswith("  why: ")
    assert fix.startswith("  fix: ")
    assert list(tmp_path.iterdir()) == []


def test_there_are_fifty_broken_recipes() -> None:
    assert len(list(BROKEN.glob("*.yaml"))) >= 50
