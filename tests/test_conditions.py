from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.conditions import (
    CONDITIONS,
    ConditionError,
    Facts,
    Question,
    ask,
    changes_by_itself,
    jobs_of,
    open_ones,
    questions,
    read_condition,
    rings,
)
from autoexp.model import OVER, Condition, Job, JobSpec, State, Template, Verb, Verdict

CONVERT = Template(id="convert-train", stage="convert", parent="train", kind="checkpoint", first=200, every=100)
SCORE = Template(id="score-convert-train", stage="score", parent="convert-train", kind="job")
PARENTS = {"convert-train": "train", "score-convert-train": "convert-train"}


def a_job(name: str, state: State | None = State.WAITING, *children: Template, **fields: Any) -> Job:
    return Job(spec=JobSpec(id=name, study="s", stage=name, children=children), state=state, **fields)


ME = a_job("me")


def facts(*jobs: Job, **known: Any) -> Facts:
    usual: dict[str, Any] = {"job": ME, "jobs": {job.id: job for job in jobs}, "parents": PARENTS}
    return Facts(**(usual | known))


def succeeded(*jobs: str) -> Condition:
    return Condition(name="job_succeeded", params={"stage": "x"}, jobs=jobs)


def reached(iteration: int, *jobs: str) -> Condition:
    return Condition(name="checkpoint_reached", params={"stage": "x", "iteration": iteration}, jobs=jobs)


def file(path: str) -> Condition:
    return Condition(name="file_exists", params={"path": path})


# Answers


def never(part: Condition) -> Condition:
    return Condition(name="not", parts=(part,))


def test_what_must_not_be_is_dead_once_it_is_for_good() -> None:
    over, going = facts(a_job("a", State.SUCCEEDED)), facts(a_job("a", State.RUNNING))
    both = Condition(name="all", parts=(succeeded("a"), succeeded("a")))
    one = Condition(name="any", parts=(file("x"), succeeded("a")))

    assert [ask(never(part), over).dead for part in (succeeded("a"), both, one)] == [True, True, True]
    assert [ask(never(part), going).dead for part in (succeeded("a"), both, one)] == [False, False, False]
    assert ask(never(reached(5, "a")), facts(a_job("a", State.RUNNING, checkpoints=(5,)))).dead
    assert ask(never(never(succeeded("a"))), facts(a_job("a", State.FAILED))).dead
    assert not ask(never(file("x")), facts(files={Question(kind="exists", path="x"): 1})).dead, "files may go"


@pytest.mark.parametrize("state", sorted(State))
def test_job_succeeded_holds_for_a_success_and_is_dead_for_every_other_end(state: State) -> None:
    verdict = ask(succeeded("a"), facts(a_job("a", state)))

    assert verdict.holds is (state is State.SUCCEEDED)
    assert verdict.dead is (state in OVER and state is not State.SUCCEEDED)
    assert verdict.reason == f"a is {state}"


def test_all_jobs_of_a_stage_must_hold_and_one_dead_one_is_the_reason() -> None:
    done, waits, failed = a_job("a", State.SUCCEEDED), a_job("b", State.RUNNING), a_job("c", State.FAILED)

    assert ask(succeeded("a"), facts(done)) == Verdict(holds=True, reason="a is succeeded", stays=True)
    assert ask(succeeded("a", "b"), facts(done, waits)) == Verdict(holds=False, reason="b is running")
    assert ask(succeeded("a", "b", "c"), facts(done, waits, failed)) == Verdict(
        holds=False, reason="c is failed", dead=True
    )


@pytest.mark.parametrize(
    ("jobs", "holds", "dead"),
    [
        pytest.param((), False, False, id="not born"),
        pytest.param((a_job("a", State.RUNNING),), False, False, id="not yet"),
        pytest.param((a_job("a", State.FAILED, matched={"other": {}}),), False, True, id="never again"),
        pytest.param(
            (a_job("a", State.FAILED, matched={"spike": {"times": 1}}),), True, False, id="to one that is over"
        ),
    ],
)
def test_an_event_is_waited_for_until_nobody_can_have_it_any_more(
    jobs: tuple[Job, ...], *, holds: bool, dead: bool
) -> None:
    condition = Condition(name="happened", params={"stage": "x", "event": "spike"}, jobs=("a",))

    verdict = ask(condition, facts(*jobs))

    assert (verdict.holds, verdict.stays, verdict.dead) == (holds, holds, dead)


def test_a_job_that_is_not_born_yet_is_waited_for() -> None:
    assert ask(succeeded("a"), facts()) == Verdict(holds=False, reason="a has not begun")
    assert not ask(reached(5, "a"), facts()).dead


def test_a_long_list_of_reasons_is_cut_short() -> None:
    jobs = [a_job(name, State.SUCCEEDED) for name in "abcde"]
    waiting = [a_job(name, State.RUNNING) for name in "abcde"]

    assert (
        ask(succeeded(*"abcde"), facts(*jobs)).reason == "a is succeeded; b is succeeded; c is succeeded (and 2 more)"
    )
    assert ask(succeeded(*"abcde"), facts(*waiting)).reason == "a is running (and 4 more)"


@pytest.mark.parametrize("wanted", [State.RUNNING, State.SUCCEEDED, State.FAILED])
@pytest.mark.parametrize("state", sorted(State))
def test_job_state_is_dead_once_the_job_is_over_in_another_state(state: State, wanted: State) -> None:
    condition = Condition(name="job_state", params={"stage": "x", "state": str(wanted)}, jobs=("a",))

    verdict = ask(condition, facts(a_job("a", state)))

    assert verdict.holds is (state is wanted)
    assert verdict.dead is (state in OVER and state is not wanted)


@pytest.mark.parametrize(
    ("checkpoints", "state", "holds", "dead"),
    [
        pytest.param((100, 200), State.RUNNING, True, False, id="this very one"),
        pytest.param((100, 300), State.RUNNING, True, False, id="a later one"),
        pytest.param((100,), State.RUNNING, False, False, id="not yet"),
        pytest.param((100,), State.SUCCEEDED, False, True, id="never again"),
        pytest.param((200,), State.FAILED, True, False, id="reached, whatever came later"),
        pytest.param((), State.SKIPPED, False, True, id="never begun"),
    ],
)
def test_checkpoint_reached_asks_for_a_whole_checkpoint_not_for_success(
    checkpoints: tuple[int, ...], state: State, *, holds: bool, dead: bool
) -> None:
    verdict = ask(reached(200, "a"), facts(a_job("a", state, checkpoints=checkpoints)))

    assert (verdict.holds, verdict.dead) == (holds, dead)


def test_checkpoint_reached_says_where_the_training_is() -> None:
    verdict = ask(reached(200, "a"), facts(a_job("a", State.RUNNING, checkpoints=(100,)), progress={"a": 163}))

    assert verdict.reason == (
        "waits for iteration 200 of a, whose newest checkpoint is at iteration 100, and trains at iteration 163"
    )


@pytest.mark.parametrize(
    ("condition", "question"),
    [
        pytest.param(file("x"), Question(kind="exists", path="x"), id="file_exists"),
        pytest.param(
            Condition(name="glob_exists", params={"pattern": "*.x", "min": 2}),
            Question(kind="glob", path="*.x"),
            id="glob_exists",
        ),
    ],
)
def test_files_are_asked_about_and_what_nobody_saw_does_not_hold(condition: Condition, question: Question) -> None:
    nested = Condition(name="not", parts=(Condition(name="all", parts=(condition,)),))

    assert list(questions(nested)) == [question]
    assert [ask(condition, facts(files={question: n})).holds for n in (0, 2)] == [False, True]
    unseen = ask(condition, facts())
    assert (unseen.holds, unseen.dead) == (False, False)
    assert "could not be looked at yet" in unseen.reason


def test_glob_exists_counts_up_to_its_least_number() -> None:
    condition = Condition(name="glob_exists", params={"pattern": "*.x", "min": 3})

    verdict = ask(condition, facts(files={Question(kind="glob", path="*.x"): 2}))

    assert verdict == Verdict(holds=False, reason="*.x matches 2 of 3")


def test_a_line_of_a_file_has_to_match() -> None:
    ready = Condition(name="file_contains", params={"path": "log", "regex": "^done"})
    own = Condition(name="log_matches", params={"regex": "^done"})
    question = Question(kind="contains", path="log", regex="^done")

    assert list(questions(ready)) == [question]
    assert list(questions(own)) == [Question(kind="contains", path="current.log", regex="^done")]
    assert ask(ready, facts()) == Verdict(holds=False, reason="log could not be read yet", unknown=True)
    assert ask(ready, facts(files={question: 0})) == Verdict(holds=False, reason="log has no line that matches '^done'")
    assert ask(ready, facts(files={question: 1})) == Verdict(holds=True, reason="log matches '^done'")


@pytest.mark.parametrize(
    ("command", "words"), [("test -s x", ("bash", "-c", "test -s x")), (["test", "-s", "x"], ("test", "-s", "x"))]
)
def test_a_program_has_to_succeed(command: object, words: tuple[str, ...]) -> None:
    condition = read_condition({"command_succeeds": {"command": command, "timeout": "5s"}})
    question = Question(kind="runs", words=words, timeout_s=5.0)

    assert list(questions(condition)) == [question]
    answers = [ask(condition, facts(files=files)) for files in ({}, {question: 0}, {question: 1})]
    assert [verdict.holds for verdict in answers] == [False, False, True]
    assert [verdict.reason.rpartition("'")[2] for verdict in answers] == [
        " has not ended yet", " does not succeed", " succeeds",
    ]  # fmt: skip
    assert next(questions(read_condition({"command_succeeds": {"command": "true"}}))).timeout_s == 60


def test_what_nobody_knows_holds_neither_way() -> None:
    known, unknown = file("a"), file("b")
    running = read_condition({"command_succeeds": {"command": "true"}})
    seen = facts(files={Question(kind="exists", path="a"): 0})

    def opposite(*parts: Condition, of: str = "all") -> Verdict:
        return ask(Condition(name="not", parts=(Condition(name=of, parts=parts),)), seen)

    assert not opposite(unknown).holds
    assert not opposite(running).holds
    assert not opposite(known, unknown, of="any").holds
    assert opposite(known).holds
    assert opposite(known, unknown).holds
    assert not ask(Condition(name="not", parts=(Condition(name="not", parts=(unknown,)),)), seen).holds


def test_time_passes_since_the_job_waits_or_since_a_given_time() -> None:
    waiting = a_job("me", since=1000.0)
    plain = read_condition({"elapsed": {"for": "1m"}})
    dated = read_condition({"elapsed": {"for": "1m", "since": "1970-01-01T00:10:00Z"}})

    assert ask(plain, facts(job=waiting, now=1045.0)) == Verdict(holds=False, reason="15 s are left of 1m")
    assert ask(plain, facts(job=waiting, now=1060.0)) == Verdict(holds=True, reason="1m are over", stays=True)
    assert [ask(dated, facts(job=waiting, now=now)).holds for now in (659.0, 660.0)] == [False, True]


def test_a_value_of_the_job_itself_is_as_it_was_planned() -> None:
    me = Job(spec=JobSpec(id="me", study="s", stage="a", values={"model": "10M"}, params={"lr": 0.1}))

    def asked(key: str, value: object) -> Verdict:
        return ask(Condition(name="metadata_equals", params={"key": key, "value": value}), facts(job=me))  # type: ignore[dict-item]

    assert asked("lr", 0.1) == Verdict(holds=True, reason="lr is 0.1", stays=True)
    assert asked("model", "25M") == Verdict(holds=False, reason="model is '10M', not '25M'", dead=True)
    assert asked("width", 1).dead


def test_what_no_job_brings_about_is_asked_again_as_time_goes_by() -> None:
    later = read_condition({"any": [{"job_succeeded": {"stage": "a"}}, {"elapsed": {"for": "1s"}}]})

    assert changes_by_itself(later)
    assert changes_by_itself(read_condition({"not": {"command_succeeds": {"command": "true"}}}))
    assert not changes_by_itself(read_condition({"all": [{"job_succeeded": {"stage": "a"}}]}))


def test_attempts_below_can_never_hold_again_once_they_are_used_up() -> None:
    condition = Condition(name="attempts_below", params={"n": 2})

    assert ask(condition, facts(job=a_job("me", attempt=1))).holds
    assert ask(condition, facts(job=a_job("me", attempt=2))) == Verdict(
        holds=False, reason="2 attempts of 2", dead=True
    )


YES, NO, DEAD = file("yes"), file("no"), succeeded("failed")
SEEN = facts(
    a_job("failed", State.FAILED), files={Question(kind="exists", path=p): n for p, n in (("yes", 1), ("no", 0))}
)


@pytest.mark.parametrize(
    ("name", "parts", "holds", "dead"),
    [
        ("all", [], True, False),
        ("all", [YES, YES], True, False),
        ("all", [YES, NO], False, False),
        ("all", [NO, DEAD], False, True),
        ("any", [NO, YES], True, False),
        ("any", [DEAD, YES], True, False),
        ("any", [NO, DEAD], False, False),
        ("any", [DEAD, DEAD], False, True),
        ("not", [YES], False, False),
        ("not", [NO], True, False),
        ("not", [DEAD], True, False),
    ],
)
def test_conditions_combine(name: str, parts: list[Condition], *, holds: bool, dead: bool) -> None:
    verdict = ask(Condition(name=name, parts=tuple(parts)), SEEN)

    assert (verdict.holds, verdict.dead) == (holds, dead)
    assert verdict.reason


# Stages whose jobs appear as their parents save


def each_of(name: str, *templates: str, **params: Any) -> Condition:
    return Condition(name=name, params={"stage": "x", **params}, templates=templates)


def train(state: State, *checkpoints: int) -> Job:
    return a_job("train", state, CONVERT, checkpoints=checkpoints)


def converted(iteration: int, state: State) -> Job:
    return a_job(f"convert-train@{iteration:07d}", state, SCORE)


def scored(iteration: int, state: State) -> Job:
    return a_job(f"score-convert-train@{iteration:07d}", state)


def each_facts(*jobs: Job) -> Facts:
    names = [job.id for job in jobs]
    children = {
        "convert-train": tuple(name for name in names if name.startswith("convert")),
        "score-convert-train": tuple(name for name in names if name.startswith("score")),
    }
    return facts(*jobs, children=children)


ALL_CONVERTED = each_of("job_succeeded", "convert-train")
DONE, RUNS = State.SUCCEEDED, State.RUNNING


@pytest.mark.parametrize(
    ("jobs", "holds", "reason"),
    [
        pytest.param([], False, "train has not begun", id="nothing yet"),
        pytest.param([train(RUNS, 200), converted(200, DONE)], False, "train is running", id="more may come"),
        pytest.param([train(DONE, 200), converted(200, RUNS)], False, "@0000200 is running", id="one still runs"),
        pytest.param(
            [train(DONE, 200, 300), converted(200, DONE)],
            False,
            "@0000300 has not appeared yet",
            id="one is on its way",
        ),
        pytest.param([train(DONE, 100, 200, 250), converted(200, DONE)], True, "has appeared", id="all that it wants"),
        pytest.param([train(DONE)], True, "all of convert-train has appeared", id="none at all"),
    ],
)
def test_an_each_stage_is_done_when_all_that_will_appear_has_succeeded(
    jobs: list[Job], *, holds: bool, reason: str
) -> None:
    verdict = ask(ALL_CONVERTED, each_facts(*jobs))

    assert verdict.holds is holds
    assert reason in verdict.reason


def test_an_each_stage_of_batches_is_done_when_every_checkpoint_stands_in_one_that_succeeded() -> None:
    pairs = replace(CONVERT, batch=2)
    parent = replace(train(DONE, 200, 300, 400), batches={"convert-train": ((200, 300),)})
    parent = replace(parent, spec=replace(parent.spec, children=(pairs,)))
    all_of_it = replace(parent, batches={"convert-train": ((200, 300), (400,))})

    one_missing = ask(ALL_CONVERTED, each_facts(parent, converted(300, DONE)))

    assert (one_missing.holds, one_missing.reason) == (False, "convert-train@0000400 has not appeared yet")
    assert not ask(ALL_CONVERTED, each_facts(all_of_it, converted(300, DONE))).holds
    assert ask(ALL_CONVERTED, each_facts(all_of_it, converted(300, DONE), converted(400, DONE))).holds


def test_an_each_stage_is_dead_when_its_parent_or_one_of_its_jobs_failed() -> None:
    assert ask(ALL_CONVERTED, each_facts(train(State.FAILED, 200), converted(200, DONE))).dead
    assert ask(ALL_CONVERTED, each_facts(train(RUNS, 200), converted(200, State.FAILED))).dead


@pytest.mark.parametrize(
    ("jobs", "holds"),
    [
        pytest.param([train(DONE, 200), converted(200, DONE), scored(200, DONE)], True, id="all done"),
        pytest.param([train(DONE, 200), converted(200, DONE)], False, id="the last one is on its way"),
        pytest.param([train(DONE, 200)], False, id="its parent is on its way"),
        pytest.param([train(DONE, 200), converted(200, DONE), scored(200, RUNS)], False, id="the last one runs"),
    ],
)
def test_jobs_that_stand_for_jobs_that_appear_are_all_waited_for(jobs: list[Job], *, holds: bool) -> None:
    assert ask(each_of("job_succeeded", "score-convert-train"), each_facts(*jobs)).holds is holds


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(each_of("job_state", "convert-train", state="running"), id="job_state"),
        pytest.param(each_of("checkpoint_reached", "convert-train", iteration=1), id="checkpoint_reached"),
    ],
)
def test_no_condition_holds_for_jobs_that_have_not_appeared(condition: Condition) -> None:
    assert not ask(condition, each_facts(train(RUNS))).holds
    assert not ask(condition, each_facts(train(DONE, 200))).holds


def test_a_template_that_is_no_longer_planned_moves_nothing() -> None:
    verdict = ask(each_of("job_succeeded", "gone"), each_facts())

    assert (verdict.holds, verdict.dead, verdict.reason) == (False, False, "gone is no longer planned")


@given(st.lists(st.sampled_from(State), min_size=1, max_size=4), st.integers(1, 400))
def test_asking_twice_answers_the_same(states: list[State], iteration: int) -> None:
    jobs = [a_job(str(n), state, checkpoints=(n * 100,)) for n, state in enumerate(states)]
    known = facts(*jobs)
    names = tuple(job.id for job in jobs)
    condition = Condition(name="any", parts=(reached(iteration, *names), succeeded(*names)))

    assert ask(condition, known) == ask(condition, known)


def test_a_condition_names_the_jobs_and_templates_it_speaks_of() -> None:
    condition = Condition(name="all", parts=(succeeded("a", "b"), each_of("job_state", "t", state="failed")))

    assert list(jobs_of(condition)) == ["a", "b", "t"]


# Which matter


@pytest.mark.parametrize(
    ("state", "names"),
    [
        (State.WAITING, ["cancel", "start"]),
        (State.QUEUED, ["cancel"]),
        (State.RUNNING, ["cancel", "finish"]),
        (State.STALLED, ["cancel", "finish"]),
        (State.BACKOFF, ["cancel"]),
        (State.HELD, []),
        (State.SUCCEEDED, []),
        (State.FAILED, []),
    ],
)
def test_a_job_can_be_ended_by_conditions_as_long_as_that_makes_sense(state: State, names: list[str]) -> None:
    spec = JobSpec(id="me", study="s", stage="a", cancel=file("x"), finish=file("y"))

    assert [name for name, _ in open_ones(Job(spec=spec, state=state))] == names
    assert list(open_ones(Job(spec=spec, state=State.RUNNING, pending=Verb.CANCEL))) == []
    assert list(open_ones(a_job("plain", State.RUNNING))) == []


# Reading


@pytest.mark.parametrize(
    ("raw", "condition"),
    [
        pytest.param(
            {"job_succeeded": {"stage": "a"}}, Condition(name="job_succeeded", params={"stage": "a"}), id="one"
        ),
        pytest.param(
            {"file_exists": {"path": "p"}, "attempts_below": {"n": 3}},
            Condition(name="all", parts=(file("p"), Condition(name="attempts_below", params={"n": 3}))),
            id="several keys mean all of them",
        ),
        pytest.param(
            {"any": [{"file_exists": {"path": "p"}}, {"not": {"file_exists": {"path": "q"}}}]},
            Condition(name="any", parts=(file("p"), Condition(name="not", parts=(file("q"),)))),
            id="nested",
        ),
    ],
)
def test_a_condition_is_read_from_the_recipe(raw: object, condition: Condition) -> None:
    assert read_condition(raw) == condition


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param("job_succeeded", "'job_succeeded' is no condition", id="text"),
        pytest.param({}, "{} is no condition", id="nothing"),
        pytest.param({"job_finished": {"stage": "a"}}, "unknown condition 'job_finished'", id="unknown"),
        pytest.param({"job_succeeded": {}}, "it lacks 'stage'", id="a parameter missing"),
        pytest.param({"job_succeeded": "a"}, "it lacks 'stage'", id="no parameters"),
        pytest.param({"file_exists": {"path": "a", "min": 2}}, "it has no min", id="a parameter too many"),
        pytest.param({"job_state": {"stage": "a", "state": "done"}}, "'done' is no state", id="unknown state"),
        pytest.param({"checkpoint_reached": {"stage": "a", "iteration": -1}}, "-1 is no iteration", id="iteration -1"),
        pytest.param(
            {"checkpoint_reached": {"stage": "a", "iteration": 2.5}}, "2.5 is no iteration", id="iteration 2.5"
        ),
        pytest.param({"checkpoint_reached": {"stage": "a", "iteration": True}}, "True is no iteration", id="a boolean"),
        pytest.param({"attempts_below": {"n": "3"}}, "'3' is no number of attempts", id="attempts as text"),
        pytest.param({"glob_exists": {"pattern": "*", "min": "x"}}, "'x' is no number of files", id="min as text"),
        pytest.param({"file_exists": {"path": None}}, "None is no path", id="no path"),
        pytest.param({"file_exists": {"path": ""}}, "'' is no path", id="an empty path"),
        pytest.param({"file_contains": {"path": "a", "regex": "("}}, "'(' is no regex", id="no regular expression"),
        pytest.param({"file_exists": {"path": "a\0b"}}, "holds a zero byte", id="a zero byte in a path"),
        pytest.param({"command_succeeds": {"command": ["a", "b\0"]}}, "holds a zero byte", id="one in a word"),
        pytest.param(
            {"file_contains": {"path": "a", "regex": "a{9999999999}"}}, "repetition number is too large", id="too often"
        ),
        pytest.param({"log_matches": {"regex": 3}}, "3 is no regex", id="a number for a regex"),
        pytest.param({"command_succeeds": {"command": []}}, "[] is no command", id="no words"),
        pytest.param({"command_succeeds": {"command": ["a", 3]}}, "['a', 3] is no command", id="a number for a word"),
        pytest.param({"command_succeeds": {"command": "a", "timeout": 5}}, "5 is no duration", id="a bare timeout"),
        pytest.param({"elapsed": {"for": 90}}, "90 is no duration", id="a bare duration"),
        pytest.param({"elapsed": {"for": "1m", "since": "2026-11-20"}}, "is no time", id="a time without a zone"),
        pytest.param({"metadata_equals": {"key": 3, "value": 1}}, "3 is no key", id="a number for a key"),
        pytest.param({"any": []}, "any has 0 conditions", id="any of none"),
        pytest.param({"all": []}, "all has 0 conditions", id="all of none"),
        pytest.param({"not": [{"file_exists": {"path": "a"}}] * 2}, "not has 2 conditions", id="not of two"),
        pytest.param({"any": [{"nope": {}}]}, "unknown condition 'nope'", id="unknown below"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_fix(raw: object, said: str) -> None:
    with pytest.raises(ConditionError) as caught:
        read_condition(raw)

    assert said in f"{caught.value}: {caught.value.why}"
    assert caught.value.fix.startswith(("use one of ", "write ", "give ", "correct "))


def test_an_unknown_condition_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConditionError) as caught:
        read_condition({"nope": {}})

    assert caught.value.fix == f"use one of {', '.join(CONDITIONS)}"


def test_a_wait_rings_when_it_is_over() -> None:
    job = Job(spec=JobSpec(id="one", study="demo", stage="one"), since=100.0)
    condition = read_condition({"any": [{"elapsed": {"for": "1m"}}, {"not": {"elapsed": {"for": "2m"}}}]})

    assert list(rings(condition, job)) == [160.0, 220.0]


def test_an_iteration_that_was_rounded_to_zero_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConditionError) as told:
        read_condition({"checkpoint_reached": {"stage": "a", "iteration": 0}})

    assert told.value.fix == "save more often or train longer, so that it is none that was rounded to 0"


def test_the_name_of_a_condition_that_is_nearly_one_is_told() -> None:
    with pytest.raises(ConditionError) as told:
        read_condition({"job_suceeded": {"stage": "a"}})

    assert told.value.fix == "did you mean job_succeeded?"
