import dataclasses

import pytest

from autoexp.model import ACTIVE, OVER, Job, JobSpec, State, Template

BY_CHECKPOINT = Template(id="convert-train-lr1", stage="convert", parent="train-lr1", kind="checkpoint")
BY_JOB = Template(id="score-convert-train-lr1", stage="score", parent="convert-train-lr1", kind="job")


def test_a_state_is_spelled_in_lower_case() -> None:
    assert [str(state) for state in (State.WAITING, State.SUBMITTING)] == ["waiting", "submitting"]


def test_no_state_is_both_over_and_active() -> None:
    assert not OVER & ACTIVE
    assert set(State) - OVER - ACTIVE == {State.WAITING, State.HELD, State.BACKOFF}


@pytest.mark.parametrize(
    ("first", "every", "wanted"),
    [
        pytest.param(1, 1, [1, 2, 3, 4, 5, 6], id="all"),
        pytest.param(4, 1, [4, 5, 6], id="from the fourth"),
        pytest.param(1, 3, [3, 6], id="every third"),
        pytest.param(4, 3, [6], id="every third from the fourth"),
    ],
)
def test_a_template_wants_multiples_of_every_from_the_first_on(first: int, every: int, wanted: list[int]) -> None:
    template = dataclasses.replace(BY_CHECKPOINT, first=first, every=every)

    assert [iteration for iteration in range(1, 7) if template.wants(iteration)] == wanted


def test_a_job_of_a_checkpoint_carries_the_iteration_in_seven_digits() -> None:
    assert BY_CHECKPOINT.child("train-lr1", 200) == "convert-train-lr1@0000200"


def test_a_job_of_a_job_that_appeared_carries_that_jobs_whole_id() -> None:
    assert BY_JOB.child("convert-train-lr1@0000200", None) == "score-convert-train-lr1@0000200"


def test_a_jobs_iteration_is_its_newest_checkpoints_in_whatever_order_they_were_found() -> None:
    job = Job(spec=JobSpec(id="a", study="s", stage="t"), checkpoints=(300, 100, 200))

    assert job.iteration == 300
    assert Job(spec=job.spec).iteration == 0


def test_values_cannot_be_changed_in_place() -> None:
    job = Job(spec=JobSpec(id="a", study="s", stage="t"))

    with pytest.raises(dataclasses.FrozenInstanceError):
        job.state = State.HELD  # type: ignore[misc]
