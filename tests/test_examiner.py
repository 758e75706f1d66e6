"""What a hostile checkpoint may cost: never more than a process that does nothing else."""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoexp import checkpoints, clock, examiner
from autoexp.checkpoints import Judgement
from autoexp.examiner import Examiner

LIMITED = """
import sys
from pathlib import Path
from autoexp import examiner
examiner.MOST_CPU_S = 1
examiner.serve()
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "iter_0000010"
    folder.mkdir()
    (folder / "metadata.json").write_text('{"sharded_backend": "torch_dist", "sharded_backend_version": 1}')
    return folder


@pytest.fixture
def lost() -> list[Path]:
    return []


@pytest.fixture
def judge(lost: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Examiner]:
    """One whose patience is short."""
    monkeypatch.setattr(Examiner, "_start", staticmethod(_start))
    one = Examiner(lambda _, folder: lost.append(folder))
    yield one
    one.close()


def _start() -> "subprocess.Popen[str]":
    return subprocess.Popen((sys.executable, "-c", LIMITED), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def endless_key() -> bytes:
    """A dictionary whose only key is forty tuples deep, each of them twice in the next."""
    key: object = ()
    for _ in range(40):
        key = (key, key)
    return b"}" + pickle.dumps(key, 2)[2:-1] + b"K\x00s."


HUGE_MEMO = b"K\x00r\xff\xff\xff\xff."
"""A number that is to be remembered as the one after four billion others."""


def test_a_key_that_takes_for_ever_to_compare_costs_a_second_and_is_no_checkpoint(
    judge: Examiner, checkpoint: Path, lost: list[Path]
) -> None:
    (checkpoint / ".metadata").write_bytes(endless_key())

    judgement = judge.judge(checkpoint)

    assert (judgement.complete, judgement.iteration) == (False, 10)
    assert "of processor time" in judgement.why
    assert lost == [checkpoint]


def test_a_memory_of_four_billion_places_is_not_given(judge: Examiner, checkpoint: Path) -> None:
    (checkpoint / ".metadata").write_bytes(HUGE_MEMO)

    judgement = judge.judge(checkpoint)

    assert not judgement.complete
    assert "MemoryError" in judgement.why


def test_what_could_not_be_judged_is_tried_again_after_an_hour(
    judge: Examiner, checkpoint: Path, lost: list[Path]
) -> None:
    (checkpoint / ".metadata").write_bytes(endless_key())
    now = clock.now()

    with clock.simulated(lambda: now):
        judge.judge(checkpoint)
        began = time.monotonic()
        judge.judge(checkpoint)
        assert time.monotonic() - began < 0.5
    (checkpoint / ".metadata").write_bytes(b"")
    with clock.simulated(lambda: now + examiner.AGAIN_AFTER_S + 1):
        assert ".metadata" in judge.judge(checkpoint).why
    assert lost == [checkpoint]


def test_it_says_what_the_judge_says_and_goes_on_after_a_loss(
    judge: Examiner, checkpoint: Path, tmp_path: Path
) -> None:
    other = tmp_path / os.fsdecode(b"iter_7 \xff\n")
    other.mkdir()
    (checkpoint / ".metadata").write_bytes(endless_key())

    judge.judge(checkpoint)

    assert judge.judge(other) == checkpoints.judge(other)
    assert judge.judge(other, deep=True) == checkpoints.judge(other)


def test_a_judge_that_was_killed_is_replaced(judge: Examiner, checkpoint: Path) -> None:
    assert judge.judge(checkpoint).why == checkpoints.judge(checkpoint).why
    assert judge._child is not None
    judge._child.kill()

    assert "ended with status -9" in judge.judge(checkpoint).why
    later = clock.now() + 2 * examiner.AGAIN_AFTER_S
    with clock.simulated(lambda: later):
        assert judge.judge(checkpoint).why == checkpoints.judge(checkpoint).why


def test_everyone_asks_the_other_process_for_a_while(checkpoint: Path) -> None:
    asked: list[Path] = []

    def other(folder: Path, *, deep: bool = False) -> Judgement:
        asked.append(folder)
        return checkpoints.unjudged(folder, f"asked, deep={deep}")

    with checkpoints.judged_by(other):
        assert checkpoints.judge(checkpoint, deep=True).why == "asked, deep=True"
    checkpoints.judge(checkpoint)
    assert asked == [checkpoint]


def test_an_answer_that_is_no_json_is_none(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def babbling() -> "subprocess.Popen[str]":
        return subprocess.Popen(("sh", "-c", "echo hello; cat"), stdin=-1, stdout=-1, text=True)

    monkeypatch.setattr(Examiner, "_start", staticmethod(babbling))
    one = Examiner()

    assert "answered 'hello" in one.judge(checkpoint).why
    assert one._child is None


def test_a_module_in_the_working_folder_is_not_run(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "resource", "autoexp"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\nprint('it runs')\n")
    monkeypatch.chdir(tmp_path)
    one = Examiner()

    assert one.judge(checkpoint) == checkpoints.judge(checkpoint)
    one.close()
    assert not (tmp_path / "ran").exists()


def test_inspect_of_a_checkout_judges_in_a_folder_with_modules_of_python_s_names(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("open('ran', 'w')\n")

    said = subprocess.run(
        (sys.executable, "-P", "-m", "autoexp", "inspect", str(checkpoint), "--json"),
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(examiner.__file__).parents[1])},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert said.returncode == 0, said.stderr
    assert ".metadata" in said.stdout
    assert not (tmp_path / "ran").exists()


def test_inspect_ends_on_a_hostile_checkpoint(checkpoint: Path) -> None:
    (checkpoint / ".metadata").write_bytes(HUGE_MEMO)

    said = subprocess.run(
        (sys.executable, "-m", "autoexp", "inspect", str(checkpoint), "--json"),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert said.returncode == 0, said.stderr
    assert "MemoryError" in said.stdout
