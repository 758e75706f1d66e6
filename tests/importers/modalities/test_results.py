"""Folders of results, as sweeps of Modalities leave them."""

import json
from itertools import product
from pathlib import Path

import pytest

from autoexp.errors import AutoexpError
from autoexp.importers import modalities


def results(folder: Path) -> None:
    """Write what a sweep of 2 x 2 values left behind at two world sizes: one ran out of memory, one ran twice."""
    for world, (number, (a, b)) in product((2, 4), enumerate(product((1, 2), (8, 16)))):
        for time in ("2026-05-01__12-00-00", "2026-05-02__12-00-00")[: 2 if (world, number) == (2, 0) else 1]:
            run = folder / f"2026-05-01__12-00-00_0123abcd/{world}/abcd{number}_{time}"
            run.mkdir(parents=True)
            (run / "s.yaml").write_text(f"sweep: {{model: {{a: {a}, b: {b}}}}}\nuse: '${{sweep.model}}'\n")
            record = json.dumps({"dataloader_tag": "train", "num_train_steps_done": 20 if number else 7})
            (run / "evaluation_results.jsonl").write_text(f'{record}\n{{"dataloader_tag": "tr')
    (run / "error_logs").mkdir()
    (run / "error_logs/error_logs_node1_0.log").write_text('{"error": {"type": "OutOfMemoryError"}}')
    (run / "error_logs/error_logs_node1_1.log").write_text("")
    (folder / "plots/2/x").mkdir(parents=True)
    (folder / "plots/2/x/notes.yaml").write_text("[")


def test_a_folder_of_results_becomes_the_sweep_they_are_of(tmp_path: Path) -> None:
    results(tmp_path)

    made = modalities.read(tmp_path)

    assert made.recipe["sweep"] == {"params": {"a": [1, 2], "b": [8, 16], "world": [2, 4]}}
    told = "\n".join(each["message"] for each in made.warnings if each["code"] == "ran")
    assert "world 2: 4 configurations: 3 came to step 20; 1 came to step 7" in told
    assert "then OutOfMemoryError, an error whose log is torn" in told


def test_results_of_alternatives_are_not_multiplied(tmp_path: Path) -> None:
    results(tmp_path)
    for run in tmp_path.glob("*/*/abcd[12]*/s.yaml"):
        run.unlink()

    made = modalities.read(next(tmp_path.glob("2026*")))

    assert [len(entries) for entries in made.recipe["sweep"]["configs"].values()] == [2]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AutoexpError, match="holds no results of Modalities'"):
        modalities.read(tmp_path)
