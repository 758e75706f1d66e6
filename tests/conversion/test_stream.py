import math
import os
import resource
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoexp.conversion import stream
from autoexp.conversion.outputs import Output
from autoexp.conversion.stream import Files, Range, chunks, from_float32, to_float32
from autoexp.conversion.weights import Piece, Weight
from autoexp.inert import NotWholeError

FLOATS = st.lists(st.floats(width=32), min_size=1, max_size=20)


@given(FLOATS, st.sampled_from([torch.bfloat16, torch.float16]))
def test_numbers_are_rounded_as_torch_rounds_them(values: list[float], dtype: torch.dtype) -> None:
    with np.errstate(over="ignore"):
        bits = from_float32(np.array(values, np.float32), str(dtype)[6:])
    want = torch.tensor(values, dtype=torch.float32).to(dtype)

    back = torch.from_numpy(to_float32(bits, str(dtype)[6:]))

    assert torch.equal(back.isnan(), want.isnan())
    assert torch.equal(back.nan_to_num(), want.float().nan_to_num())


def written(folder: Path, array: np.ndarray) -> Path:
    path = folder / "numbers"
    path.write_bytes(array.tobytes())
    return path


def test_a_tensor_of_more_files_than_may_be_open_is_read(tmp_path: Path) -> None:
    pieces = []
    for number in range(300):
        folder = tmp_path / str(number)
        folder.mkdir()
        pieces.append(Piece(written(folder, np.full((1, 2), number, np.float32)), 0, (number, 0), (1, 2)))
    output = Output(name="x", weight=Weight("float32", (300, 2), tuple(pieces)), plus_one=True)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    try:
        got = read(output)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert got[:, 0].tolist() == [1.0 + number for number in range(300)]


def test_the_files_that_were_read_last_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_OPEN_EACH", 2)
    for name in "abc":
        (tmp_path / name).write_text(name)
    files = Files()
    opened: list[str] = []
    real = os.open

    def noted(path: Path, flags: int) -> int:
        opened.append(path.name)
        return real(path, flags)

    monkeypatch.setattr(os, "open", noted)

    for name in "abacab":
        buffer = bytearray(1)
        files.read(tmp_path / name, 0, memoryview(buffer))
        assert buffer.decode() == name
    files.close()

    assert opened == ["a", "b", "c", "b"]


def read(output: Output, dtype: str = "float32") -> np.ndarray:
    files = Files()
    data = b"".join(bytes(chunk) for chunk in chunks(output, dtype, files) if not isinstance(chunk, Range))
    files.close()
    return np.frombuffer(data, np.float32).reshape(output.shape)


@pytest.mark.parametrize("most", [1, 50, 1 << 20])
@pytest.mark.parametrize("options", [{}, {"transposed": True}, {"plus_one": True}])
def test_pieces_are_read_to_their_place_however_small_the_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(stream, "CHUNK_BYTES", most)
    numbers = np.arange(60, dtype=np.float32)
    file = written(tmp_path, numbers)
    left, right = (Piece(file, 0, (0, 0), (10, 2)), Piece(file, 80, (0, 2), (10, 4)))
    whole = np.concatenate([numbers[:20].reshape(10, 2), numbers[20:].reshape(10, 4)], 1)

    found = read(Output(name="x", weight=Weight("float32", (10, 6), (left, right)), **options))

    want = whole + 1 if options.get("plus_one") else whole
    assert (found == (want.T if options.get("transposed") else want)).all()


def test_a_transposed_tensor_is_held_in_memory_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHUNK_BYTES", 1 << 14)
    file = written(tmp_path, np.zeros((512, 512), np.float32))
    weight = Weight("float32", (512, 512), (Piece(file, 0, (0, 0), (512, 512)),))
    tracemalloc.start()

    for _ in chunks(Output(name="x", weight=weight, transposed=True), "bfloat16", Files()):
        pass

    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1.25 * (512 * 512 * 4)


def test_a_file_that_is_cut_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    file = written(tmp_path, np.zeros(5, np.float32))
    weight = Weight("float32", (6,), (Piece(file, 0, (0,), (6,)),))

    with pytest.raises(NotWholeError, match="was cut while it was read"):
        read(Output(name="x", weight=weight, plus_one=True))


def test_rows_that_lie_side_by_side_are_only_named(tmp_path: Path) -> None:
    file = tmp_path / "numbers"
    pieces = (Piece(file, 80, (2, 0), (1, 10)), Piece(file, 0, (0, 0), (1, 10)), Piece(file, 40, (1, 0), (1, 10)))
    apart = (*pieces[:2], Piece(file, 200, (1, 0), (1, 10)))

    def named(pieces: tuple[Piece, ...]) -> list[Any]:
        return list(chunks(Output(name="x", weight=Weight("float32", (3, 10), pieces)), "float32", Files()))

    assert named(pieces) == [Range(file, 0, 120)]
    assert named(apart) == [Range(file, 0, 40), Range(file, 200, 40), Range(file, 80, 40)]


def test_infinity_stays_what_it_is() -> None:
    for dtype in ("bfloat16", "float16"):
        assert math.isinf(to_float32(from_float32(np.array([math.inf], np.float32), dtype), dtype)[0])
