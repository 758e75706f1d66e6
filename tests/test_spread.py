import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from autoexp import spread

ALONE = """
import os, signal, sys
from pathlib import Path
from autoexp.spread import FEWEST, spread

home = Path(sys.argv[1])
os.sched_getaffinity = lambda _: {0, 1, 2}

def work(item):
    if item == 7 and os.getpid() != first:
        raise OSError("only a copy fails")
    with (home / f"{item}").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    if item == bad:
        raise OSError(28, "No space left on device", f"item {item}")

first = os.getpid()
bad = int(sys.argv[2])
if "unasked" in sys.argv:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
try:
    spread(work, range(3 * FEWEST))
except OSError as error:
    sys.exit(f"told: {error}")
"""


def alone(home: Path, *words: str, bad: int = -1) -> str:
    """Spread in a process of its own: a test's has threads."""
    command = [sys.executable, "-W", "error", "-c", ALONE, str(home), str(bad), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_it_is_done_to_every_item_and_by_several_processes(tmp_path: Path) -> None:
    assert alone(tmp_path) == ""

    who = [set((tmp_path / f"{item}").read_text().split()) for item in range(3 * spread.FEWEST)]
    assert len(set.union(*who)) == 3


def test_what_a_copy_cannot_do_is_done_here_where_its_error_is_told(tmp_path: Path) -> None:
    last = 3 * spread.FEWEST - 1

    assert alone(tmp_path, bad=last) == f"told: [Errno 28] No space left on device: 'item {last}'\n"

    assert (tmp_path / "7").exists()


def test_all_is_done_where_nobody_tells_what_became_of_the_copies(tmp_path: Path) -> None:
    assert alone(tmp_path, "unasked") == ""

    assert len(list(tmp_path.iterdir())) == 3 * spread.FEWEST


def test_all_is_done_here_where_there_may_be_no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    done: list[int] = []

    spread.spread(done.append, range(2 * spread.FEWEST))

    assert sorted(done) == list(range(2 * spread.FEWEST))


@pytest.mark.parametrize("items", [0, 3])
def test_few_items_are_done_here_in_their_order(items: int) -> None:
    done: list[int] = []

    spread.spread(done.append, range(items))

    assert done == list(range(items))
