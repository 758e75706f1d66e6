import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import checkpoints
from tests.formats import make

ROOT = Path(__file__).parent.parent


# What is not a checkpoint, and what goes away while we look.


def test_absent_empty_and_foreign_folders_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "iter_0000002").mkdir()
    (tmp_path / "iter_0000003").write_text("a file")
    (tmp_path / "iter_0000004").symlink_to("nowhere")
    for number in range(1, 5):
        judgement = checkpoints.judge(tmp_path / f"iter_{number:07d}")
        assert (judgement.format, judgement.iteration, judgement.complete) == ("unknown", number, False)


def test_a_checkpoint_that_vanishes_meanwhile_is_never_an_exception(tmp_path: Path) -> None:
    source = make.distributed(tmp_path / "source")
    folder = tmp_path / "iter_0000006"
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            shutil.copytree(source, folder)
            shutil.rmtree(folder)

    worker = threading.Thread(target=churn)
    worker.start()
    try:
        formats = {checkpoints.judge(folder).format for _ in range(300)}
    finally:
        stop.set()
        worker.join()

    assert formats <= {"unknown", "torch_dist", "torch_dcp", "fsdp_dtensor"}


# Names and trackers.


@given(number=st.integers(0, 10**12), padding=st.integers(0, 12))
def test_a_folder_name_is_its_number_whatever_the_padding(number: int, padding: int) -> None:
    assert checkpoints.iteration_of(f"iter_{number:0{padding}d}") == number
    assert checkpoints.iteration_of(checkpoints.folder_name(number)) == number


@pytest.mark.parametrize("name", ["iter_", "iter_12x", "xiter_12", "iter_-1", "release", "iter_١٢", "iter_1\n"])
def test_other_names_have_no_number(name: str) -> None:
    assert checkpoints.iteration_of(name) is None


def test_iterations_are_numbers_in_order_and_megatrons_spelling_wins(tmp_path: Path) -> None:
    for name in ("iter_0012000", "iter_0002000", "iter_2000", "iter_10", "release", "latest"):
        (tmp_path / name).mkdir()

    found = checkpoints.iterations(tmp_path)

    assert [(n, path.name) for n, path in found.items()] == [
        (10, "iter_10"),
        (2000, "iter_0002000"),
        (12000, "iter_0012000"),
    ]
    assert checkpoints.iterations(tmp_path / "absent") == {}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["iter_0002000", "iter_0012000", "iter_900", "release"], "iter_0012000"),
        (["release"], "release"),
        (["step-90", "step-100", "step-x"], "step-100"),
        (["checkpoint-500", "checkpoint-1000"], "checkpoint-1000"),
        (
            ["eid_1-seen_steps_20-seen_tokens_1", "eid_1-seen_steps_9-seen_tokens_1"],
            "eid_1-seen_steps_20-seen_tokens_1",
        ),
        (["m--val_loss=0.19-step=9-consumed_samples=80.0", "step=249-last"], "step=249-last"),
        ([], None),
    ],
)
def test_the_newest_checkpoint_is_that_of_the_highest_number_whoever_wrote_it(
    tmp_path: Path, names: list[str], expected: str | None
) -> None:
    for name in names:
        (tmp_path / name).mkdir()

    found = checkpoints.newest(tmp_path)

    assert (found and found.name) == expected
    assert checkpoints.newest(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"200", 200),
        (b"200\n", 200),
        (b"release", "release"),
        (b"", "garbled"),
        (b" \n", "garbled"),
        (b"-5", "garbled"),
        (b"1_000", "garbled"),
        (b"2\x00", "garbled"),
        ("٢".encode(), "garbled"),
        (b"9" * 5000, "garbled"),
    ],
)
def test_a_tracker_says_a_number_release_or_nothing(tmp_path: Path, content: bytes, expected: int | str) -> None:
    (tmp_path / checkpoints.TRACKER).write_bytes(content)

    assert checkpoints.read_tracker(tmp_path) == expected


def test_no_tracker_and_an_unreadable_one_are_different_answers(tmp_path: Path) -> None:
    assert checkpoints.read_tracker(tmp_path) is None
    (tmp_path / checkpoints.TRACKER).mkdir()
    assert checkpoints.read_tracker(tmp_path) == "garbled"


# What the watcher may expect.


def test_judging_needs_no_torch() -> None:
    program = "import sys, autoexp.checkpoints; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(ROOT)})


def test_judging_a_small_checkpoint_takes_milliseconds(tmp_path: Path) -> None:
    whole = make.legacy(tmp_path / "iter_0000006")

    def seconds() -> float:
        start = time.perf_counter()
        checkpoints.judge(whole)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(30)) < 0.02
