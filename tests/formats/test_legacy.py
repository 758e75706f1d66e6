"""Megatron-LM's `torch` format: every state of a save, and damage."""

import argparse
import os
import pickle
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoexp import checkpoints
from tests.formats import make


def shard(folder: Path) -> Path:
    return folder / "mp_rank_00" / "model_optim_rng.pt"


def test_a_whole_legacy_checkpoint_is_complete_convertible_and_resumable(whole: Path) -> None:
    assert checkpoints.judge(whole) == checkpoints.Judgement(
        format="torch", iteration=6, complete=True, convertible=True, resumable=True, why="whole"
    )


def test_a_folder_without_a_number_takes_its_iteration_from_the_file(tmp_path: Path) -> None:
    assert checkpoints.judge(make.legacy(tmp_path / "release", iteration=40)).iteration == 40


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
    folder = make.legacy(tmp_path / "iter_0000006", tp=tp, pp=pp, ep=ep)
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
    folder = make.legacy(tmp_path / "iter_0000006", tp=2, use_distributed_optimizer=True)
    assert checkpoints.judge(folder).resumable

    (folder / "mp_rank_01" / "distrib_optim.pt").unlink()

    judgement = checkpoints.judge(folder)
    assert (judgement.complete, judgement.convertible, judgement.resumable) == (False, True, False)
    assert "mp_rank_01/distrib_optim.pt" in judgement.why


def test_a_checkpoint_saved_without_its_optimizer_is_complete_but_not_resumable(tmp_path: Path) -> None:
    folder = make.legacy(tmp_path / "iter_0000006", use_distributed_optimizer=True, no_save_optim=True)
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
    state = {"args": make.Trap(sprung), "model": {"w": make.Trap(sprung)}, "iteration": 6}
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


# Every state of a save.


def states_of_a_save(source: Path, target: Path) -> list[tuple[str, Path]]:
    """Copy what Megatron writes, in its order, one file at a time and each first in halves; yield every state."""
    files = sorted(source.rglob("*.pt"), key=lambda file: (file.name != "distrib_optim.pt", file))
    target.mkdir()
    states = [("an empty folder", shutil.copytree(target, target.with_name("s0")))]
    for number, file in enumerate(files):
        place = target / file.relative_to(source)
        place.parent.mkdir(exist_ok=True)
        data = file.read_bytes()
        for part, share in enumerate((0.0, 0.5, 1.0)):
            place.write_bytes(data[: int(share * len(data))])
            name = f"{file.relative_to(source)} to {share:.0%}"
            states.append((name, shutil.copytree(target, target.with_name(f"s{number}{part}"))))
    return states


def test_a_save_is_whole_with_its_last_byte_and_not_before(tmp_path: Path) -> None:
    source = make.legacy(tmp_path / "iter_0000006", tp=2, use_distributed_optimizer=True)

    states = states_of_a_save(source, tmp_path / "target")

    verdicts = [(name, checkpoints.judge(folder)) for name, folder in states]
    assert [name for name, found in verdicts[:-1] if found.complete or found.convertible or found.resumable] == []
    assert verdicts[-1][1].resumable


def test_a_save_over_an_old_one_is_not_whole_while_any_file_is_torn(tmp_path: Path) -> None:
    folder = make.legacy(tmp_path / "iter_0000006", tp=2)
    for rank in ("mp_rank_00", "mp_rank_01"):
        file = folder / rank / "model_optim_rng.pt"
        data = file.read_bytes()
        for share in (0.0, 0.5):
            file.write_bytes(data[: int(share * len(data))])
            assert not checkpoints.judge(folder).convertible
        file.write_bytes(data)
        assert checkpoints.judge(folder).resumable


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"iteration": 3, "tp": 2}, "another save: iteration differs"),
        ({"tp": 4}, "another save: tensor_model_parallel_size differs"),
        ({"tp": 2, "rotary_base": 10_000}, "another save: rotary_base differs"),
        ({"tp": 2, "lr": 1e-3, "seed": 7}, "another save: seed, lr differs"),
        ({"tp": 2, "world_size": 8}, "another save: world_size differs"),
    ],
)
def test_a_rank_of_another_iteration_layout_or_run_is_of_another_save(
    tmp_path: Path, other: dict[str, Any], why: str
) -> None:
    folder = make.legacy(tmp_path / "iter_0000006", tp=2)
    foreign = make.legacy(tmp_path / "other", **other)
    shutil.copy(foreign / "mp_rank_01" / "model_optim_rng.pt", folder / "mp_rank_01")

    judgement = checkpoints.judge(folder)

    assert not judgement.convertible
    assert why in judgement.why


def saved_again(folder: Path, *names: str) -> Path:
    """Let these files be of a save that came an hour after the first one, and was killed before its tracker."""
    tracker = folder.parent / checkpoints.TRACKER
    tracker.write_text("6")
    for file in {tracker, *folder.rglob("*.pt")} - {folder / name for name in names}:
        make.age(file)
    return folder


@pytest.mark.parametrize(
    ("new", "convertible"),
    [
        pytest.param(["mp_rank_00/model_optim_rng.pt"], False, id="one rank's model"),
        pytest.param(["mp_rank_00/distrib_optim.pt"], True, id="one rank's optimizer"),
        pytest.param([f"mp_rank_0{rank}/distrib_optim.pt" for rank in (0, 1)], True, id="the optimizer, not the model"),
        pytest.param([f"mp_rank_0{rank}/model_optim_rng.pt" for rank in (0, 1)], True, id="the model alone"),
        pytest.param([f"mp_rank_00/{name}" for name in ("distrib_optim.pt", "model_optim_rng.pt")], False, id="a rank"),
    ],
)
def test_a_save_over_a_finished_one_that_was_killed_between_files_is_told_by_the_tracker(
    tmp_path: Path, new: list[str], *, convertible: bool
) -> None:
    folder = make.legacy(tmp_path / "iter_0000006", tp=2, use_distributed_optimizer=True)

    judgement = checkpoints.judge(saved_again(folder, *new))

    assert (judgement.complete, judgement.convertible, judgement.resumable) == (False, convertible, False)
    assert f"{min(new)} was written after" in judgement.why or f"{max(new)} was written after" in judgement.why


def test_a_save_whose_ranks_are_an_hour_apart_is_whole_before_and_after_its_tracker(tmp_path: Path) -> None:
    folder = make.legacy(tmp_path / "iter_0000006", tp=2, use_distributed_optimizer=True)
    for file in (folder / "mp_rank_01").iterdir():
        make.age(file)
    assert checkpoints.judge(folder).resumable
    tracker = tmp_path / checkpoints.TRACKER
    tracker.write_text("3")
    assert checkpoints.judge(folder).resumable
    for _ in range(2):
        make.age(tracker)

    assert checkpoints.judge(folder).resumable, "the tracker is of a save before this one"


def test_a_file_of_a_host_whose_clock_is_fast_is_of_the_same_save(tmp_path: Path) -> None:
    folder = make.legacy(tmp_path / "iter_0000006", tp=2)
    (tmp_path / checkpoints.TRACKER).write_text("6")
    ahead = time.time() + 20
    os.utime(shard(folder), (ahead, ahead))

    assert checkpoints.judge(folder).resumable


def test_a_rank_of_a_run_that_began_elsewhere_is_of_another_save(tmp_path: Path) -> None:
    folder = make.legacy(tmp_path / "iter_0000006", tp=2)
    for rank, began in (("mp_rank_00", 3), ("mp_rank_01", 0)):
        state = torch.load(folder / rank / "model_optim_rng.pt", weights_only=False)
        state["args"].iteration = began
        torch.save(state, folder / rank / "model_optim_rng.pt")

    judgement = checkpoints.judge(folder)

    assert not judgement.convertible
    assert "another save: the iteration the run began at differs" in judgement.why


def test_a_shard_of_zeros_is_not_whole(whole: Path) -> None:
    shard(whole).write_bytes(bytes(shard(whole).stat().st_size))

    assert not checkpoints.judge(whole).convertible


def test_a_layer_wise_optimizer_needs_a_file_of_each_replica(tmp_path: Path) -> None:
    folder = make.legacy(tmp_path / "iter_0000006", optimizer="dist_muon", data_parallel_size=2)
    rank = folder / "mp_rank_00"
    torch.save({}, rank / "layer_wise_optimizer_0.pt")
    assert (checkpoints.judge(folder).convertible, checkpoints.judge(folder).resumable) == (True, False)

    torch.save({}, rank / "layer_wise_optimizer_1.pt")

    assert checkpoints.judge(folder).resumable


def test_a_version_before_2_is_whole_but_not_converted(tmp_path: Path) -> None:
    folder = make.legacy(tmp_path / "iter_0000006", version=1.0)

    judgement = checkpoints.judge(folder)

    assert (judgement.complete, judgement.convertible, judgement.resumable) == (True, False, True)
    assert "checkpoint_version" in judgement.why


@pytest.mark.parametrize("name", ["model_optim_rng.pt", "distrib_optim.pt"])
def test_a_flipped_bit_in_a_tensor_is_found_by_a_deep_look_alone(tmp_path: Path, name: str) -> None:
    folder = make.legacy(tmp_path / "iter_0000006", use_distributed_optimizer=True)
    file = folder / "mp_rank_00" / name
    assert checkpoints.judge(folder, deep=True).resumable
    make.flip(file)

    deep = checkpoints.judge(folder, deep=True)

    assert checkpoints.judge(folder).complete
    assert (deep.complete, deep.convertible, deep.resumable) == (False, name == "distrib_optim.pt", False)
    assert "checksum" in deep.why
