import subprocess
import sys
from pathlib import Path

import pytest

from autoexp import spread

ALONE = """
import os, sys
from pathlib import Path
from autoexp.spread import FEWEST, spread

home = Path(sys.argv[1])
os.cpu_count = lambda: 3

def work(item):
    if item == 7 and os.getpid() != first:
        raise OSError("only a copy fails")
    with (home / f"{item}").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    if item == bad:
        raise OSError(28, "No space left on device", f"item {item}")

first = os.getpid()
bad = int(sys.argv[2])
try:
    spread(work, range(3 * FEWEST))
except OSError as error:
    sys.exit(f"told: {error}")
"""


def alone(home: Path, bad: int = -1) -> str:
    """Spread in a process of its own: a test's has threads."""
    command = [sys.executable, "-W", "error", "-c", ALONE, str(home), str(bad)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_it_is_done_to_every_item_and_by_several_processes(tmp_path: Path) -> None:
    assert alone(tmp_path) == ""

    who = [set((tmp_path / f"{item}").read_text().split()) for item in range(3 * spread.FEWEST)]
    assert len(set.union(*who)) == 3


def test_what_a_copy_cannot_do_is_done_here_where_its_error_is_told(tmp_path: Path) -> None:
    last = 3 * spread.FEWEST - 1

    assert alone(tmp_path, bad=last) == f"told: [Errno 28] No space left on device: 'item {last}'\n"

    assert (tmp_path / "7").exists()


@pytest.mark.parametrize("items", [0, 3])
def test_few_items_are_done_here_in_their_order(items: int) -> None:
    done: list[int] = []

    spread.spread(done.append, range(items))

    assert done == list(range(items))
