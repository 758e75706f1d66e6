from collections.abc import Callable
from dataclasses import replace

from autoexp.conditions import read_condition
from autoexp.forecast import Forecast, expected
from autoexp.machine import Machine
from autoexp.model import State
from tests.forecast.conftest import CLUSTER, TRAINING, Foresee

Span = Callable[[Forecast, str], tuple[float, float]]
HOUR = 3600.0
SCORE = "score: {each: {checkpoint: train}, command: [x]}"
SCORED = f"{TRAINING}\n{SCORE}"


def states(forecast: Forecast) -> dict[str, State | None]:
    return {name: job.state for name, job in forecast.ledger.jobs.items()}


def test_a_job_starts_when_what_it_needs_has_succeeded(foresee: Foresee, span: Span) -> None:
    found = foresee("one: {command: [x], resources: {walltime: 2h}}\ntwo: {needs: one, command: [x]}")

    assert (span(found, "one"), span(found, "two")) == ((0, 2 * HOUR), (2 * HOUR, 3 * HOUR))
    assert set(states(found).values()) == {State.SUCCEEDED}


def test_jobs_appear_for_checkpoints_as_they_are_saved(foresee: Foresee, span: Span) -> None:
    stages = f"{SCORED}\nlast: {{each: {{job: score}}, command: [x]}}"

    found = foresee(stages, steps_s={"": 10.0}, jobs_s={"score": 60.0})

    assert span(found, "train") == (0, 1000)
    assert {name: span(found, name)[0] for name in found.ledger.jobs if name.startswith("score")} == {
        "score-train@0000040": 400,
        "score-train@0000080": 800,
        "score-train@0000100": 1000,
    }
    assert span(found, "last-score-train@0000080")[0] == 860


def test_checkpoints_are_batched_as_under_a_watcher(foresee: Foresee) -> None:
    found = foresee(f"{TRAINING}\nlist: {{each: {{checkpoint: train, batch: 2}}, command: [x]}}")

    assert [found.ledger.jobs[name].spec.iterations for name in found.ledger.children["list-train"]] == [
        (40, 80),
        (100,),
    ]


def test_a_cooldown_starts_at_its_branch_point_and_trains_what_is_left(foresee: Foresee, span: Span) -> None:
    stages = """
        train: {backend: megatron, args: {train-iters: 100, save-interval: 40}}
        cooldown:
          backend: megatron
          start: {checkpoint_reached: {stage: train, iteration: 80}}
          prepare: {cooldown_symlink: {from: "${sibling.train.checkpoints}", iteration: 80}}
          args: {train-iters: 100, save-interval: 100}
        """

    found = foresee(stages, steps_s={"": 10.0})

    assert span(found, "cooldown") == (800, 1000)


def test_what_its_walltime_cuts_short_goes_on_from_its_newest_checkpoint(foresee: Foresee, span: Span) -> None:
    stages = TRAINING + "  retry: {max_attempts: 3}\n"

    found = foresee(stages, steps_s={"train": 50.0})  # 72 iterations an hour; the one after 40 is lost

    assert found.courses["train"].runs[0] == (1e9, 1e9 + HOUR)
    assert span(found, "train") == (HOUR + 10, HOUR + 10 + 3000)
    assert found.ledger.jobs["train"].gpu_seconds == 4 * (HOUR + 3000)


def test_without_a_retry_the_walltime_is_the_end(foresee: Foresee) -> None:
    found = foresee(f"{TRAINING}\nnext: {{needs: train, command: [x]}}", steps_s={"train": 50.0})

    assert states(found) == {"train": State.FAILED, "next": State.SKIPPED}
    assert found.why(found.ledger.jobs["train"]) == "its walltime is shorter than its work"


def test_jobs_wait_for_free_nodes(foresee: Foresee, span: Span) -> None:
    found = foresee(
        "one: {command: ['${a}'], sweep: {params: {a: [1, 2, 3]}}, resources: {walltime: 1h}}", room={"nodes": 2.0}
    )

    assert [span(found, f"one-a{a}")[0] for a in (1, 2, 3)] == [0, 0, HOUR]
    assert found.courses["one-a3"].queued_s == HOUR


def test_a_budget_lets_start_what_it_still_pays_for(foresee: Foresee, span: Span) -> None:
    stages = "one: {command: ['${a}'], sweep: {params: {a: [1, 2, 3]}}, resources: {gpus_per_node: 1, walltime: 2h}}"

    found = foresee(stages, "budget: {gpu_hours: 4}", jobs_s={"": HOUR})

    assert [span(found, f"one-a{a}")[0] for a in (1, 2, 3)] == [0, 0, HOUR]
    assert found.ledger.budget.used == 3


def test_what_a_budget_never_pays_for_waits_and_says_so(foresee: Foresee) -> None:
    stages = "one: {command: ['${a}'], sweep: {params: {a: [1, 2]}}, resources: {gpus_per_node: 1, walltime: 2h}}"

    found = foresee(stages, "budget: {gpu_hours: 3}")

    assert states(found) == {"one-a1": State.SUCCEEDED, "one-a2": State.WAITING}
    assert "budget is too small" in found.why(found.ledger.jobs["one-a2"])


def test_only_so_many_are_submitted_and_the_highest_priority_comes_first(foresee: Foresee, span: Span) -> None:
    stages = """
        low: {command: ['${a}'], sweep: {params: {a: [1, 2]}}}
        high: {command: [x], priority: 1}
        """

    found = foresee(stages, machine=replace(CLUSTER, max_submitted=1))

    assert [span(found, name)[0] for name in ("high", "low-a1", "low-a2")] == [0, HOUR, 2 * HOUR]


def test_a_gate_passes(foresee: Foresee) -> None:
    machine = Machine(name="cluster", executor="slurm", python="python")

    found = foresee("one: {gate: {nccl_gate: {threshold: 1}}, command: [x]}", machine=machine)

    assert states(found) == {"one": State.SUCCEEDED}


def test_files_that_a_start_waits_for_are_there_and_what_would_end_a_job_is_not(foresee: Foresee, span: Span) -> None:
    stages = """
        one:
          start: {file_exists: {path: data}, not: {file_exists: {path: stop}}}
          cancel: {file_exists: {path: stop}}
          finish: {command_succeeds: {command: "true"}}
          command: [x]
        """

    found = foresee(stages)

    assert span(found, "one") == (0, HOUR)
    assert [what for _, what in found.hoped] == ["data", "stop"]


def test_what_waits_for_a_time_starts_then(foresee: Foresee, span: Span) -> None:
    found = foresee("one: {start: {elapsed: {for: 90s}}, command: [x]}")

    assert span(found, "one") == (90, 90 + HOUR)


def test_a_job_that_has_done_enough_is_ended(foresee: Foresee, span: Span) -> None:
    stages = """
        one: {command: [x], resources: {walltime: 1h}}
        two: {finish: {job_succeeded: {stage: one}}, command: [x], resources: {walltime: 5h}}
        """

    found = foresee(stages)

    assert span(found, "two") == (0, HOUR)
    assert set(states(found).values()) == {State.SUCCEEDED}


def test_nothing_is_saved_by_a_job_that_was_ended(foresee: Foresee) -> None:
    stages = f"{TRAINING}  cancel: {{job_succeeded: {{stage: one}}}}\none: {{command: [x]}}\n{SCORE}"

    found = foresee(stages, steps_s={"": 30.0}, jobs_s={"one": 1300.0})

    assert found.ledger.jobs["train"].state is State.CANCELLED
    assert found.ledger.jobs["train"].checkpoints == (40,)


def test_what_a_machine_cannot_run_fails(foresee: Foresee) -> None:
    local = Machine(name="here", python="python")

    found = foresee(
        "one: {command: [x], resources: {gpus_per_node: 2}}", machine=local, room={"cpus": 4.0, "gpus": 1.0}
    )

    assert found.why(found.ledger.jobs["one"]) == "it asks for 2 gpus, and machine here has 1"


def test_a_question_under_not_is_answered_the_other_way_round() -> None:
    condition = read_condition({"any": [{"file_exists": {"path": "a"}}, {"not": {"file_exists": {"path": "b"}}}]})

    assert {question.path: found for question, found in expected(condition, found=True)} == {"a": True, "b": False}


def test_what_a_recipe_wants_done_when_a_job_comes_into_a_state_is_done(foresee: Foresee) -> None:
    stages = """
        train: {command: [x], events: {end: {state: succeeded, do: [{submit: look}, {log: done}, {fail: "{line}"}]}}}
        look: {command: [y]}
        """

    found = foresee(stages)

    assert states(found) == {"train": State.FAILED, "look": State.SUCCEEDED}
    assert found.ledger.jobs["train"].reason == "fail: it is succeeded"
