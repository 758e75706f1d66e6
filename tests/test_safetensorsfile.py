from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from autoexp import torchfile
from autoexp.inert import NotWholeError
from autoexp.safetensorsfile import Cut, contents
from autoexp.torchfile import Tensor


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "state.pt"
    torch.save({"a": torch.arange(12.0).reshape(6, 2), "b": torch.ones(3, dtype=torch.bfloat16)}, path)
    return path


def weights_of(path: Path, *cuts: Cut) -> list[tuple[Cut, Tensor]]:
    found = torchfile.tensors(path, torchfile.read(path))
    return [(cut, found[cut.source]) for cut in cuts]


def test_rows_are_taken_in_the_order_of_the_cut(saved: Path) -> None:
    cuts = (
        Cut(name="x", source="a", rows=(range(4, 6), range(1)), shape=(3, 2)),
        Cut(name="y", source="b", rows=(range(3),), shape=(3,)),
    )

    written = load(b"".join(contents(saved, weights_of(saved, *cuts))))

    assert written["x"].tolist() == [[8, 9], [10, 11], [0, 1]]
    assert written["y"].dtype is torch.bfloat16
    assert written["y"].tolist() == [1, 1, 1]


def test_the_data_begins_at_a_multiple_of_eight(saved: Path) -> None:
    for name in ("x", "xy", "xyz"):
        cut = Cut(name=name, source="b", rows=(range(3),), shape=(3,))

        header = next(contents(saved, weights_of(saved, cut)))

        assert len(header) % 8 == 0


def test_a_source_that_is_cut_while_it_is_read_is_not_whole(saved: Path) -> None:
    weights = weights_of(saved, Cut(name="x", source="a", rows=(range(6),), shape=(6, 2)))
    (_, tensor) = weights[0]
    with saved.open("rb+") as file:
        file.truncate(tensor.start_bytes + 8)

    with pytest.raises(NotWholeError, match="was cut while it was read, at a"):
        list(contents(saved, weights))
