"""HuggingFace folders: whole by their headers, single or in shards."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autoexp import checkpoints
from tests.formats import make

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def single(tmp_path: Path) -> Path:
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    save_file({"w": torch.zeros(10), "b": torch.zeros(3)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def parted(single: Path) -> Path:
    (single / "model.safetensors").unlink()
    for name, key in zip(SHARDS, "wb", strict=True):
        save_file({key: torch.zeros(10)}, single / name)
    index = {"metadata": {"total_size": 80}, "weight_map": dict(zip("wb", SHARDS, strict=True))}
    (single / "model.safetensors.index.json").write_text(json.dumps(index))
    return single


def test_a_whole_model_is_complete_and_needs_no_conversion(single: Path) -> None:
    judgement = checkpoints.judge(single)

    assert (judgement.format, judgement.complete) == ("hf", True)
    assert (judgement.convertible, judgement.resumable) == (False, False)
    assert "nothing to convert" in judgement.why


def test_a_model_in_shards_is_whole_with_its_index_and_every_shard(parted: Path) -> None:
    assert checkpoints.judge(parted).complete
    for name in (*SHARDS, "model.safetensors.index.json", "config.json"):
        aside = (parted / name).rename(parted.parent / "aside")
        judgement = checkpoints.judge(parted)
        assert not judgement.complete
        assert "not there" in judgement.why or "no index" in judgement.why
        aside.rename(parted / name)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_file_is_not_whole(single: Path, name: str, share: float) -> None:
    data = (single / name).read_bytes()
    (single / name).write_bytes(data[: int(share * len(data))])

    assert not checkpoints.judge(single).complete


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"weight_map": {"w": "../model.safetensors"}}', '{"weight_map": {"w": 3}}', "[" * 100_000],
)
def test_an_index_that_is_none_is_not_whole(parted: Path, text: str) -> None:
    (parted / "model.safetensors.index.json").write_text(text)

    assert not checkpoints.judge(parted).complete


def test_a_shard_without_a_tensor_that_the_index_promises_is_not_whole(parted: Path) -> None:
    save_file({"other": torch.zeros(10)}, parted / SHARDS[0])

    assert "lacks w" in checkpoints.judge(parted).why


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"\xff" * 8, id="longer than any"),
        pytest.param(b"\x02" + bytes(7) + b"{}more", id="longer than it says"),
        pytest.param(b"\x02" + bytes(7) + b"[]", id="no object"),
        pytest.param((27).to_bytes(8, "little") + b'{"w":{"data_offsets":[5,1]}}'[:27], id="torn"),
        pytest.param((28).to_bytes(8, "little") + b'{"w":{"data_offsets":[5,1]}}', id="backwards"),
        pytest.param(bytes(64), id="zeros"),
    ],
)
def test_a_header_that_no_writer_makes_is_not_whole(single: Path, header: bytes) -> None:
    (single / "model.safetensors").write_bytes(header)

    assert not checkpoints.judge(single).complete


def test_pickled_weights_are_whole_by_their_zip_and_right_by_its_sums(single: Path) -> None:
    (single / "model.safetensors").unlink()
    file = single / "pytorch_model.bin"
    torch.save({"w": torch.zeros(300)}, file)
    assert checkpoints.judge(single, deep=True).complete

    make.flip(file)
    assert checkpoints.judge(single).complete
    assert not checkpoints.judge(single, deep=True).complete

    os.truncate(file, file.stat().st_size - 30)
    assert not checkpoints.judge(single).complete


def test_a_trainers_own_checkpoint_can_be_resumed(single: Path) -> None:
    (single / "trainer_state.json").write_text('{"global_step": 500}')
    torch.save({}, single / "optimizer.pt")

    judgement = checkpoints.judge(single)

    assert (judgement.iteration, judgement.resumable) == (500, True)


def test_a_configuration_alone_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")

    judgement = checkpoints.judge(tmp_path)

    assert not judgement.complete
    assert judgement.why.startswith("config.json is there, and no weights: neither model.safetensors nor")
