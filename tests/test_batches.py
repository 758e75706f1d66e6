"""Batches of checkpoints: which belong together whatever happens, and what their job does for each."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from autoexp.actions import Action, AppearJob
from autoexp.batches import children, for_iteration, gathered, joined, unlike
from autoexp.events import CheckpointSaved, Ended, Event, Planned, Requested, Started, Submitted
from autoexp.fold import fold
from autoexp.lifecycle import owed, step
from autoexp.model import (
    OVER,
    EndingClass,
    Job,
    JobSpec,
    Resources,
    RetryPolicy,
    Run,
    State,
    Template,
    Transition,
    Verb,
)

CONVERT = Template(id="convert-train", stage="convert", parent="train", kind="checkpoint", batch=2)
PARENT = JobSpec(id="train", study="demo", stage="train", children=(CONVERT,))


def batch_job(*iterations: int) -> JobSpec:
    name = CONVERT.child("train", iterations[-1])
    kin: dict[str, Any] = {"template": "convert-train", "parent": "train", "iteration": iterations[-1]}
    return JobSpec(id=name, study="demo", stage="convert", iterations=iterations, **kin)


def groups(job: Job, *on_disk: JobSpec, known: tuple[str, ...] = ()) -> list[tuple[tuple[int, ...], bool]]:
    return [(event.iterations, event.complete) for event in gathered(job, known, on_disk, 1.0)]


def running(*checkpoints: int, template: Template = CONVERT, **fields: Any) -> Job:
    return Job(spec=replace(PARENT, children=(template,)), state=State.RUNNING, checkpoints=checkpoints, **fields)


# What belongs together


def test_checkpoints_are_grouped_in_their_order_and_what_is_left_is_not_complete() -> None:
    assert groups(running(300, 100, 200)) == [((100, 200), True), ((300,), False)]


def test_what_is_not_wanted_or_stands_in_a_batch_or_has_a_job_of_its_own_is_in_no_group() -> None:
    some = replace(CONVERT, first=200, every=200)

    assert groups(running(100, 200, 300, 400, template=some)) == [((200, 400), True)]
    assert groups(running(100, 200, 300, batches={"convert-train": ((100, 200),)})) == [((300,), False)]
    assert groups(running(100, 200, 300), known=("convert-train@0000100",)) == [((200, 300), True)]


def test_a_template_without_batches_gathers_nothing() -> None:
    assert groups(running(100, 200, template=replace(CONVERT, batch=None))) == []


def test_a_batch_that_only_disk_knows_is_the_same_again_once_a_checkpoint_of_it_is_found() -> None:
    assert groups(running(), batch_job(100, 200, 300)) == []
    assert groups(running(200, 400), batch_job(100, 200, 300)) == [((100, 200, 300), True), ((400,), False)]


def test_what_appeared_alone_before_there_were_batches_stays_alone_when_the_journal_is_lost() -> None:
    alone = replace(batch_job(100), iterations=())

    assert groups(running(100, 200, 300), alone) == [((100,), True), ((200, 300), True)]


def test_a_batch_appears_when_it_is_complete_or_its_parent_is_over() -> None:
    event = next(gathered(running(100), (), (), 1.0))
    over = step(replace(running(100), state=State.FAILED), event)

    assert step(running(100), event).transition is None
    assert over.actions == (
        AppearJob(
            job="convert-train@0000100", template="convert-train", parent="train", iteration=100, iterations=(100,)
        ),
    )
    assert over.job.batches == {"convert-train": ((100,),)}
    assert step(over.job, event).transition is None, "no checkpoint stands in two batches"


def test_no_batch_is_broken_up_when_the_recipe_stops_making_them() -> None:
    alone = running(100, 200, 300, template=replace(CONVERT, batch=None), batches={"convert-train": ((100, 200),)})

    names = [str(action) for action in owed(alone, {"convert-train@0000200"})]

    assert names == ["appear convert-train@0000300"]


def test_children_are_the_batches_and_what_has_none_yet() -> None:
    job = running(100, 200, 300, batches={"convert-train": ((100, 200),)})

    assert list(children(job, "convert-train")) == ["convert-train@0000200", "convert-train@0000300"]
    assert list(children(job, "another")) == []


# What its job does


ONE = JobSpec(
    id="c@0000200",
    study="s",
    stage="c",
    iteration=100,
    argv=("a", "100"),
    env={"K": "1", "I": "100"},
    params={"i": 100},
)
TWO = replace(ONE, iteration=200, argv=("a", "200"), env={"K": "1", "I": "200"}, params={"i": 200})


def test_a_batch_keeps_of_each_iteration_only_what_differs_from_the_last() -> None:
    job = joined([ONE, TWO])

    assert (job.iteration, job.iterations, job.argv, job.env) == (200, (100, 200), (), {"K": "1", "I": "200"})
    assert job.runs == (Run(argv=("a", "100"), env={"I": "100"}, params={"i": 100}), Run(argv=("a", "200")))


def test_for_one_iteration_it_is_what_it_would_be_alone() -> None:
    job = joined([ONE, TWO])

    for alone in (ONE, TWO):
        assert replace(for_iteration(job, alone.iteration or 0), iterations=(), runs=()) == alone


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("resources", replace(ONE, resources=Resources(cpus=2))),
        ("retry", replace(ONE, retry=RetryPolicy(max_attempts=2))),
        ("stall", replace(ONE, no_progress_s=9.0)),
        ("gate", replace(ONE, gate=("g",))),
    ],
)
def test_what_a_job_has_once_must_be_the_same_for_each(key: str, other: JobSpec) -> None:
    assert unlike([ONE, TWO]) is None
    assert unlike([ONE, TWO, other]) == key


# Whatever happens, in whatever order


class Study(RuleBasedStateMachine):
    """A parent that saves, ends and is tried again, and a watcher that is killed at any time and forgets at times."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = PARENT
        self.journal: list[Transition | str] = []
        """The parent's moves, and the ids of the jobs that were born."""
        self.disk: list[JobSpec] = []
        self.largest = 2
        self.saved: set[int] = set()
        self.effects_left: int | None = None
        """How many more the watcher has before it is killed."""

    @initialize(size=st.integers(1, 4), every=st.sampled_from([1, 2]))
    def plan(self, size: int, every: int) -> None:
        self.spec = replace(PARENT, children=(replace(CONVERT, batch=size, every=every),))
        self.largest = size
        self.start_watcher()

    # The watcher

    def start_watcher(self) -> None:
        """Fold the journal and read the disk, as every watcher does first."""
        self.job = Job(spec=self.spec)
        self.known = {entry for entry in self.journal if isinstance(entry, str)}
        for entry in self.journal:
            self.job = self.job if isinstance(entry, str) else fold(self.job, entry)
        self.read = tuple(self.disk)
        if self.job.state is None:
            self.happen(Planned(at=0.0), Requested(at=0.0, verb=Verb.START), Submitted(at=0.0), Started(at=0.0))
        self.settle()

    def happen(self, *events: Event) -> list[Action]:
        done: list[Action] = []
        for event in events:
            decision = step(self.job, event)
            self.job = decision.job
            if decision.transition is not None:
                self.journal.append(decision.transition)
            done += decision.actions
        return done

    def settle(self) -> None:
        """Bring about what is due; a watcher that is to be killed comes only so far."""
        actions = [*owed(self.job, self.known), *self.happen(*gathered(self.job, self.known, self.read, 0.0))]
        for action in actions:
            if not isinstance(action, AppearJob) or action.job in self.known:
                continue
            for effect in (self.write_down, self.give_birth):
                if self.effects_left == 0:
                    self.effects_left = None
                    self.start_watcher()
                    return
                effect(action)
                self.effects_left = None if self.effects_left is None else self.effects_left - 1

    def write_down(self, action: AppearJob) -> None:
        spec = batch_job(*action.iterations)
        assert spec.id == action.job
        if spec not in self.disk:
            self.disk.append(spec)

    def give_birth(self, action: AppearJob) -> None:
        self.journal.append(action.job)
        self.known.add(action.job)

    # What happens to it

    @rule(effects=st.integers(0, 4))
    def kill_it_soon(self, effects: int) -> None:
        self.effects_left = effects

    @rule(kept=st.floats(0, 1))
    def lose_the_journals_tail(self, kept: float) -> None:
        del self.journal[int(len(self.journal) * kept) :]
        self.start_watcher()

    # What happens to the parent

    @rule(iterations=st.lists(st.integers(1, 12), max_size=4))
    def save(self, iterations: list[int]) -> None:
        self.saved.update(iterations)
        self.look(iterations)

    @rule(order=st.permutations(range(1, 13)))
    def look(self, order: list[int]) -> None:
        if self.job.state is State.RUNNING:
            found = [iteration for iteration in order if iteration in self.saved]
            self.happen(*(CheckpointSaved(at=0.0, path="c", iteration=iteration) for iteration in found))
        self.settle()

    @rule(ending=st.sampled_from([EndingClass.SUCCESS, EndingClass.CRASHED]))
    def end(self, ending: EndingClass) -> None:
        self.look(sorted(self.saved))
        self.happen(Ended(at=0.0, ending=ending, reason="so"))
        self.settle()

    @rule()
    def run_again(self) -> None:
        self.happen(Requested(at=0.0, verb=Verb.RESTART), Requested(at=0.0, verb=Verb.START))
        if self.job.state is State.SUBMITTING:
            self.happen(Submitted(at=0.0), Started(at=0.0))
        self.settle()

    @rule(size=st.integers(1, 4))
    def plan_another_size(self, size: int) -> None:
        self.spec = replace(self.spec, children=(replace(self.spec.children[0], batch=size),))
        self.largest = max(self.largest, size)
        self.start_watcher()

    # What holds all the time

    @invariant()
    def no_checkpoint_stands_in_two_batches_and_none_is_too_large(self) -> None:
        counted = Counter(iteration for spec in self.disk for iteration in spec.iterations)
        assert max(counted.values(), default=1) == 1, self.disk
        assert all(len(spec.iterations) <= self.largest for spec in self.disk)

    @invariant()
    def once_the_parent_is_over_every_wanted_checkpoint_it_had_stands_in_a_batch_with_a_job(self) -> None:
        template = self.spec.children[0]
        standing = {i for spec in self.disk if spec.id in self.known for i in spec.iterations}
        wanted = {iteration for iteration in self.job.checkpoints if template.wants(iteration)}
        if self.job.state in OVER:
            assert wanted <= standing
        else:
            assert len(wanted - standing) < (template.batch or 0)


Study.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
test_every_wanted_checkpoint_stands_in_exactly_one_batch_whatever_happens = Study.TestCase
