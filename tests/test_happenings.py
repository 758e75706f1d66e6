"""What the table does with events is tested in test_lifecycle.py; here is what it asks."""

from collections.abc import Callable

from autoexp import happenings
from autoexp.model import Job, JobSpec, Rule, State

Specs = Callable[..., JobSpec]


def test_events_are_found_by_their_names_and_counted(make_spec: Specs) -> None:
    spike = Rule(name="spike", log="spike")
    job = Job(spec=make_spec(events=(spike,)), state=State.RUNNING, matched={"spike": {"times": 3}})

    assert (happenings.rule_of(job, "spike"), happenings.rule_of(job, "other")) == (spike, None)
    assert (happenings.times(job, "spike"), happenings.times(job, "other")) == (3, 0)
