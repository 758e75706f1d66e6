from collections.abc import Callable

from autoexp.courses import course_of
from autoexp.model import JobSpec

Spec = Callable[..., JobSpec]
ARGS = {"train-iters": 100, "save-interval": 40}


def test_flags_say_where_a_training_saves(make_spec: Spec) -> None:
    course = course_of(make_spec(output="checkpoints", args={**ARGS, "save-extra-steps": [50, 500]}))

    assert course is not None
    assert (list(course.saves(0)), list(course.saves(80))) == ([40, 50, 80, 100], [100])
    bare = course_of(make_spec(output="checkpoints", args={"train-iters": 100}))
    assert bare is not None
    assert list(bare.saves(0)) == [100]


def test_what_is_no_training_or_does_not_say_how_far_it_goes_has_no_course(make_spec: Spec) -> None:
    assert course_of(make_spec(output="checkpoints", args={"train-samples": 1000})) is None
    assert course_of(make_spec(args=ARGS)) is None
