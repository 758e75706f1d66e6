from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import effects
from autoexp.actions import AppearJob, SubmitJob
from autoexp.events import CheckpointSaved, Ended, Planned
from autoexp.model import Answer, EndingClass, Job, JobSpec, Remedy, RetryPolicy, State, Template

SPEC = JobSpec(id="a", study="s", stage="t", key="k")
PLANNED = Planned(at=0.0)


@given(st.floats(0, 1e6), st.integers(0, 10**6))
def test_a_wait_never_shrinks_and_never_passes_the_longest(first_s: float, times: int) -> None:
    waits = [effects.doubled(first_s, times), effects.doubled(first_s, times + 1)]

    assert first_s <= waits[0] <= waits[1] <= max(first_s, effects.LONGEST_BACKOFF_S)


def test_a_first_attempt_is_number_one_and_its_token_says_whose_it_is() -> None:
    changes, action = effects.open_attempt(Job(spec=SPEC), PLANNED)

    assert isinstance(changes, dict)
    assert (changes["attempt"], changes["token"]) == (1, "a.1.k")
    assert action == SubmitJob(job="a", attempt=1)


def test_an_attempt_that_never_ran_is_opened_again() -> None:
    _, action = effects.open_attempt(Job(spec=SPEC, attempt=4, unused=True), PLANNED)

    assert action == SubmitJob(job="a", attempt=4)


@pytest.mark.parametrize(
    ("withdrawn", "unused", "ending", "expected"),
    [
        pytest.param(True, True, EndingClass.UNKNOWN, True, id="before it began, however it ended"),
        pytest.param(True, False, EndingClass.CANCELLED, True, id="just after it began"),
        pytest.param(True, False, EndingClass.CRASHED, False, id="crashed by itself"),
        pytest.param(False, True, EndingClass.CANCELLED, False, id="never asked for"),
    ],
)
def test_an_attempt_was_taken_back_if_we_asked_and_it_ended_of_that(
    *, withdrawn: bool, unused: bool, ending: EndingClass, expected: bool
) -> None:
    job = Job(spec=SPEC, withdrawn=withdrawn, unused=unused)

    assert effects.was_taken_back(job, Ended(at=0.0, ending=ending, reason="")) is expected


def test_what_we_stopped_because_it_hung_was_hung_unless_it_succeeded() -> None:
    hung = Job(spec=SPEC, hung=True)

    assert effects.ending_of(hung, Ended(at=0.0, ending=EndingClass.CANCELLED, reason="")) is EndingClass.HUNG
    assert effects.ending_of(hung, Ended(at=0.0, ending=EndingClass.SUCCESS, reason="")) is EndingClass.SUCCESS


def test_a_recipe_s_remedy_stands_over_the_default() -> None:
    spec = JobSpec(
        id="a", study="s", stage="t", retry=RetryPolicy(when={EndingClass.CRASHED: Answer(remedy=Remedy.HOLD)})
    )
    crashed = Ended(at=0.0, ending=EndingClass.CRASHED, reason="")

    assert effects.remedy(Job(spec=spec), crashed) is Remedy.HOLD
    assert effects.remedy(Job(spec=SPEC), crashed) is Remedy.RETRY


def test_children_are_those_of_the_job_itself_or_of_the_checkpoint() -> None:
    job_like = Template(id="note-a", stage="note", parent="a", kind="job")
    every_ten = Template(id="convert-a", stage="convert", parent="a", kind="checkpoint", every=10)
    job = Job(
        spec=JobSpec(id="a", study="s", stage="t", children=(job_like, every_ten)),
        state=State.RUNNING,
        checkpoints=(10,),
    )

    assert [child.job for child in effects.children_of(job, None)] == ["note-a"]
    assert list(effects.children_of(job, 20)) == [
        AppearJob(job="convert-a@0000020", template="convert-a", parent="a", iteration=20)
    ]
    assert list(effects.children_of(job, 15)) == []
    assert list(effects.appear_for_checkpoint(job, CheckpointSaved(at=0.0, path="c", iteration=10))) == []


# Nodes that endings are blamed on


def blamed(*nodes: str, ending: EndingClass = EndingClass.NODE_FAIL, at: float = 100.0) -> Ended:
    return Ended(at=at, attempt=1, ending=ending, reason="", suspects=nodes)


def job_that(remedy: Remedy, **fields: Any) -> Job:
    policy = RetryPolicy(when={EndingClass.NODE_FAIL: Answer(remedy=remedy)})
    return Job(spec=JobSpec(id="one", study="demo", stage="one", retry=policy), attempt=1, **fields)


def test_a_node_is_avoided_for_a_day_where_the_recipe_says_so() -> None:
    (change,) = effects.avoid_suspects(job_that(Remedy.EXCLUDE_NODE), blamed("n1"))

    assert change == {"avoided": {"n1": 100.0 + 86400}}
    assert list(effects.avoid_suspects(job_that(Remedy.RETRY), blamed("n1"))) == []


def test_what_the_gate_found_slow_is_avoided_whatever_the_recipe_says() -> None:
    assert list(effects.avoid_suspects(job_that(Remedy.RETRY), blamed("n1", ending=EndingClass.NETWORK)))


@pytest.mark.parametrize("nodes", [(), ("n1", "n2", "n3", "n4", "n5")], ids=["none", "many"])
def test_no_node_and_many_nodes_are_no_blame(nodes: tuple[str, ...]) -> None:
    assert list(effects.avoid_suspects(job_that(Remedy.EXCLUDE_NODE), blamed(*nodes))) == []


def test_what_was_blamed_long_ago_is_forgotten() -> None:
    job = job_that(Remedy.EXCLUDE_NODE, avoided={"n8": 50.0, "n9": 150.0})

    (change,) = effects.avoid_suspects(job, blamed("n1"))

    assert isinstance(change, Mapping)
    assert set(change["avoided"]) == {"n1", "n9"}
