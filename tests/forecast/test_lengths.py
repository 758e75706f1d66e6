from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autoexp.forecast.lengths import Lengths
from autoexp.model import EndingClass, HookCall, Job, JobSpec, Resources

Spec = Callable[..., JobSpec]
ARGS = {"train-iters": 100, "save-interval": 40}


@pytest.fixture
def train(make_spec: Spec) -> Callable[..., Job]:
    def make(args: dict[str, Any] = ARGS, walltime_s: int | None = None, **fields: Any) -> Job:
        resources = Resources(walltime_s=walltime_s)
        return Job(spec=make_spec("train", args=args, output="checkpoints", resources=resources, **fields))

    return make


Train = Callable[..., Job]


def test_a_training_takes_its_iterations(train: Train) -> None:
    attempt = Lengths(steps_s={"": 2.0}).of(train())

    assert (attempt.lasts_s, attempt.ending) == (200, EndingClass.SUCCESS)
    assert list(attempt.saves) == [(80, 40), (160, 80), (200, 100)]
    assert attempt.basis == "2s an iteration"


def test_an_iteration_s_time_may_be_one_stage_s(train: Train) -> None:
    assert Lengths(steps_s={"train": 1.0, "": 2.0}).of(train()).lasts_s == 100
    assert Lengths(steps_s={"other": 1.0}).of(train()).lasts_s == 3600


def test_without_a_time_for_an_iteration_it_lasts_its_walltime(train: Train) -> None:
    attempt = Lengths().of(train(walltime_s=1000))

    assert (attempt.lasts_s, attempt.ending) == (1000, EndingClass.SUCCESS)
    assert [at for at, _ in attempt.saves] == [400, 800, 1000]
    assert attempt.basis == "its whole walltime, 16m40s"


def test_nobody_s_word_is_an_hour(make_spec: Spec) -> None:
    attempt = Lengths(steps_s={"": 1.0}).of(Job(spec=make_spec()))

    assert (attempt.lasts_s, attempt.basis) == (3600, "1h, as nobody says: it has no walltime")


def test_a_training_without_an_iteration_takes_no_time_and_says_why(train: Train) -> None:
    attempt = Lengths().of(train({"train-iters": 0}))

    assert (attempt.lasts_s, attempt.basis) == (0, "nothing: it begins at iteration 0, and ends at 0")


def test_a_walltime_cuts_it_short(train: Train) -> None:
    attempt = Lengths(steps_s={"": 10.0}).of(train(walltime_s=900))

    assert (attempt.lasts_s, attempt.ending) == (900, EndingClass.TIME_LIMIT)
    assert [iteration for _, iteration in attempt.saves] == [40, 80]


def test_a_next_attempt_trains_from_the_newest_checkpoint(train: Train) -> None:
    job = replace(train(walltime_s=900), checkpoints=(40, 80))

    attempt = Lengths(steps_s={"": 10.0}).of(job)

    assert (attempt.lasts_s, attempt.saves) == (200, ((200, 100),))


def test_a_job_may_be_said_to_take_a_time(train: Train, make_spec: Spec) -> None:
    told = Lengths(jobs_s={"": 50.0}, steps_s={"": 10.0})
    batch = Job(spec=make_spec("list", iterations=(40, 80)))

    assert (told.of(train()).lasts_s, told.of(train()).basis) == (50, "50s for all iterations")
    assert (told.of(batch).lasts_s, told.of(batch).basis) == (100, "50s each")


def test_only_the_last_checkpoint_matters_where_nobody_waits_for_others(train: Train) -> None:
    assert Lengths(steps_s={"": 1.0}).of(train(), all_saves=False).saves == ((100, 100),)


def test_a_cooldown_begins_at_its_branch_point(train: Train) -> None:
    call = HookCall(name="cooldown_symlink", path="", values={"iteration": 80})

    assert Lengths(steps_s={"": 1.0}).of(train(prepare=(call,))).lasts_s == 20
