from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoexp import studies, study_files
from autoexp.errors import AutoexpError
from autoexp.events import ConditionsMet, Ended, Event, Planned, Retired, Started, Submitted
from autoexp.journal import to_record
from autoexp.lifecycle import step
from autoexp.machine import Machine
from autoexp.model import Condition, EndingClass, Job, JobSpec, State, Template, Transition
from autoexp.outline import Plan
from autoexp.registry import Key, Ledger, Registry, stamp_of
from autoexp.standings import Course, Standings
from autoexp.studies import Study

Specs = Callable[..., JobSpec]
TEMPLATE = Template(id="eval-one", stage="eval", parent="one", kind="job")


def planned(root: Path, *jobs: JobSpec, key: str = "0000", **plan: Any) -> Study:
    """Write a study; return it."""
    made = Study(dir=root / "demo", plan=Plan(study="demo", jobs=jobs, **plan), machine=Machine(name="bench"), key=key)
    study_files.write(made, "", studies.load(made.dir) if studies.exists(made.dir) else None)
    return made


def loaded(root: Path) -> Ledger:
    return Registry(root).load(root / "demo")


def lived(spec: JobSpec, *events: Event) -> list[Transition]:
    """What the journal says of a job to whom these events happened."""
    job, moves = Job(spec=spec), []
    for event in events:
        decision = step(job, event)
        assert decision.transition is not None
        job = decision.job
        moves.append(decision.transition)
    return moves


def life(spec: JobSpec) -> list[Transition]:
    """A job that ran and succeeded."""
    return lived(
        spec,
        Planned(at=1.0),
        ConditionsMet(at=2.0, reason="nothing to wait for"),
        Submitted(at=3.0, attempt=1),
        Started(at=4.0, attempt=1, scheduler_id="7"),
        Ended(at=5.0, attempt=1, ending=EndingClass.SUCCESS, reason="exit code 0", code=0),
    )


def said(*moves: Transition) -> Course:
    """What the journal says of a study that moved so."""
    standings = Standings()
    for seq, move in enumerate(moves, start=1):
        standings.take(to_record(move, seq, 1))
    return standings.of("demo")


# Replay


def test_the_journal_folds_into_jobs(tmp_path: Path, make_spec: Specs) -> None:
    planned(tmp_path, make_spec("one"), make_spec("two"))
    ledger = loaded(tmp_path)

    ledger.replay(said(*life(make_spec("one")), *lived(make_spec("two"), Planned(at=6.0))))

    assert {job.id: (job.state, job.attempt) for job in ledger.jobs.values()} == {
        "one": (State.SUCCEEDED, 1),
        "two": (State.WAITING, 0),
    }


def test_a_job_that_the_journal_does_not_know_is_not_there(tmp_path: Path, make_spec: Specs) -> None:
    planned(tmp_path, make_spec("one"))
    ledger = loaded(tmp_path)

    ledger.replay(said())

    assert ledger.jobs == {}


def test_what_the_journal_says_of_a_job_that_nobody_planned_is_left_out(tmp_path: Path, make_spec: Specs) -> None:
    planned(tmp_path, make_spec("one"))
    ledger = loaded(tmp_path)

    ledger.replay(said(*life(make_spec("stray"))))

    assert ledger.jobs == {}


def test_a_retired_job_is_replayed(tmp_path: Path, make_spec: Specs) -> None:
    planned(tmp_path, make_spec("one"), make_spec("two"))
    planned(tmp_path, make_spec("two"))
    ledger = loaded(tmp_path)
    moves = lived(make_spec("one"), Planned(at=1.0), ConditionsMet(at=2.0, reason=""), Retired(at=3.0))

    ledger.replay(said(*moves))

    assert (ledger.jobs["one"].state, ledger.jobs["one"].retired) == (State.SUBMITTING, True)


def test_a_job_that_appeared_is_replayed_with_its_children(tmp_path: Path, make_spec: Specs) -> None:
    child = Template(id="sum-eval-one", stage="sum", parent="eval-one", kind="job")
    made = planned(tmp_path, make_spec("one"), templates=(TEMPLATE, child), previews=(make_spec("a"), make_spec("b")))
    spec = make_spec("eval-one", template="eval-one", parent="one")
    study_files.add_appeared(made, [spec])
    ledger = loaded(tmp_path)

    ledger.replay(said(*life(spec)))

    assert ledger.jobs["eval-one"].spec.children == (child,)
    assert ledger.children == {"eval-one": ("eval-one",)}


def test_what_an_earlier_watcher_wrote_down_is_known_unless_it_is_planned_otherwise_by_now(
    tmp_path: Path, make_spec: Specs
) -> None:
    made = planned(tmp_path, make_spec("one"), templates=(TEMPLATE,))
    spec = make_spec("eval-one", template="eval-one", parent="one", params={"list": (1, 2)})
    study_files.add_appeared(made, [spec])
    ledger = loaded(tmp_path)

    assert ledger.is_written_down(spec)
    assert not ledger.is_written_down(make_spec("eval-two", template="eval-one", parent="one"))
    assert not ledger.is_written_down(replace(spec, params={"list": (1, 3)}))


def test_a_study_that_was_deleted_and_planned_anew_begins_anew(tmp_path: Path, make_spec: Specs) -> None:
    old = [*life(make_spec("one", key="old")), *lived(make_spec("two", key="old"), Planned(at=6.0))]
    planned(tmp_path, make_spec("one", key="new"), make_spec("two", key="new"), key="new")
    ledger = loaded(tmp_path)

    ledger.replay(said(*old, *lived(make_spec("two", key="new"), Planned(at=7.0))))

    assert {job.id: (job.state, job.since) for job in ledger.jobs.values()} == {"two": (State.WAITING, 7.0)}


def test_what_an_old_study_did_at_its_very_end_is_no_part_of_the_new_one(tmp_path: Path, make_spec: Specs) -> None:
    *others, ended = life(make_spec("one", key="old"))
    planned(tmp_path, make_spec("one", key="new"), key="new")
    ledger = loaded(tmp_path)

    ledger.replay(said(*others, ended))

    assert ledger.jobs == {}


# Reading studies


def test_what_the_journal_says_of_a_study_that_cannot_be_read_is_kept_until_it_can_be(
    tmp_path: Path, make_spec: Specs
) -> None:
    made = planned(tmp_path, make_spec("one"))
    plan = (made.dir / "plan.json").read_text()
    (made.dir / "plan.json").write_text("{")
    registry = Registry(tmp_path)
    with pytest.raises(AutoexpError, match=r"plan\.json cannot be read"):
        registry.load(made.dir)
    registry.replay(Standings({"demo": said(*life(make_spec("one")))}))

    (made.dir / "plan.json").write_text(plan)
    registry.load(made.dir)

    assert registry.job(Key("demo", "one")).state is State.SUCCEEDED


def test_a_study_that_is_planned_anew_keeps_its_jobs_states(tmp_path: Path, make_spec: Specs) -> None:
    planned(tmp_path, make_spec("one"), make_spec("two"))
    registry = Registry(tmp_path)
    registry.load(tmp_path / "demo")
    moves = (*life(make_spec("one")), *lived(make_spec("two"), Planned(at=6.0)))
    registry.replay(Standings({"demo": said(*moves)}))

    planned(tmp_path, make_spec("two", "false"), templates=(TEMPLATE,), previews=(make_spec("p"),))
    ledger = registry.load(tmp_path / "demo")

    assert {name: job.state for name, job in ledger.jobs.items()} == {"one": State.SUCCEEDED, "two": State.WAITING}
    assert ledger.jobs["two"].spec == make_spec("two", "false")
    assert ledger.jobs["one"].spec.children == (TEMPLATE,)


def test_a_study_with_another_key_keeps_nothing(tmp_path: Path, make_spec: Specs) -> None:
    planned(tmp_path, make_spec("one"))
    registry = Registry(tmp_path)
    registry.load(tmp_path / "demo")
    registry.replay(Standings({"demo": said(*life(make_spec("one")))}))

    (tmp_path / "demo" / "plan.json").unlink()
    planned(tmp_path, make_spec("one"), key="another")

    assert registry.load(tmp_path / "demo").jobs == {}


def test_a_plan_is_known_by_its_file(tmp_path: Path, make_spec: Specs) -> None:
    assert stamp_of(tmp_path) == (0, 0)
    planned(tmp_path, make_spec("one"))
    first = stamp_of(tmp_path / "demo")
    planned(tmp_path, make_spec("one"))
    again = stamp_of(tmp_path / "demo")
    planned(tmp_path, make_spec("one"), make_spec("two"))

    assert first == again
    assert stamp_of(tmp_path / "demo") != first


def test_all_jobs_of_all_studies_are_listed(make_ledger: Callable[..., Ledger], make_spec: Specs) -> None:
    ledger = make_ledger(Job(spec=make_spec("one")), Job(spec=make_spec("two")))
    registry = Registry(ledger.study.root, {"demo": ledger})

    assert [key for key, _ in registry.all_jobs()] == [Key("demo", "one"), Key("demo", "two")]


# Who waits for whom


def waiting_for(*jobs: str, templates: tuple[str, ...] = ()) -> Condition:
    part = Condition(name="job_succeeded", params={"stage": "x"}, jobs=jobs, templates=templates)
    return Condition(name="all", parts=(Condition(name="not", parts=(part,)),))


def test_who_asks_about_a_job_is_touched_by_it(make_ledger: Callable[..., Ledger], make_spec: Specs) -> None:
    one = Job(spec=make_spec("one"))
    ledger = make_ledger(one, Job(spec=make_spec("two", start=waiting_for("one"))), Job(spec=make_spec("three")))

    assert list(ledger.touched_by(one)) == ["two"]
    assert list(ledger.touched_by(ledger.jobs["three"])) == []


def test_who_asks_about_what_appears_is_touched_by_it_and_by_what_it_appears_for(
    make_ledger: Callable[..., Ledger], make_spec: Specs
) -> None:
    one = Job(spec=make_spec("one"))
    child = Job(spec=make_spec("eval-one", template="eval-one"))
    report = Job(spec=make_spec("report", start=waiting_for(templates=("sum-eval-one",))))
    deeper = Template(id="sum-eval-one", stage="sum", parent="eval-one", kind="job")
    ledger = make_ledger(one, child, report, templates=(TEMPLATE, deeper))

    assert [set(ledger.touched_by(job)) for job in (one, child, report)] == [{"report"}, {"report"}, set()]


def test_a_jobs_facts_are_those_of_its_study(make_ledger: Callable[..., Ledger], make_spec: Specs) -> None:
    one = Job(spec=make_spec("one"))
    ledger = make_ledger(one, templates=(TEMPLATE,))

    facts = ledger.facts(one, {"one": 7}, {})

    assert (facts.job, facts.jobs, facts.parents) == (one, {"one": one}, {"eval-one": "one"})
    assert facts.progress == {"one": 7}


def test_putting_a_job_again_changes_it_and_nothing_else(make_ledger: Callable[..., Ledger], make_spec: Specs) -> None:
    child = Job(spec=make_spec("eval-one", template="eval-one"))
    ledger = make_ledger(child)

    ledger.put(replace(child, state=State.RUNNING))

    assert ledger.jobs["eval-one"].state is State.RUNNING
    assert ledger.children == {"eval-one": ("eval-one",)}


def test_who_waits_for_a_job_is_asked_in_the_order_of_the_plan(
    make_ledger: Callable[..., Ledger], make_spec: Specs
) -> None:
    """Jobs that may start at the same moment queue in this order; by chance it was another with each watcher."""
    start = Condition(name="job_succeeded", jobs=("one",))
    names = [f"n{number}" for number in range(20)]
    one = Job(spec=make_spec("one"))

    ledger = make_ledger(one, *(Job(spec=make_spec(name, start=start)) for name in names))

    assert list(ledger.touched_by(one)) == names


def test_nodes_are_avoided_for_as_long_as_they_are_blamed_and_never_too_many(
    make_ledger: Callable[..., Ledger], make_spec: Specs
) -> None:
    spec = make_spec("a")
    ledger = make_ledger(Job(spec=spec))
    ledger.put(Job(spec=spec, avoided={"n1": 50.0, "n2": 150.0}))
    ledger.put(Job(spec=spec, avoided={"n2": 150.0, "n3": 200.0}))

    assert ledger.avoided(40.0) == ("n1", "n2", "n3")
    assert ledger.avoided(100.0) == ("n2", "n3")
    ledger.put(Job(spec=spec, avoided={f"m{number}": 1000.0 + number for number in range(20)}))
    assert set(ledger.avoided(100.0)) == {f"m{number}" for number in range(12, 20)}
