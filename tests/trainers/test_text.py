import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoexp.errors import AutoexpError
from autoexp.trainers import text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(200):
        path = tmp_path / "texts" / f"part{number % 7}" / f"{number:03d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<{number:03d}>")
    return tmp_path / "texts"


def numbers(data: bytes) -> list[str]:
    return data.decode().strip("<>").split("><")


def test_the_standard_library_is_text_enough_for_a_demo() -> None:
    held, seen = text.held_out(), text.training()
    assert len(seen) > 2_000_000
    assert 0.01 < len(held) / len(seen) < 0.1
    assert b"def " in held


def test_no_file_is_on_both_sides_and_none_is_lost(folder: Path) -> None:
    held, seen = numbers(text.held_out(folder)), numbers(text.training(folder))
    assert set(held) & set(seen) == set()
    assert sorted(held + seen) == [f"{number:03d}" for number in range(200)]


def test_the_split_depends_on_relative_names_alone(folder: Path, tmp_path: Path) -> None:
    before = text.held_out(folder)
    elsewhere = folder.rename(tmp_path / "elsewhere")
    assert text.held_out(elsewhere) == before


def test_a_new_file_moves_no_other_across(folder: Path) -> None:
    before = set(numbers(text.held_out(folder)))
    (folder / "aaa.txt").write_text("<new>")
    assert before == set(numbers(text.held_out(folder))) - {"new"}


def test_hidden_files_are_no_text(folder: Path) -> None:
    before = text.training(folder) + text.held_out(folder)
    for name in (".git/objects", ".hidden"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("<secret>")
    assert text.training(folder) + text.held_out(folder) == before


def test_a_single_file_is_split_by_position(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(bytes(range(200)))
    assert text.training(path) == bytes(range(190))
    assert text.held_out(path) == bytes(range(190, 200))


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError, match=r"nowhere(.|\n)*fix: give a readable text file"):
        text.training(tmp_path / "nowhere")


def test_a_folder_without_enough_files_to_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "only").write_text("one file")
    with pytest.raises(AutoexpError, match="nothing there falls to the held-out side"):
        text.held_out(tmp_path)


def test_an_unreadable_file_of_ones_own_is_not_skipped_silently(folder: Path) -> None:
    (folder / "dangling").symlink_to(folder / "nothing")
    with pytest.raises(AutoexpError, match="No such file"):
        text.training(folder)


def test_a_text_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(AutoexpError, match=r"8 bytes(.|\n)*--seq-length"):
        text.windows(b"12345678", 8)
    assert text.windows(b"123456789", 8).shape == (1, 9)


@given(st.binary(min_size=2, max_size=300), st.integers(1, 40))
def test_over_all_windows_each_byte_but_the_first_is_predicted_once(data: bytes, length: int) -> None:
    if len(data) <= length:
        return
    cut = text.windows(data, length)
    targets = bytes(cut[:, 1:].flatten().tolist())
    assert targets == data[1 : 1 + len(targets)]
    assert len(data) - 1 - len(targets) < length


CUT = text.windows(bytes(range(256)) * 4, 10)  # 102 windows


@given(st.integers(0, 2**31), st.integers(0, 1000), st.integers(1, 50), st.integers(1, 50))
def test_batches_of_any_size_follow_one_order(seed: int, first: int, one: int, two: int) -> None:
    together = text.samples(CUT, seed, first, one + two)
    parts = text.samples(CUT, seed, first, one), text.samples(CUT, seed, first + one, two)
    assert torch.equal(together, torch.cat(parts))


@given(st.integers(0, 2**31), st.integers(0, 20))
def test_every_epoch_shows_every_window_once(seed: int, epoch: int) -> None:
    shown = text.samples(CUT, seed, epoch * len(CUT), len(CUT))
    assert sorted(shown.tolist()) == sorted(CUT.tolist())


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [(1, 0), (1, 1), (2, 0)]
    shown = [text.samples(CUT, seed, epoch * len(CUT), len(CUT)).tolist() for seed, epoch in orders]
    assert shown[0] != shown[1] != shown[2] != shown[0]


@given(st.integers(1, 300), st.data())
def test_the_evaluation_sees_the_same_windows_however_it_is_cut(total: int, data: st.DataObject) -> None:
    middle = data.draw(st.integers(0, total))
    parts = text.spread(CUT, 0, middle, total), text.spread(CUT, middle, total - middle, total)
    assert torch.equal(torch.cat(parts), text.spread(CUT, 0, total, total))


def test_the_evaluation_spreads_over_the_whole_text() -> None:
    assert text.spread(CUT, 0, 3, 3).tolist() == CUT[[0, 34, 68]].tolist()


def test_a_name_that_is_no_text_falls_to_one_side_too(tmp_path: Path) -> None:
    for number in range(60):
        Path(os.fsdecode(b"%s/\xff%d" % (bytes(tmp_path), number))).write_bytes(b"x")

    assert len(text.training(tmp_path)) + len(text.held_out(tmp_path)) == 60
