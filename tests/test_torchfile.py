import argparse
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoexp import torchfile
from autoexp.inert import NotWholeError

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def save(path: Path, entries: Mapping[str, object]) -> dict[str, torchfile.Tensor]:
    torch.save({"model": entries}, path)
    model = torchfile.read(path)["model"]
    assert isinstance(model, dict)
    return torchfile.tensors(path, model)


def content(path: Path, tensor: torchfile.Tensor) -> bytes:
    size = tensor.item_bytes
    for n in tensor.shape:
        size *= n
    return path.read_bytes()[tensor.start_bytes : tensor.start_bytes + size]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    dtype=st.sampled_from(DTYPES),
    start=st.integers(0, 3),
    parameter=st.booleans(),
)
def test_the_bytes_are_found_where_torch_put_them(
    tmp_path: Path, shape: list[int], dtype: torch.dtype, start: int, *, parameter: bool
) -> None:
    wanted = torch.randint(0, 2, (5, *shape)).to(dtype)[start]
    entry = torch.nn.Parameter(wanted, requires_grad=False) if parameter else wanted

    tensor = save(tmp_path / "x.pt", {"first": torch.zeros(7), "w": entry})["w"]

    assert (tensor.dtype, list(tensor.shape), tensor.contiguous) == (str(dtype)[6:], shape, True)
    assert content(tmp_path / "x.pt", tensor) == bytes(wanted.flatten().view(torch.uint8).tolist())


def test_a_transposed_tensor_is_not_contiguous_and_a_lone_row_is(tmp_path: Path) -> None:
    found = save(tmp_path / "x.pt", {"t": torch.zeros(3, 4).T, "row": torch.zeros(3, 4)[:1]})

    assert {name: tensor.contiguous for name, tensor in found.items()} == {"t": False, "row": True}


def test_what_is_no_tensor_of_plain_numbers_is_left_out(tmp_path: Path) -> None:
    entries = {
        "none": None,
        "args": argparse.Namespace(a=1),
        "fp8": torch.zeros(2).to(torch.float8_e4m3fn),
        "buffer": torch.nn.Buffer(torch.zeros(2)),
        "sparse": torch.zeros(2, 2).to_sparse(),
    }

    assert save(tmp_path / "x.pt", entries) == {}


def rewrite(path: Path, **members: bytes | None) -> None:
    """Write the zip again with other contents; without those that are None."""
    with zipfile.ZipFile(path) as archive:
        old = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in old.items():
            new = members.get(name.partition("/")[2].replace("/", "_"), data)
            if new is not None:
                archive.writestr(name, new)


def test_a_tensor_beyond_the_end_of_its_storage_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "x.pt", {"w": torch.zeros(8)})
    rewrite(tmp_path / "x.pt", data_0=bytes(28))

    with pytest.raises(NotWholeError, match=r"x\.pt: w does not lie inside"):
        torchfile.tensors(tmp_path / "x.pt", torchfile.read(tmp_path / "x.pt")["model"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "shape", "steps"),
    [
        (-1, (2,), (1,)),
        (0, (-2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, ("2",), (1,)),
        (8, (1,), (1,)),
    ],
)
def test_no_arguments_place_a_tensor_outside_its_storage(
    tmp_path: Path, first: int, shape: tuple[object, ...], steps: tuple[object, ...]
) -> None:
    path = tmp_path / "x.pt"
    torch.save({"w": torch.zeros(8)}, path)
    pickled = (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x08tQ"
        + b"".join(pickle.dumps(part, 2)[2:-1] for part in (first, shape, steps))
        + b"tRs."
    )
    rewrite(path, **{"data.pkl": pickled})

    with pytest.raises(NotWholeError, match="does not lie inside"):
        torchfile.tensors(path, torchfile.read(path))


def test_bytes_in_a_foreign_order_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "x.pt", {"w": torch.zeros(8)})
    rewrite(tmp_path / "x.pt", byteorder=b"big")

    with pytest.raises(NotWholeError, match="big-endian"):
        torchfile.tensors(tmp_path / "x.pt", {})


def test_bytes_whose_order_an_older_torch_does_not_tell_are_as_torch_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    wanted = torch.arange(8, dtype=torch.int32)
    save(path, {"w": wanted})
    rewrite(path, byteorder=None, _format_version=None)

    model = torchfile.read(path)["model"]
    assert isinstance(model, dict)
    found = torchfile.tensors(path, model)["w"]

    assert content(path, found) == wanted.numpy().tobytes()
    assert torch.load(path)["model"]["w"].equal(wanted)


def test_a_file_in_torchs_older_format_is_not_taken_for_a_zip(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(8)}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)

    with pytest.raises(NotWholeError, match="not a whole zip"):
        torchfile.check(tmp_path / "x.pt")


# Parts of a file


def test_each_item_of_a_file_is_read_for_itself(two_items: tuple[Path, int]) -> None:
    path, second = two_items
    end = path.stat().st_size

    assert torchfile.read_item(path, 0, second) == [{"iteration": 6}]
    assert torchfile.read_item(path, second, end - second) == {"w": 1}


def test_the_tensor_of_an_item_is_placed_in_the_whole_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(torch.arange(5.0), buffer)
    path = tmp_path / "__0_0.distcp"
    path.write_bytes(b"before" + buffer.getvalue() + b"behind")

    found = torchfile.item_tensor(path, 6, len(buffer.getvalue()))

    assert found is not None
    assert content(path, found) == torch.arange(5.0).numpy().tobytes()


@pytest.mark.parametrize(("start", "length"), [(0, 100), (5, 400), (10_000, 100), (0, 0), (0, 1 << 40)])
def test_a_part_that_is_no_item_is_not_whole(two_items: tuple[Path, int], start: int, length: int) -> None:
    with pytest.raises(NotWholeError):
        torchfile.read_item(two_items[0], start, length)
