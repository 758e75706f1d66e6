from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoexp.model import Job, JobSpec, State, Template
from autoexp.page import jobs
from autoexp.registry import Ledger
from autoexp.view import view

if TYPE_CHECKING:
    from tests.conftest import Room

TRAINER = r"""
for step in range(1, 1001):
    print(f" iteration {step:8d}/    1000 | elapsed time per iteration (ms): 10.0 | lm loss: {3 / step:.6E} |")
"""


def record(trigger: str, attempt: int, second: int, **evidence: Any) -> dict[str, Any]:
    at = f"2026-11-20T21:40:{second:02d}.000000Z"
    return {"at": at, "attempt": attempt, "trigger": trigger, "evidence": evidence}


def test_attempts_are_told_with_their_times_and_endings() -> None:
    told = jobs.attempts(
        [
            record("planned", 0, 0),
            record("conditions_met", 1, 1),
            record("started", 1, 2, host="n1", scheduler_id="7"),
            record("ended", 1, 3, ending="gpu_oom", reason="out of memory"),
            record("backoff_elapsed", 2, 4),
        ]
    )

    assert told == [
        {
            "attempt": 1,
            "submitted": "2026-11-20T21:40:01.000000Z",
            "began": "2026-11-20T21:40:02.000000Z",
            "host": "n1",
            "id": "7",
            "ended": "2026-11-20T21:40:03.000000Z",
            "last": "2026-11-20T21:40:03.000000Z",
            "ending": "gpu_oom",
            "reason": "out of memory",
        },
        {"attempt": 2, "submitted": "2026-11-20T21:40:04.000000Z", "last": "2026-11-20T21:40:04.000000Z"},
    ]


def test_a_checkpoint_names_its_conversion_and_that_one_s_evaluation(
    make_spec: Callable[..., JobSpec], make_ledger: Callable[..., Ledger]
) -> None:
    convert = Template(id="convert-train", stage="convert", parent="train", kind="checkpoint")
    evaluate = Template(id="evaluate-convert-train", stage="evaluate", parent="convert-train", kind="job")
    train = Job(spec=make_spec("train", children=(convert,)), state=State.RUNNING, checkpoints=(10,))
    converted = make_spec("convert-train@0000010", iteration=10, template=convert.id, children=(evaluate,))
    evaluated = make_spec("evaluate-convert-train@0000010", iteration=10, template=evaluate.id)
    ledger = make_ledger(train, Job(spec=converted, state=State.SUCCEEDED), Job(spec=evaluated, state=State.QUEUED))

    assert jobs.saved(ledger, train, 10) == {
        "iteration": 10,
        "jobs": [["convert-train@0000010", "succeeded"], ["evaluate-convert-train@0000010", "queued"]],
    }


@pytest.fixture
def trained(room: "Room") -> "Room":
    """A training that is over, and was asked something."""
    program = room.write("train.py", TRAINER)
    room.plan(f"train: {{backend: megatron, params: {{program: {program}}}, args: {{train-iters: 1000}}}}\n")
    room.watch()
    room.wait_for({"train": "failed"})
    room.touch("train", "hold")
    room.wait_answer("train")
    return room


def test_a_job_s_page_has_all_that_is_told_of_it(trained: "Room") -> None:
    seen = view(trained.root)
    ledger = seen.registry.ledgers["demo"]
    job = ledger.jobs["train"]

    told = jobs.job_page(seen, ledger, job, list(seen.records("demo", "train")))

    assert told["text"] == trained.run("why", trained.job_dir("train")).stdout.splitlines()
    assert [move["trigger"] for move in told["moves"]][:4] == ["planned", "conditions_met", "submitted", "started"]
    assert [run["attempt"] for run in told["runs"]] == [1]
    assert [(answer["verdict"], answer["marker"]) for answer in told["answers"]] == [("refused", "hold")]
    assert 'id: "train"' in told["config"]
    assert f"bash {trained.job_dir('train')}/run.sh" in told["commands"]


def test_curves_are_thinned_out_to_what_a_screen_shows(trained: "Room") -> None:
    ledger = view(trained.root).registry.ledgers["demo"]

    told = jobs.curves(ledger, ledger.jobs["train"])

    assert len(told["points"]) <= jobs.MOST_POINTS + 1
    assert told["points"][0] == [1, 3.0, 0.01]
    assert told["points"][-1][:2] == [1000, 0.003]


def test_of_logs_that_take_long_to_read_no_curve_is_drawn(trained: "Room", monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = view(trained.root).registry.ledgers["demo"]
    monkeypatch.setattr(jobs, "LARGEST_LOG_BYTES", 1 << 10)

    assert jobs.curves(ledger, ledger.jobs["train"])["points"] == []


def test_a_configuration_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    assert jobs._text(tmp_path / "job.yaml") == "# it cannot be read: No such file or directory"
