"""A watcher killed before each of its effects on the world; docs/reliability.md says how to run this by hand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHUNKS = 8
SUBMITTING = "rename:.*/submission.json|(spawn|await):.*/s(batch|cancel) after [a-z]+_|write:.*/journal/.*submitted"
"""The points right around a submission, of which half are tried; `make soak` tries all on a real cluster."""
PAIRS = 50
PAIR_CHUNKS = 2
SEED = 20261121


def harness(*words: str) -> str:
    """Run the harness, and return what it prints."""
    command = [sys.executable, "-m", "tests.crashes", *words]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    return done.stdout


@pytest.mark.crashes
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_watcher_killed_before_any_effect_loses_nothing_and_does_nothing_twice(chunk: int) -> None:
    said = harness("--all", "--chunk", f"{chunk}/{CHUNKS}")

    (points,) = re.findall(r"^(\d+) crash points in the study$", said, re.MULTILINE)
    (tried,) = re.findall(r"^single crashes: (\d+) tried, \1 survived, 0 not", said, re.MULTILINE)
    assert int(points) >= 1000
    assert int(tried) > int(points) / CHUNKS / 2


@pytest.mark.crashes
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("chunk", range(PAIR_CHUNKS))
def test_a_second_crash_while_the_first_is_mended_changes_nothing_either(chunk: int) -> None:
    said = harness("--pairs", str(PAIRS), "--seed", str(SEED), "--chunk", f"{chunk}/{PAIR_CHUNKS}")

    mine = PAIRS // PAIR_CHUNKS
    assert re.search(rf"^pairs: {mine} tried, {mine} survived, 0 not", said, re.MULTILINE)


@pytest.mark.crashes
@pytest.mark.timeout(1800)
def test_a_watcher_killed_around_a_submission_to_a_real_cluster_loses_nothing_and_submits_nothing_twice() -> None:
    said = harness("--slurm", "--all", "--chunk", "0/2", "--only", SUBMITTING)

    (tried,) = re.findall(r"^single crashes: (\d+) tried, \1 survived, 0 not", said, re.MULTILINE)
    assert int(tried) >= 10


@pytest.mark.crashes
def test_a_point_can_be_hit_again_by_its_name() -> None:
    said = harness("--point", "rename:experiments/demo/jobs/pretrain/attempts/001/intent.json after conditions_met #1")

    assert "this one: 1 tried, 1 survived, 0 not (1 rename)" in said
