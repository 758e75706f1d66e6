import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from autoexp.conversion import writing
from autoexp.conversion.outputs import Output
from autoexp.conversion.weights import Piece, Weight


@pytest.fixture
def outputs(tmp_path: Path) -> list[Output]:
    """Three tensors of 40 bytes each."""
    file = tmp_path / "numbers"
    file.write_bytes(np.arange(30, dtype=np.float32).tobytes())
    return [
        Output(name=name, weight=Weight("float32", (10,), (Piece(file, at, (0,), (10,)),)))
        for name, at in zip("abc", (0, 40, 80), strict=True)
    ]


def test_tensors_are_divided_among_files_in_order_and_an_index_names_them(
    tmp_path: Path, outputs: list[Output]
) -> None:
    parts = writing.shards(outputs, None, most_bytes=80)
    told: list[int] = []

    made = writing.write_shards(tmp_path, parts, None, "plan", told.append)

    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert [part.name for part in parts] == list(made) == names
    index = writing.index_of(parts, None)
    assert index == {"metadata": {"total_size": 120}, "weight_map": {"a": names[0], "b": names[0], "c": names[1]}}
    assert torch.equal(load_file(tmp_path / names[1])["c"], torch.arange(20.0, 30.0))
    assert made == {name: (tmp_path / name).stat().st_size for name in names}
    assert sum(told) == sum(made.values())


def test_one_tensor_larger_than_a_file_is_a_file_of_its_own(outputs: list[Output]) -> None:
    assert [len(part.outputs) for part in writing.shards(outputs, None, most_bytes=1)] == [1, 1, 1]
    assert [part.name for part in writing.shards(outputs, None)] == ["model.safetensors"]


def test_another_type_of_numbers_makes_other_sizes(tmp_path: Path, outputs: list[Output]) -> None:
    parts = writing.shards(outputs, "bfloat16")
    writing.write_shards(tmp_path, parts, "bfloat16", "plan", lambda _: None)

    assert writing.index_of(parts, "bfloat16")["metadata"] == {"total_size": 60}
    assert load_file(tmp_path / "model.safetensors")["b"].dtype == torch.bfloat16


def test_a_file_finished_for_the_same_plan_is_kept_and_for_another_made_anew(
    tmp_path: Path, outputs: list[Output]
) -> None:
    parts = writing.shards(outputs, None)
    path = tmp_path / "model.safetensors"
    first = writing.write_shards(tmp_path, parts, None, "plan", lambda _: None)
    before = path.stat().st_mtime_ns

    assert writing.write_shards(tmp_path, parts, None, "plan", lambda _: None) == first
    assert path.stat().st_mtime_ns == before
    assert writing.write_shards(tmp_path, parts, None, "another", lambda _: None) == first
    assert path.stat().st_mtime_ns != before


def test_a_file_that_was_not_finished_is_made_anew(tmp_path: Path, outputs: list[Output]) -> None:
    parts = writing.shards(outputs, None)
    (tmp_path / "model.safetensors").write_bytes(b"half")

    writing.write_shards(tmp_path, parts, None, "plan", lambda _: None)

    assert load_file(tmp_path / "model.safetensors").keys() == {"a", "b", "c"}


def test_what_another_plan_left_is_removed(tmp_path: Path, outputs: list[Output]) -> None:
    draft = tmp_path / "draft"
    draft.mkdir()
    for name in ("model.safetensors", ".model.safetensors.json", "model-00001-of-00002.safetensors", "config.json"):
        (draft / name).touch()

    writing.clear(draft, writing.shards(outputs, None))
    assert sorted(path.name for path in draft.iterdir()) == [".model.safetensors.json", "model.safetensors"]
    writing.forget_notes(draft)
    assert [path.name for path in draft.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSPC])
def test_room_is_claimed_where_the_file_system_can(
    tmp_path: Path, outputs: list[Output], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    parts = writing.shards(outputs, None)
    if number == errno.ENOSPC:
        with pytest.raises(OSError, match="No space"):
            writing.write_shards(tmp_path, parts, None, "plan", lambda _: None)
    else:
        writing.write_shards(tmp_path, parts, None, "plan", lambda _: None)
        assert load_file(tmp_path / "model.safetensors").keys() == {"a", "b", "c"}


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EIO, 0])
def test_where_the_kernel_cannot_copy_the_bytes_are_read_and_written(
    tmp_path: Path, outputs: list[Output], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: int, **__: int) -> int:
        if number:
            raise OSError(number, os.strerror(number))
        return 0

    monkeypatch.setattr(os, "copy_file_range", refuse)
    parts = writing.shards(outputs, None)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            writing.write_shards(tmp_path, parts, None, "plan", lambda _: None)
    else:
        writing.write_shards(tmp_path, parts, None, "plan", lambda _: None)
        assert torch.equal(load_file(tmp_path / "model.safetensors")["c"], torch.arange(20.0, 30.0))
