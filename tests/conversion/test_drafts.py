import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoexp.conversion import drafts

Wait = Callable[..., None]


def make(target: Path, begun: Path, gate: Path | None) -> None:
    """Make a target of one file, and wait at the gate."""
    with drafts.draft(target, target.exists) as folder:
        if folder is None:
            return
        with (folder / "file").open("a") as file:
            file.write(f"{os.getpid()}\n")
        begun.touch()
        while gate is not None and not gate.exists():
            time.sleep(0.02)
        drafts.appear(folder, target)


def start(*args: Path | None) -> multiprocessing.Process:
    process = multiprocessing.get_context("spawn").Process(target=make, args=args)
    process.start()
    return process  # type: ignore[return-value]


def test_a_second_maker_waits_for_the_first_ones_result(tmp_path: Path, wait: Wait) -> None:
    first = start(tmp_path / "made", tmp_path / "begun", tmp_path / "gate")
    wait((tmp_path / "begun").exists)
    second = start(tmp_path / "made", tmp_path / "second", None)

    (tmp_path / "gate").touch()
    first.join(60)
    second.join(60)

    assert (tmp_path / "made" / "file").read_text() == f"{first.pid}\n"
    assert not (tmp_path / "second").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "gate", "made"]


def test_of_several_that_begin_at_the_same_instant_one_makes_it(tmp_path: Path) -> None:
    together, made = threading.Barrier(4), list[Path]()

    def make_at_once(target: Path) -> None:
        together.wait()
        with drafts.draft(target, target.exists) as folder:
            if folder is not None:
                made.append(target)
                time.sleep(0.02)
                drafts.appear(folder, target)

    for number in range(20):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(make_at_once, [tmp_path / str(number)] * 4))

    assert [path.name for path in made] == [str(number) for number in range(20)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map(str, range(20)))


def test_what_a_killed_maker_has_done_is_taken_over_at_once(tmp_path: Path, wait: Wait) -> None:
    first = start(tmp_path / "made", tmp_path / "begun", tmp_path / "gate")
    wait((tmp_path / "begun").exists)
    os.kill(first.pid or 0, signal.SIGKILL)
    first.join(60)

    make(tmp_path / "made", tmp_path / "again", None)

    assert (tmp_path / "made" / "file").read_text() == f"{first.pid}\n{os.getpid()}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "begun", "made"]


def test_the_draft_of_another_host_is_taken_over_once_it_no_longer_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafts, "EXPIRY_S", 0.5)
    foreign = tmp_path / ".made.~another-boot~4026531836~1~1~0.partial"
    foreign.mkdir()
    (foreign / "file").write_text("theirs\n")
    begun = time.monotonic()

    make(tmp_path / "made", tmp_path / "begun", None)

    assert time.monotonic() - begun >= 0.5
    assert (tmp_path / "made" / "file").read_text().startswith("theirs\n")


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wrong"), drafts.draft(tmp_path / "made", lambda: False):
        raise ValueError("wrong")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", [OSError, KeyboardInterrupt])
def test_what_was_done_before_the_disk_was_full_or_somebody_interrupted_is_taken_over(
    tmp_path: Path, end: type[BaseException]
) -> None:
    def ended() -> None:
        with drafts.draft(tmp_path / "made", lambda: False) as folder:
            assert folder is not None
            (folder / "file").write_text("before\n")
            raise end

    with pytest.raises(end):
        ended()
    make(tmp_path / "made", tmp_path / "begun", None)

    assert (tmp_path / "made" / "file").read_text() == f"before\n{os.getpid()}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "made"]


def test_who_comes_second_after_all_leaves_the_firsts_result(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "file").write_text("first")
    (tmp_path / "late").mkdir()

    drafts.appear(tmp_path / "late", tmp_path / "made")

    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "file").read_text() == "first"


def test_the_draft_of_a_folder_whose_name_looks_like_a_pattern_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafts, "EXPIRY_S", 0.1)
    foreign = tmp_path / ".made[1].~another-boot~4026531836~1~1~0.partial"
    foreign.mkdir()

    make(tmp_path / "made[1]", tmp_path / "begun", None)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "made[1]"]


@pytest.mark.parametrize("name", [".made.~x.partial", ".made.~a~b~c~d~e.partial"])
def test_what_only_looks_like_a_draft_is_let_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()

    make(tmp_path / "made", tmp_path / "begun", None)

    assert (tmp_path / name).is_dir()
