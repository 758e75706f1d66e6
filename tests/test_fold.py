from collections.abc import Callable

import pytest

from autoexp.fold import fold, folded
from autoexp.model import EndingClass, Job, JobSpec, State, Transition, Verb

Move = Callable[..., Transition]


@pytest.fixture
def job(make_spec: Callable[..., JobSpec]) -> Job:
    """A job that runs since 100."""
    return Job(spec=make_spec("one"), state=State.RUNNING, attempt=1, since=100.0, reason="why not")


@pytest.fixture
def move() -> Move:
    """Make a move of that job at 200."""

    def make(target: State, attempt: int = 1, **changes: object) -> Transition:
        return Transition(
            study="demo",
            job="one",
            attempt=attempt,
            trigger="ended",
            source=State.RUNNING,
            target=target,
            at=200.0,
            changes=changes,  # type: ignore[arg-type]
        )

    return make


def test_a_move_changes_the_state_its_time_and_what_it_says(job: Job, move: Move) -> None:
    moved = fold(job, move(State.BACKOFF, attempt=2, reason="exit code 3", wake_at=260.0))

    assert (moved.state, moved.attempt, moved.since) == (State.BACKOFF, 2, 200.0)
    assert (moved.reason, moved.wake_at) == ("exit code 3", 260.0)


def test_what_stays_in_its_state_keeps_the_time_it_came_into_it(job: Job, move: Move) -> None:
    moved = fold(job, move(State.RUNNING, checkpoints=[10, 20]))

    assert (moved.state, moved.since, moved.reason) == (State.RUNNING, 100.0, "why not")


@pytest.mark.parametrize(
    ("field", "written", "meant"),
    [
        ("pending", "hold", Verb.HOLD),
        ("pending", None, None),
        ("ending", "crashed", EndingClass.CRASHED),
        ("checkpoints", [10, 20], (10, 20)),
        ("batches", {"convert": [[10, 20], [30]]}, {"convert": ((10, 20), (30,))}),
    ],
)
def test_what_json_spells_as_text_and_lists_is_read_as_what_it_is(
    job: Job, move: Move, field: str, written: object, meant: object
) -> None:
    found = getattr(fold(job, move(State.RUNNING, **{field: written})), field)

    assert (found, type(found)) == (meant, type(meant))


def test_the_job_itself_is_left_as_it_was(job: Job, move: Move) -> None:
    fold(job, move(State.SUCCEEDED))

    assert job.state is State.RUNNING


def test_a_job_is_made_at_once_of_what_its_moves_have_set(job: Job, move: Move) -> None:
    moved = fold(fold(job, move(State.STOPPING, pending="cancel")), move(State.CANCELLED, checkpoints=[2, 4]))

    fields = {"reason": "why not", "pending": "cancel", "checkpoints": [2, 4]}
    assert folded(job.spec, "cancelled", 1, 200.0, fields) == moved
