import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint.filesystem import FileSystemReader, _StorageInfo
from torch.distributed.checkpoint.state_dict_saver import save

from autoexp import checkpoints

ROOT = Path(__file__).parent.parent


class Trap:
    """Unpickling it the ordinary way leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def legacy(folder: Path, *, tp: int = 1, pp: int = 1, ep: int = 1, iteration: int = 6, **args: object) -> Path:
    """Write the shards Megatron would write, with next to nothing inside."""
    sizes = {
        "tensor_model_parallel_size": tp,
        "pipeline_model_parallel_size": pp,
        "expert_model_parallel_size": ep,
    }
    for t, p, e in product(range(tp), range(pp), range(ep)):
        rank = f"mp_rank_{t:02d}" + f"_{p:03d}" * (pp > 1) + f"_{e:03d}" * (ep > 1)
        (folder / rank).mkdir(parents=True)
        state = {
            "args": argparse.Namespace(**sizes, **args),
            "checkpoint_version": 3.0,
            "iteration": iteration,
            "model": {"w": torch.zeros(300)},
            "optimizer": {},
        }
        torch.save(state, folder / rank / "model_optim_rng.pt")
        if args.get("use_distributed_optimizer"):
            torch.save({"m": torch.zeros(30)}, folder / rank / "distrib_optim.pt")
    return folder


def write_pieces(state: dict[str, torch.Tensor], *, folder: Path) -> None:
    """Let torch write .metadata and the .distcp files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that one process saves alone
        save(state, checkpoint_id=folder, no_dist=True)


def distributed(folder: Path, *, common: str = "common.pt", marker: str = "torch_dist") -> Path:
    """Write a checkpoint with torch's own writer, and the files that Megatron puts beside it."""
    state = {"decoder.weight": torch.zeros(40), "optimizer.state.exp_avg.decoder.weight": torch.zeros(40)}
    if common == "common_state":
        state["common_state/shard_0_1"] = torch.zeros(1)
    write_pieces(state, folder=folder)
    if common == "common.pt":
        torch.save({"args": argparse.Namespace(), "iteration": 6}, folder / "common.pt")
    (folder / "metadata.json").write_text(json.dumps({"sharded_backend": marker}))
    return folder


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return legacy(tmp_path / "iter_0000006")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return distributed(tmp_path / "iter_0000006")


def shard(folder: Path) -> Path:
    return folder / "mp_rank_00" / "model_optim_rng.pt"


# The legacy format.


def test_a_whole_legacy_checkpoint_is_complete_convertible_and_resumable(whole: Path) -> None:
    assert checkpoints.judge(whole) == checkpoints.Judgement(
        format="torch", iteration=6, complete=True, convertible=True, resumable=True, why="whole"
    )


def test_a_folder_without_a_number_takes_its_iteration_from_the_file(tmp_path: Path) -> None:
    assert checkpoints.judge(legacy(tmp_path / "release", iteration=40)).iteration == 40


@pytest.mark.parametrize(
    ("tp", "pp", "ep", "lost"),
    [
        pytest.param(2, 1, 1, "mp_rank_01", id="tensor"),
        pytest.param(1, 2, 1, "mp_rank_00_001", id="pipeline"),
        pytest.param(1, 1, 2, "mp_rank_00_001", id="expert, which looks like a stage"),
        pytest.param(2, 2, 2, "mp_rank_01_001_001", id="all three"),
    ],
)
def test_every_rank_that_the_args_ask_for_must_be_there(tmp_path: Path, tp: int, pp: int, ep: int, lost: str) -> None:
    folder = legacy(tmp_path / "iter_0000006", tp=tp, pp=pp, ep=ep)
    assert checkpoints.judge(folder).resumable

    shutil.rmtree(folder / lost)

    judgement = checkpoints.judge(folder)
    assert not judgement.convertible
    assert lost in judgement.why


def test_a_rank_of_another_layout_in_the_folder_is_a_contradiction(whole: Path) -> None:
    (whole / "mp_rank_01").mkdir()

    judgement = checkpoints.judge(whole)

    assert not judgement.complete
    assert "mp_rank_01 is there" in judgement.why


def test_a_lost_distributed_optimizer_costs_the_resume_but_not_the_conversion(tmp_path: Path) -> None:
    folder = legacy(tmp_path / "iter_0000006", tp=2, use_distributed_optimizer=True)
    assert checkpoints.judge(folder).resumable

    (folder / "mp_rank_01" / "distrib_optim.pt").unlink()

    judgement = checkpoints.judge(folder)
    assert (judgement.complete, judgement.convertible, judgement.resumable) == (False, True, False)
    assert "mp_rank_01/distrib_optim.pt" in judgement.why


def test_a_checkpoint_saved_without_its_optimizer_is_complete_but_not_resumable(tmp_path: Path) -> None:
    folder = legacy(tmp_path / "iter_0000006", use_distributed_optimizer=True, no_save_optim=True)
    (folder / "mp_rank_00" / "distrib_optim.pt").unlink()

    judgement = checkpoints.judge(folder)

    assert (judgement.complete, judgement.resumable) == (True, False)
    assert "optimizer" in judgement.why


def test_a_copy_under_another_number_is_not_that_checkpoint(whole: Path) -> None:
    copy = whole.rename(whole.parent / "iter_0000007")

    judgement = checkpoints.judge(copy)

    assert not judgement.complete
    assert "iteration 7" in judgement.why


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_shard_cut_anywhere_is_not_whole(whole: Path, share: float) -> None:
    data = shard(whole).read_bytes()
    folder = whole.parent / "cut" / "mp_rank_00"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_optim_rng.pt").write_bytes(data[: int(share * len(data))])

    judgement = checkpoints.judge(folder.parent)

    assert (judgement.complete, judgement.convertible, judgement.resumable) == (False, False, False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(data=st.data())
def test_damage_anywhere_in_a_shard_is_judged_without_an_exception(whole: Path, data: st.DataObject) -> None:
    content = bytearray(shard(whole).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    folder = whole.parent / "damaged" / "mp_rank_00"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_optim_rng.pt").write_bytes(content)

    assert checkpoints.judge(folder.parent).format in {"torch", "unknown"}


def torch_zip(path: Path, pickled: bytes, *, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("model_optim_rng/data.pkl", pickled)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_in_a_hostile_shard_runs(tmp_path: Path, protocol: int) -> None:
    sprung = tmp_path / "sprung"
    folder = tmp_path / "iter_0000006" / "mp_rank_00"
    folder.mkdir(parents=True)
    state = {"args": Trap(sprung), "model": {"w": Trap(sprung)}, "iteration": 6}
    torch_zip(folder / "model_optim_rng.pt", pickle.dumps(state, protocol))

    judgement = checkpoints.judge(folder.parent)

    assert not judgement.complete
    assert not sprung.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(b"cposix\nsystem\n(S'touch sprung'\ntR.", id="calls a function"),
        pytest.param(b"c__builtin__\neval\n(S'1'\ntR.", id="evaluates"),
        pytest.param(b"cos\nenviron\n(dS'a'\nS'b'\nsb.", id="sets attributes of a module's object"),
        pytest.param(b"(" * 200_000 + b"t" * 200_000 + b".", id="nests without end"),
        pytest.param(b"\x8e" + (1 << 62).to_bytes(8, "little") + b".", id="announces exabytes"),
        pytest.param(b"I" + b"9" * 5000 + b"\n.", id="an endless number"),
        pytest.param(b"N.", id="no dictionary"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_no_pickle_is_too_strange_to_be_judged(whole: Path, pickled: bytes) -> None:
    torch_zip(shard(whole), pickled)

    assert not checkpoints.judge(whole).convertible


@pytest.mark.parametrize(
    "size", [0, -1, "2", None, 1 << 40, pytest.param(10**5000, id="more digits than Python prints")]
)
def test_absurd_layouts_are_refused_not_enumerated(tmp_path: Path, size: object) -> None:
    folder = tmp_path / "iter_0000006" / "mp_rank_00"
    folder.mkdir(parents=True)
    state = {"args": argparse.Namespace(tensor_model_parallel_size=size), "model": {}, "iteration": 6}
    torch_zip(folder / "model_optim_rng.pt", pickle.dumps(state))

    assert not checkpoints.judge(folder.parent).convertible


def test_a_compressed_pickle_is_not_unpacked_because_torch_never_writes_one(whole: Path) -> None:
    torch_zip(shard(whole), b"N.", compression=zipfile.ZIP_DEFLATED)

    assert "compressed" in checkpoints.judge(whole).why


def test_a_pipe_in_place_of_a_shard_does_not_keep_the_watcher_waiting(whole: Path) -> None:
    shard(whole).unlink()
    os.mkfifo(shard(whole))

    assert not checkpoints.judge(whole).convertible


# The distributed format.


@pytest.mark.parametrize("common", ["common.pt", "common_state"])
def test_a_whole_distributed_checkpoint_counts_with_either_home_of_its_args(tmp_path: Path, common: str) -> None:
    judgement = checkpoints.judge(distributed(tmp_path / "iter_0000006", common=common))

    assert judgement == checkpoints.Judgement(
        format="torch_dist", iteration=6, complete=True, convertible=True, resumable=True, why="whole"
    )


@pytest.mark.parametrize("lost", [".metadata", "metadata.json", "common.pt", "__0_0.distcp"])
def test_a_distributed_checkpoint_without_one_of_its_files_is_not_whole(sharded: Path, lost: str) -> None:
    (sharded / lost).unlink()

    judgement = checkpoints.judge(sharded)

    assert (judgement.format, judgement.convertible) == ("torch_dist", False)
    assert lost in judgement.why


@pytest.mark.parametrize("torn", [".metadata", "metadata.json", "common.pt", "__0_0.distcp"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_distributed_checkpoint_with_a_cut_file_is_not_whole(sharded: Path, torn: str, share: float) -> None:
    data = (sharded / torn).read_bytes()
    (sharded / torn).write_bytes(data[: int(share * len(data))])

    assert not checkpoints.judge(sharded).convertible


def test_a_shard_younger_than_its_index_is_a_save_under_way(sharded: Path) -> None:
    now = time.time()
    os.utime(sharded / "__0_0.distcp", (now + 60, now + 60))

    judgement = checkpoints.judge(sharded)

    assert not judgement.complete
    assert "younger" in judgement.why


def test_a_weights_only_distributed_checkpoint_is_complete_but_not_resumable(tmp_path: Path) -> None:
    folder = tmp_path / "iter_0000006"
    write_pieces(
        {"decoder.weight": torch.zeros(40), "common_state/x": torch.zeros(1)},
        folder=folder,
    )
    (folder / "metadata.json").write_text('{"sharded_backend": "torch_dist"}')

    judgement = checkpoints.judge(folder)

    assert (judgement.complete, judgement.convertible, judgement.resumable) == (True, True, False)


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "a/../../outside", "\0", "\ud800"])
def test_an_index_cannot_point_outside_its_folder(sharded: Path, path: str) -> None:
    (sharded.parent / "outside").write_bytes(bytes(10_000))
    metadata = FileSystemReader(sharded).read_metadata()
    for index in list(metadata.storage_data):
        metadata.storage_data[index] = _StorageInfo(relative_path=path, offset=0, length=1)
    (sharded / ".metadata").write_bytes(pickle.dumps(metadata))

    assert not checkpoints.judge(sharded).complete


def test_nothing_in_a_hostile_index_runs(sharded: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (sharded / ".metadata").write_bytes(pickle.dumps({"storage_data": Trap(sprung)}))

    assert not checkpoints.judge(sharded).complete
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param(["args", "model.module.w"], "fsdp_dtensor", id="Megatron-FSDP"),
        pytest.param(["args", "model.w"], "torch_dcp", id="plain DCP"),
        pytest.param(["model.w"], "torch_dist", id="a torch_dist save cut before its marker"),
    ],
)
def test_an_index_without_a_marker_is_told_apart_by_its_items(tmp_path: Path, keys: list[str], expected: str) -> None:
    folder = tmp_path / "iter_0000006"
    write_pieces({key: torch.zeros(4) for key in keys}, folder=folder)

    judgement = checkpoints.judge(folder)

    assert judgement.format == expected
    assert not judgement.convertible
    assert judgement.complete == (expected != "torch_dist")


def test_zarr_and_unknown_backends_are_named(tmp_path: Path) -> None:
    assert checkpoints.judge(distributed(tmp_path / "iter_0000001", marker="zarr")).format == "zarr"
    judgement = checkpoints.judge(distributed(tmp_path / "iter_0000002", marker="mystery"))
    assert judgement.format == "unknown"
    assert "mystery" in judgement.why


@pytest.mark.parametrize("marker", ["", "null", "[]", '{"sharded_backend": []}', "[" * 100_000])
def test_no_marker_is_too_strange_to_be_judged(sharded: Path, marker: str) -> None:
    (sharded / "metadata.json").write_text(marker)

    assert not checkpoints.judge(sharded).complete


# What is not a checkpoint, and what goes away while we look.


def test_absent_empty_and_foreign_folders_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "iter_0000002").mkdir()
    (tmp_path / "iter_0000003").write_text("a file")
    (tmp_path / "iter_0000004").symlink_to("nowhere")
    for number in range(1, 5):
        judgement = checkpoints.judge(tmp_path / f"iter_{number:07d}")
        assert (judgement.format, judgement.iteration, judgement.complete) == ("unknown", number, False)


def test_a_checkpoint_that_vanishes_meanwhile_is_never_an_exception(tmp_path: Path) -> None:
    source = distributed(tmp_path / "source")
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


def test_judging_a_small_checkpoint_takes_milliseconds(whole: Path) -> None:
    def seconds() -> float:
        start = time.perf_counter()
        checkpoints.judge(whole)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(30)) < 0.02
