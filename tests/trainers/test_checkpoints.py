import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoexp.errors import AutoexpError
from autoexp.trainers import checkpoints
from autoexp.trainers.checkpoints import TRACKER, archive, claim, read, tracked, write


def content(iteration: int) -> dict[str, Any]:
    return {
        "iteration": iteration,
        "args": argparse.Namespace(lr=0.1, params_dtype=torch.float32),
        "model": {"weight": torch.arange(1000.0), "weight._extra_state": None},
    }


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write(tmp_path, 7, content(7))
    held = read(tmp_path, 7)
    assert tracked(tmp_path) == 7
    assert held["args"] == content(7)["args"]
    assert torch.equal(held["model"]["weight"], torch.arange(1000.0))


def test_the_layout_is_megatron_lms(tmp_path: Path) -> None:
    write(tmp_path, 1234567, content(1234567))
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["iter_1234567/mp_rank_00/model_optim_rng.pt", "latest_checkpointed_iteration.txt"]
    assert (tmp_path / TRACKER).read_bytes() == b"1234567"


def test_a_missing_tracker_is_no_error(tmp_path: Path) -> None:
    assert tracked(tmp_path) is None
    assert tracked(tmp_path / "nowhere") is None


@pytest.mark.parametrize("text", ["", "\n", "seven", "-7", "7.0", "0x7", "7 8", "release", "\u0667"])
def test_a_tracker_that_names_no_iteration_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / TRACKER).write_text(text, encoding="utf-8")
    with pytest.raises(AutoexpError, match=r"latest_checkpointed_iteration(.|\n)*it reads(.|\n)*fix: "):
        tracked(tmp_path)


def test_a_tracker_of_noise_is_an_error(tmp_path: Path) -> None:
    (tmp_path / TRACKER).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AutoexpError, match="cannot tell"):
        tracked(tmp_path)


def test_a_tracker_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / TRACKER).mkdir()
    with pytest.raises(AutoexpError, match="cannot tell"):
        tracked(tmp_path)


def test_a_newline_after_the_number_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / TRACKER).write_text("200\n", encoding="utf-8")
    assert tracked(tmp_path) == 200


def test_a_missing_checkpoint_is_named_with_its_fix(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError, match=r"iter_0000009(.|\n)*No such file(.|\n)*fix: .*" + TRACKER):
        read(tmp_path, 9)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_checkpoint_cut_anywhere_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    write(tmp_path, 1, content(1))
    path = archive(tmp_path, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(AutoexpError, match="cannot continue from"):
        read(tmp_path, 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_changes_nothing(tmp_path: Path, place: float, flip: int) -> None:
    write(tmp_path, 1, content(1))
    path = archive(tmp_path, 1)
    damaged = bytearray(path.read_bytes())
    damaged[int(place * len(damaged))] ^= flip
    path.write_bytes(damaged)
    try:
        held = read(tmp_path, 1)
    except AutoexpError:
        return
    assert torch.equal(held["model"]["weight"], torch.arange(1000.0))  # a byte of padding, or of a name


@pytest.mark.parametrize(
    ("whole", "damaged"),
    [
        (b"archive/data.pkl", b"archive/data\xffpkl"),  # no UTF-8
        (b"PK\x01\x02", b"PK\x01\x03"),  # no entry where the directory has one
    ],
    ids=["name", "mark"],
)
def test_a_damaged_directory_is_refused(tmp_path: Path, whole: bytes, damaged: bytes) -> None:
    write(tmp_path, 1, content(1))
    path = archive(tmp_path, 1)
    assert whole in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(whole, damaged))
    with pytest.raises(AutoexpError, match="cannot continue from"):
        read(tmp_path, 1)


def test_a_tensor_that_the_directory_calls_a_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1, content(1))
    path = archive(tmp_path, 1)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.rindex(b"archive/data/0") - 8] = 0x10  # its DOS attribute, which no checksum covers
    path.write_bytes(damaged)
    with pytest.raises(AutoexpError, match="its directory is damaged"):
        read(tmp_path, 1)


def test_another_iterations_checkpoint_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 8, content(7))
    with pytest.raises(AutoexpError, match="not the checkpoint of iteration 8"):
        read(tmp_path, 8)


class Attack:
    """Would make a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_reading_runs_no_code(tmp_path: Path) -> None:
    write(tmp_path, 1, content(1) | {"trap": Attack(tmp_path / "trap")})
    with pytest.raises(AutoexpError, match=r"more than plain data: .*mkdir"):
        read(tmp_path, 1)
    assert not (tmp_path / "trap").exists()


def test_a_bare_pickle_is_refused_unread(tmp_path: Path) -> None:
    write(tmp_path, 1, content(1))
    archive(tmp_path, 1).write_bytes(pickle.dumps(Attack(tmp_path / "trap")))
    with pytest.raises(AutoexpError, match="not a zip file"):
        read(tmp_path, 1)
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("linked", ["iter_0000005", "iter_0000005/mp_rank_00"])
def test_another_runs_checkpoint_behind_a_link_is_never_written(tmp_path: Path, linked: str) -> None:
    parent, own = tmp_path / "parent", tmp_path / "own"
    write(parent, 5, content(5))
    before = archive(parent, 5).read_bytes()
    (own / linked).parent.mkdir(parents=True)
    (own / linked).symlink_to(parent / linked)
    with pytest.raises(AutoexpError, match=r"symlink: the checkpoint behind it is another run's"):
        write(own, 5, content(5) | {"model": {}})
    assert archive(parent, 5).read_bytes() == before
    assert tracked(own) is None


def test_a_checkpoint_behind_a_link_can_be_read(tmp_path: Path) -> None:
    write(tmp_path / "parent", 5, content(5))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "iter_0000005").symlink_to(tmp_path / "parent" / "iter_0000005")
    assert read(tmp_path / "own", 5)["iteration"] == 5


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("at", range(1, 6))
def test_a_crash_at_any_point_leaves_a_whole_checkpoint_in_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, at: int
) -> None:
    write(tmp_path, 1, content(1))
    calls = iter(range(1, 100))
    real = getattr(os, call)

    def fail(*args: object) -> None:
        if next(calls) == at:
            raise OSError(28, "No space left on device")
        real(*args)

    monkeypatch.setattr(os, call, fail)
    try:
        write(tmp_path, 2, content(2))
    except AutoexpError as error:
        assert "No space left" in str(error)  # noqa: PT017  # or there were fewer calls than `at`
    monkeypatch.undo()
    iteration = tracked(tmp_path)
    assert iteration in {1, 2}
    assert read(tmp_path, iteration)["iteration"] == iteration


def test_saving_an_iteration_again_replaces_it_whole(tmp_path: Path) -> None:
    write(tmp_path, 1, content(1))
    write(tmp_path, 1, content(1) | {"model": {"weight": torch.ones(3)}})
    assert torch.equal(read(tmp_path, 1)["model"]["weight"], torch.ones(3))


def test_a_draft_left_by_a_killed_save_is_in_nobodys_way(tmp_path: Path) -> None:
    draft = archive(tmp_path, 1).with_name(".model_optim_rng.pt.tmp")
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"half")
    write(tmp_path, 1, content(1))
    assert not draft.exists()
    assert read(tmp_path, 1)["iteration"] == 1


def test_a_place_that_cannot_be_saved_in_is_found_out_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AutoexpError, match=r"cannot save in .*file(.|\n)*--save"):
        claim(tmp_path / "file")


def test_claiming_a_place_makes_its_folder(tmp_path: Path) -> None:
    claim(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_the_demand_for_a_checkpoint_says_how_to_start_anew(tmp_path: Path) -> None:
    assert "leave that flag out" in str(checkpoints.MissingCheckpointError(tmp_path))
