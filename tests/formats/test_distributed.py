"""torch_dist, torch DCP and their relatives: every state of a save, and damage."""

import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader, _StorageInfo

from autoexp import checkpoints
from tests.formats import make


@pytest.mark.parametrize("common", ["common.pt", "common_state"])
def test_a_whole_distributed_checkpoint_counts_with_either_home_of_its_args(tmp_path: Path, common: str) -> None:
    judgement = checkpoints.judge(make.distributed(tmp_path / "iter_0000006", common=common))

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
    make.write_pieces(
        {"decoder.weight": torch.zeros(40), "common_state/shard_0_1": [{"iteration": 6}]},
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
    (sharded / ".metadata").write_bytes(pickle.dumps({"storage_data": make.Trap(sprung)}))

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
    make.write_pieces({key: torch.zeros(4) for key in keys}, folder=folder)

    judgement = checkpoints.judge(folder)

    assert judgement.format == expected
    assert not judgement.convertible
    assert judgement.complete == (expected != "torch_dist")


def test_zarr_and_unknown_backends_are_named(tmp_path: Path) -> None:
    assert checkpoints.judge(make.distributed(tmp_path / "iter_0000001", marker="zarr")).format == "zarr"
    judgement = checkpoints.judge(make.distributed(tmp_path / "iter_0000002", marker="mystery"))
    assert judgement.format == "unknown"
    assert "mystery" in judgement.why


@pytest.mark.parametrize("marker", ["", "null", "[]", '{"sharded_backend": []}', "[" * 100_000])
def test_no_marker_is_too_strange_to_be_judged(sharded: Path, marker: str) -> None:
    (sharded / "metadata.json").write_text(marker)

    assert not checkpoints.judge(sharded).complete


# Every state of a save.

ORDER = ("common.pt", "__0_0.distcp", ".metadata.tmp", ".metadata", "metadata.json")


def put(name: str, data: bytes, folder: Path) -> None:
    (folder / name).write_bytes(data)


def steps(sharded: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Yield what a save does, one step after another: each file is made empty, filled half, and filled."""
    content = {file.name: file.read_bytes() for file in sharded.iterdir()}
    content[".metadata.tmp"] = content[".metadata"]
    for name in ORDER:
        if name == ".metadata":
            yield "rename", lambda folder: (folder / ".metadata.tmp").rename(folder / ".metadata")
            continue
        for share in (0.0, 0.5, 1.0):
            data = content[name][: int(share * len(content[name]))]
            yield f"{name} to {share:.0%}", partial(put, name, data)


def verdicts(folder: Path) -> tuple[bool, bool, bool]:
    judgement = checkpoints.judge(folder)
    return judgement.complete, judgement.convertible, judgement.resumable


NOTHING, ALL = (False, False, False), (True, True, True)


@pytest.mark.parametrize("common", ["common.pt", "common_state"])
def test_a_save_is_whole_with_its_last_byte_and_not_before(tmp_path: Path, common: str) -> None:
    source = make.distributed(tmp_path / "source", common=common)
    folder = tmp_path / "iter_0000006"
    folder.mkdir()
    found = [verdicts(folder)]
    for name, step in steps(source) if common == "common.pt" else ((n, s) for n, s in steps_without_common(source)):
        step(folder)
        found.append(verdicts(folder))
        assert checkpoints.judge(folder).format == "torch_dist", name

    assert found[:-1] == [NOTHING] * (len(found) - 1)
    assert found[-1] == ALL


def steps_without_common(source: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    (source / "common.pt").write_bytes(b"")
    for name, step in steps(source):
        if not name.startswith("common.pt"):
            yield name, step


def test_a_save_over_an_old_one_is_not_whole_from_its_first_byte_to_its_last(sharded: Path, tmp_path: Path) -> None:
    doing = list(steps(shutil.copytree(sharded, tmp_path / "copy")))
    for file in sharded.iterdir():
        make.age(file)
    assert verdicts(sharded) == ALL

    found = []
    for _, step in doing:
        step(sharded)
        found.append(verdicts(sharded))

    assert found[:-1] == [NOTHING] * (len(found) - 1)
    assert found[-1] == ALL


def test_a_piece_of_a_wider_save_under_way_counts_though_the_old_index_does_not_know_it(sharded: Path) -> None:
    for file in sharded.iterdir():
        make.age(file)
    (sharded / "__8_0.distcp").write_bytes(b"")

    assert "__8_0.distcp is younger" in checkpoints.judge(sharded).why


def test_a_draft_left_of_an_index_means_that_the_index_is_an_older_saves(sharded: Path) -> None:
    (sharded / ".metadata.tmp").write_bytes(b"")

    assert verdicts(sharded) == NOTHING


# Damage.


@pytest.mark.parametrize("common", ["common.pt", "common_state"])
def test_a_copy_under_another_number_is_not_that_checkpoint(tmp_path: Path, common: str) -> None:
    folder = make.distributed(tmp_path / "iter_0000007", common=common)

    judgement = checkpoints.judge(folder)

    assert not judgement.complete
    assert "iteration 7" in judgement.why


@pytest.mark.parametrize("common", ["common.pt", "common_state"])
def test_what_training_was_told_not_to_save_cannot_be_resumed(tmp_path: Path, common: str) -> None:
    folder = make.distributed(tmp_path / "iter_0000006", common=common, no_save_optim=True)

    assert verdicts(folder) == (True, True, False)


@pytest.mark.parametrize("kept", [0, 100])
def test_pieces_that_a_crash_turned_to_zeros_are_not_whole(sharded: Path, kept: int) -> None:
    file = sharded / "__0_0.distcp"
    data = file.read_bytes()
    make.age(file)
    file.write_bytes(data[:kept] + bytes(len(data) - kept))

    assert "zeros" in checkpoints.judge(sharded).why


def test_a_file_without_blocks_is_judged_by_its_size_as_reading_may_fetch_it_from_tape(sharded: Path) -> None:
    file = sharded / "__0_0.distcp"
    size = file.stat().st_size
    file.unlink()
    (sharded / "common.pt").unlink()
    make.hollow(file, size)

    assert "common.pt" in checkpoints.judge(sharded).why


def test_an_index_without_a_piece_it_promises_is_not_whole(sharded: Path) -> None:
    metadata = FileSystemReader(sharded).read_metadata()
    metadata.storage_data.pop(next(iter(metadata.storage_data)))
    (sharded / ".metadata").write_bytes(pickle.dumps(metadata))

    assert "0 of 1 pieces" in checkpoints.judge(sharded).why


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, -1)])
def test_an_index_with_negative_places_is_not_whole(sharded: Path, start: int, length: int) -> None:
    metadata = FileSystemReader(sharded).read_metadata()
    for index in list(metadata.storage_data):
        metadata.storage_data[index] = _StorageInfo("__0_0.distcp", start, length)
    (sharded / ".metadata").write_bytes(pickle.dumps(metadata))

    assert verdicts(sharded) == NOTHING


def test_one_index_cannot_spoil_the_reading_of_the_next(sharded: Path, tmp_path: Path) -> None:
    record = b"ctorch.distributed.checkpoint.metadata\nMetadata\n"
    hostile = tmp_path / "iter_0000001"
    hostile.mkdir()
    (hostile / ".metadata").write_bytes(record + b"(N(dS'storage_data'\nNstb.")

    assert verdicts(hostile) == NOTHING
    assert verdicts(sharded) == ALL


def test_a_flipped_bit_in_a_piece_is_found_by_a_deep_look_alone(sharded: Path) -> None:
    assert checkpoints.judge(sharded, deep=True).resumable
    piece = sharded / "__0_0.distcp"
    make.flip(piece, piece.read_bytes().index(bytes(160)))

    assert checkpoints.judge(sharded).complete
    assert "checksum" in checkpoints.judge(sharded, deep=True).why


def test_a_deep_look_holds_every_file_against_integrity_json(sharded: Path) -> None:
    make.sign(sharded)
    assert checkpoints.judge(sharded, deep=True).resumable
    (sharded / "common.pt").write_bytes((sharded / "common.pt").read_bytes() + b"PK")
    (sharded / "metadata.json").write_text('{"sharded_backend": "torch_dist"} ')

    assert "SHA-256" in checkpoints.judge(sharded, deep=True).why or "zip" in checkpoints.judge(sharded, deep=True).why


@pytest.mark.parametrize("text", ["", "[]", '{"files": {"../x": ""}}', '{"algorithm": "md5", "files": {}}'])
def test_a_list_of_hashes_that_is_none_fails_a_deep_look(sharded: Path, text: str) -> None:
    (sharded / "integrity.json").write_text(text)

    assert checkpoints.judge(sharded).complete
    assert "integrity.json" in checkpoints.judge(sharded, deep=True).why


# Relatives.


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("step-100", ["layers.0.attention.wq.weight", "optimizer.state.layers.0.attention.wq.weight.exp_avg"]),
        ("eid_x-seen_steps_20-seen_tokens_80-target_steps_40", ["app.model.lm_head.weight", "app.optimizer.state.w"]),
    ],
)
def test_torchtitans_and_modalities_own_folders_are_plain_dcp(tmp_path: Path, name: str, keys: list[str]) -> None:
    folder = tmp_path / name
    make.write_pieces({key: torch.zeros(4) for key in keys}, folder=folder)

    judgement = checkpoints.judge(folder)

    assert (judgement.format, *verdicts(folder)) == ("torch_dcp", True, False, True)
    assert "framework that wrote it" in judgement.why
    (folder / "__0_0.distcp").unlink()
    assert verdicts(folder) == NOTHING


def test_zarr_is_known_by_its_arrays_too(tmp_path: Path) -> None:
    (tmp_path / "iter_0000006" / "decoder.weight").mkdir(parents=True)
    (tmp_path / "iter_0000006" / "decoder.weight" / ".zarray").write_text("{}")

    judgement = checkpoints.judge(tmp_path / "iter_0000006")

    assert (judgement.format, judgement.complete) == ("zarr", False)
    assert "0.15" in judgement.why
