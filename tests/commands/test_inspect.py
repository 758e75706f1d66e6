"""`autoexp inspect`: whatever stands there, the answer is JSON."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.formats import make

if TYPE_CHECKING:
    from tests.commands.conftest import Say


def inspected(say: "Say", *words: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(say("inspect", *words, "--json").out)
    return found


def test_a_checkpoint_is_judged(say: "Say", tmp_path: Path) -> None:
    folder = make.legacy(tmp_path / "iter_0000006")

    assert inspected(say, folder) == {
        "kind": "checkpoint",
        "path": str(folder),
        "format": "torch",
        "iteration": 6,
        "complete": True,
        "convertible": True,
        "resumable": True,
        "why": "whole",
    }


def test_a_deep_look_finds_what_names_and_sizes_do_not_show(say: "Say", tmp_path: Path) -> None:
    folder = make.legacy(tmp_path / "iter_0000006")
    make.flip(folder / "mp_rank_00" / "model_optim_rng.pt")

    assert inspected(say, folder)["complete"]
    assert not inspected(say, folder, "--deep")["complete"]
    assert say("inspect", folder).status == 0
    assert say("inspect", folder, "--deep").status == 1
    assert say("inspect", make.legacy(tmp_path / "iter_0000007", iteration=7), "--deep").status == 0


def test_a_save_directory_means_its_newest_iteration_whatever_the_tracker_says(say: "Say", tmp_path: Path) -> None:
    make.legacy(tmp_path / "iter_0002000", iteration=2000)
    make.legacy(tmp_path / "iter_0012000", iteration=12000)
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("20000")

    found = inspected(say, tmp_path)

    assert (found["iteration"], found["resumable"], found["tracker"]) == (12000, True, 20000)
    assert "tracker beside it says 20000" in found["why"]
    (tmp_path / "iter_0012000" / "mp_rank_00" / "model_optim_rng.pt").write_bytes(b"")
    assert not inspected(say, tmp_path)["complete"]


def test_a_folder_is_named_by_itself_even_from_inside(
    say: "Say", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make.legacy(tmp_path / "iter_0000006"))

    assert inspected(say, ".")["iteration"] == 6


def test_a_log_is_read(say: "Say", tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(" iteration 7/ 40 | lm loss: 3.5E+00 |\n")

    assert inspected(say, log)["iteration"] == 7
    assert inspected(say, log, "--as", "command")["iteration"] is None
    said = say("inspect", log)
    assert (said.status, said.err) == (0, "")
    assert "3.5" in said.out


@pytest.mark.parametrize("kind", ["absent", "absent.log", "dangling", "dangling.log", "empty", "empty.log", "pipe.log"])
def test_what_is_absent_dangling_or_empty_answers_too(say: "Say", tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind.startswith("dangling"):
        path.symlink_to("nowhere")
    elif kind == "empty":
        path.mkdir()
    elif kind == "empty.log":
        path.write_text("")
    elif kind == "pipe.log":
        os.mkfifo(path)

    said = say("inspect", path, "--json")

    found = json.loads(said.out)
    assert found["kind"] == ("log" if kind.endswith(".log") else "checkpoint")
    assert found.get("format", "unknown") == "unknown"
    assert not found.get("complete")
    assert said.status == (0 if kind.startswith("empty") else 1)


def test_an_unknown_backend_is_refused_with_the_known_ones(say: "Say", tmp_path: Path) -> None:
    said = say("inspect", tmp_path, "--as", "nope")

    assert said.status == 1
    assert "megatron" in said.err


def test_a_person_reads_yes_and_no(say: "Say", tmp_path: Path) -> None:
    out = say("inspect", make.legacy(tmp_path / "iter_0000006")).out.splitlines()

    assert [line.split() for line in out[3:6]] == [["complete", "yes"], ["convertible", "yes"], ["resumable", "yes"]]


@pytest.mark.parametrize(
    "name", ["x" * 300, f"{'x' * 300}/a.log", "y/" * 3000, "circle", "circle/x", "a\0b", "a\0b.log"]
)
def test_a_name_that_no_file_can_have_is_answered_too(say: "Say", tmp_path: Path, name: str) -> None:
    (tmp_path / "circle").symlink_to("circle")

    said = say("inspect", tmp_path / name, "--json")

    assert said.status == 1
    found = json.loads(said.out)
    assert found["why"]
    assert not found.get("complete")


def test_an_empty_tracker_is_told_also_where_there_is_no_checkpoint(say: "Say", tmp_path: Path) -> None:
    (tmp_path / "latest_checkpointed_iteration.txt").touch()

    found = inspected(say, tmp_path)

    assert (found["format"], found["tracker"]) == ("unknown", "garbled")
    assert "holds no number: Megatron-LM would end with 0, and train nothing" in found["why"]


def test_a_tracker_that_names_what_is_not_there_is_told(say: "Say", tmp_path: Path) -> None:
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("9")
    assert inspected(say, tmp_path)["why"].endswith("the tracker beside it says 9, and that is not there")

    make.legacy(tmp_path / "iter_0000006")
    found = inspected(say, tmp_path)
    assert (found["iteration"], found["tracker"]) == (6, 9)
    assert found["why"] == "whole; the tracker beside it says 9, and that is not there"
