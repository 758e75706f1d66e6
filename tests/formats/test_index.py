import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from autoexp.formats import index
from autoexp.inert import NotWholeError
from tests.formats import make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make.write_pieces({"w": torch.arange(6.0).view(2, 3), "note": ["no tensor"]}, folder=tmp_path)
    return tmp_path


def test_a_tensors_pieces_are_where_the_index_says(folder: Path) -> None:
    found = index.read(folder)

    chunks = found.chunks("w") or []
    ((offset, shape, (path, start, length)),) = chunks
    saved = (folder / path).read_bytes()[start : start + length]
    assert (found.shape("w"), offset, shape) == ((2, 3), (0, 0), (2, 3))
    assert torch.arange(6.0).numpy().tobytes() in saved


def test_what_is_no_tensor_has_a_place_and_no_pieces(folder: Path) -> None:
    found = index.read(folder)

    assert found.chunks("note") is None
    assert len(found.pieces["note"]) == 1


@pytest.mark.parametrize("outside", ["../x", "/etc/passwd"])
def test_no_path_leaves_the_folder(folder: Path, outside: str) -> None:
    metadata: Any = pickle.loads((folder / ".metadata").read_bytes())  # noqa: S301 - written just now
    for place in metadata.storage_data.values():
        place.relative_path = outside
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))

    with pytest.raises(NotWholeError, match="points outside"):
        index.read(folder)
