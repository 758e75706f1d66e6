import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autoexp.fold import fold, folded
from autoexp.journal import to_record, unstamp
from autoexp.model import Job, JobSpec, State, Transition
from autoexp.standings import Course, Standing, Standings, from_data, to_data

JOBS = ("one", "two")
KEYS = ("old", "new")
CHANGES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "token": st.sampled_from([f"{job}.1.{key}" for job in JOBS for key in KEYS]),
        "pending": st.sampled_from(["hold", "cancel"]) | st.none(),
        "ending": st.sampled_from(["crashed", "success"]) | st.none(),
        "checkpoints": st.lists(st.integers(0, 9), max_size=3),
        "spent": st.integers(0, 3),
        "reason": st.text(max_size=3),
    },
)
MOVES = st.lists(
    st.builds(
        Transition,
        at=st.integers(1_700_000_000, 1_800_000_000).map(float),
        study=st.just("demo"),
        job=st.sampled_from(JOBS),
        attempt=st.integers(0, 3),
        trigger=st.just("planned"),
        source=st.none() | st.sampled_from(State),
        target=st.sampled_from(State),
        changes=CHANGES,
    ),
    max_size=12,
)


def lived(moves: list[Transition], key: str) -> dict[str, Job]:
    """What the moves make of the jobs of the study with this key, move by move, all of them at hand."""
    foreign = [n for n, m in enumerate(moves) if "token" in m.changes and not str(m.changes["token"]).endswith(key)]
    jobs: dict[str, Job] = {}
    for move in moves[max(foreign, default=-1) + 1 :]:
        if move.source is None:
            jobs[move.job] = Job(spec=JobSpec(id=move.job, study="demo", stage="s"))
        if move.job in jobs:
            jobs[move.job] = fold(jobs[move.job], move)
    return jobs


def taken(moves: list[Transition]) -> Standings:
    standings = Standings()
    for seq, move in enumerate(moves, start=1):
        standings.take(json.loads(json.dumps(to_record(move, seq, 1))))
    return standings


def jobs_of(course: Course, key: str) -> dict[str, Job]:
    return {
        name: folded(JobSpec(id=name, study="demo", stage="s"), s.state, s.attempt, unstamp(s.since), s.fields)
        for name, s in course.of(key).items()
    }


@given(MOVES, st.sampled_from([*KEYS, "another"]))
def test_standings_come_to_the_very_jobs_that_folding_each_move_does(moves: list[Transition], key: str) -> None:
    found = taken(moves).of("demo")

    assert jobs_of(found, key) == lived(moves, key)


@given(MOVES)
def test_standings_come_back_from_json_as_they_were_and_go_on(moves: list[Transition]) -> None:
    half = taken(moves[: len(moves) // 2])
    back = from_data(json.loads(json.dumps(to_data(half))))
    assert back == half

    for seq, move in enumerate(moves[len(moves) // 2 :], start=1):
        back.take(to_record(move, seq, 1))

    whole = taken(moves)
    assert json.dumps(to_data(back)) == json.dumps(to_data(whole))


def record(job: str, trigger: str, **fields: Any) -> dict[str, Any]:
    usual = {"study": "demo", "attempt": 0, "from": None, "to": "waiting", "at": "t", "evidence": {}, "set": {}}
    return {**usual, "job": job, "trigger": trigger, **fields}


def test_obeyed_markers_are_kept_beside_the_jobs() -> None:
    standings = Standings()
    standings.take(record("one", "hold_requested", evidence={"verb": "hold", "inode": 5, "ctime_ns": 6}))
    standings.take(record("one", "planned", evidence={"inode": 7, "ctime_ns": 8}))

    assert standings.obeyed == {(("demo", "one"), 5, 6)}
    assert from_data(json.loads(json.dumps(to_data(standings)))) == standings


def test_what_is_said_of_a_job_that_was_never_born_is_left_out() -> None:
    standings = Standings()
    standings.take(record("one", "started", **{"from": "queued", "to": "running"}))

    assert standings.of("demo") == Course()


def test_jobs_of_all_studies_are_counted() -> None:
    one = {"one": Standing()}
    standings = Standings({"a": Course(jobs=dict(one)), "b": Course(jobs={**one, "two": Standing()})})

    assert standings.count() == 3
