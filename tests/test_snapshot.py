from dataclasses import replace
from typing import Any

import pytest

from autoexp.endings import Exit, Said
from autoexp.events import (
    CheckpointSaved,
    Ended,
    Event,
    GateFailed,
    GatePassed,
    LogMatched,
    Progressed,
    Stalled,
    Started,
    WentAstray,
)
from autoexp.logs import LogFacts, Match
from autoexp.model import Answer, EndingClass, HookCall, JobSpec, Remedy, RetryPolicy
from autoexp.snapshot import Snapshot, changes, is_in_doubt

SPEC = JobSpec(id="a", study="s", stage="t", backend="command")
STALLS = replace(SPEC, no_progress_s=60.0)
QUEUED = Snapshot(at=100.0, attempt=2, progress_at=100.0)
RUNS = replace(QUEUED, scheduler_id="77", host="n1", alive=True)


def between(old: Snapshot | None, new: Snapshot, spec: JobSpec = SPEC, visibility_s: float = 60.0) -> list[Event]:
    return list(changes(old, new, spec, visibility_s))


def later(snapshot: Snapshot, seconds: float, **fields: Any) -> Snapshot:
    return replace(snapshot, at=snapshot.at + seconds, **fields)


def test_nothing_happened_between_two_looks_alike() -> None:
    assert between(RUNS, later(RUNS, 10)) == []
    assert between(None, QUEUED) == []


def test_a_claim_is_a_start_once() -> None:
    started = Started(at=100.0, attempt=2, scheduler_id="77", host="n1")

    assert between(QUEUED, RUNS) == [started]
    assert between(None, RUNS) == [started]
    assert between(RUNS, later(RUNS, 1)) == []


@pytest.mark.parametrize(
    ("gate", "event"),
    [
        pytest.param(
            {"code": 0, "busbw": 90}, GatePassed(at=100.0, attempt=2, measured={"code": 0, "busbw": 90}), id="passed"
        ),
        pytest.param(
            {"code": 46, "cause": "slow"}, GateFailed(at=100.0, attempt=2, code=46, cause="slow"), id="failed"
        ),
        pytest.param({}, GateFailed(at=100.0, attempt=2, code=-1, cause="it says nothing"), id="silent"),
        pytest.param({"code": "0"}, GateFailed(at=100.0, attempt=2, code=-1, cause="it says nothing"), id="odd"),
    ],
)
def test_a_gate_s_answer_is_heard_once_and_what_cannot_be_judged_fails(gate: dict[str, Any], event: Event) -> None:
    answered = replace(RUNS, gate=gate)

    assert between(RUNS, answered) == [event]
    assert between(answered, later(answered, 1)) == []


def test_events_come_in_the_order_in_which_things_happened() -> None:
    over = replace(RUNS, gate={"code": 0}, own=(200, 100), exit=Exit(code=0))

    assert [event.trigger for event in between(None, over)] == [
        "started",
        "gate_passed",
        "checkpoint_saved",
        "checkpoint_saved",
        "ended",
    ]


def test_new_checkpoints_are_told_in_their_order_and_linked_ones_not_at_all() -> None:
    saved = replace(RUNS, own=(300, 100, 200), linked=(50,))

    assert between(replace(RUNS, own=(100,)), saved) == [
        CheckpointSaved(at=100.0, attempt=2, path=f"checkpoints/iter_0000{n}", iteration=n) for n in (200, 300)
    ]


# Progress


def test_progress_is_an_event_after_a_stall_and_at_a_first_look() -> None:
    idle = later(RUNS, 61)
    onward = later(idle, 10, progress_at=171.0, log=LogFacts(iteration=5, inode=1, offset=80))
    progressed = Progressed(at=171.0, attempt=2, iteration=5, inode=1, offset=80)

    assert between(idle, onward, STALLS) == [progressed]
    assert between(None, onward, STALLS)[-1] == progressed, "a new watcher does not know of the stall before"
    assert between(onward, later(onward, 5, progress_at=176.0), STALLS) == []
    assert between(idle, onward) == []


def test_no_progress_for_longer_than_the_limit_is_a_stall() -> None:
    assert between(RUNS, later(RUNS, 60), STALLS) == []
    assert between(RUNS, later(RUNS, 61), STALLS) == [Stalled(at=161.0, attempt=2, idle_s=61.0)]


def test_a_first_look_at_a_log_that_was_long_silent_is_a_stall() -> None:
    events = between(None, later(RUNS, 61), STALLS)

    assert [event.trigger for event in events] == ["started", "stalled"]


def test_what_its_scheduler_may_keep_from_running_is_no_stall_before_that_was_asked() -> None:
    unasked, asked_before, asked = (later(RUNS, 61, heard_at=at) for at in (None, RUNS.at + 59, RUNS.at + 60))

    assert [between(RUNS, new, STALLS) == [] for new in (unasked, asked_before, asked)] == [True, True, False]
    assert [is_in_doubt(new, STALLS) for new in (unasked, asked_before, asked)] == [True, True, False]
    assert not is_in_doubt(later(RUNS, 60, heard_at=None), STALLS), "it is not late yet"
    assert not is_in_doubt(later(RUNS, 61, heard_at=None, scheduler_id=None), STALLS), "it has not begun"
    assert not is_in_doubt(later(RUNS, 61, heard_at=None, exit=Exit(code=1)), STALLS)


def test_an_attempt_at_its_gate_does_not_stall() -> None:
    gated = replace(STALLS, gate=("python", "gate.py"))

    assert between(RUNS, later(RUNS, 61), gated) == []
    assert between(replace(RUNS, gate={"code": 0}), later(replace(RUNS, gate={"code": 0}), 61), gated) != []


def test_an_attempt_that_its_executor_calls_over_does_not_stall_while_its_exit_file_is_awaited() -> None:
    gone = later(RUNS, 61, alive=False, gone_since=RUNS.at + 60)

    assert between(RUNS, gone, STALLS) == []
    assert not is_in_doubt(replace(gone, heard_at=None), STALLS)


def test_an_attempt_that_has_ended_does_not_stall() -> None:
    over = later(RUNS, 600, exit=Exit(code=1))

    assert [event.trigger for event in between(RUNS, over, STALLS)] == ["ended"]


# Endings


def test_an_exit_file_ends_the_attempt_with_its_class() -> None:
    (ended,) = between(RUNS, replace(RUNS, exit=Exit(code=139, signal=11)))

    assert ended == Ended(
        at=100.0, attempt=2, ending=EndingClass.CRASHED, reason="ended by SIGSEGV", code=139, signal=11
    )


def test_checkpoints_count_for_the_judgement_linked_or_own() -> None:
    megatron = replace(SPEC, backend="megatron", args={"train-iters": 200})
    log = LogFacts(done=True, iteration=200)
    over = replace(RUNS, exit=Exit(code=0), log=log, tracker=200, own=(), linked=(200,))

    (ended,) = between(RUNS, over, megatron)

    assert isinstance(ended, Ended)
    assert ended.ending is EndingClass.SUCCESS


@pytest.mark.parametrize(("gone_s", "over"), [(0.0, False), (59.9, False), (60.0, True)])
def test_an_exit_file_gets_its_time_to_be_seen(gone_s: float, *, over: bool) -> None:
    gone = later(RUNS, gone_s, alive=False, gone_since=100.0)

    assert bool(between(RUNS, gone)) is over


@pytest.mark.parametrize("alive", [True, None])
def test_as_long_as_nobody_says_it_is_gone_nothing_ends(*, alive: bool | None) -> None:
    assert between(RUNS, later(RUNS, 9999, alive=alive)) == []


@pytest.mark.parametrize(
    ("fields", "ending", "reason"),
    [
        pytest.param({}, EndingClass.CRASHED, "its processes are gone, and it left no exit file", id="killed"),
        pytest.param(
            {"odd": {"exit.json": "it is no JSON"}},
            *(EndingClass.CRASHED, "its processes are gone, and its exit.json cannot be read"),
            id="odd",
        ),
        pytest.param({"rebooted": True}, EndingClass.NODE_FAIL, "its host was started anew", id="its host went down"),
        pytest.param({"scheduler_id": None}, EndingClass.UNKNOWN, "nothing says that it began", id="never began"),
    ],
)
def test_an_attempt_that_vanished_is_told_apart(fields: dict[str, Any], ending: EndingClass, reason: str) -> None:
    events = between(RUNS, later(RUNS, 99, alive=False, gone_since=100.0, **fields))

    (ended,) = (event for event in events if isinstance(event, Ended))
    assert ended.ending is ending
    assert reason in ended.reason


# Going astray.

COOLDOWN = replace(SPEC, prepare=(HookCall(name="cooldown_symlink", path="", values={"from": "x", "iteration": 100}),))


def test_a_cooldown_that_begins_from_random_weights_goes_astray_once() -> None:
    lost = later(RUNS, 1, log=LogFacts(lost="will start from random", inode=7, offset=90))

    [event] = between(RUNS, lost, COOLDOWN)

    assert isinstance(event, WentAstray)
    assert "will start from random" in event.reason
    assert (event.inode, event.offset) == (7, 90)
    assert between(lost, later(lost, 1), COOLDOWN) == []
    assert between(RUNS, lost) == [], "a pretraining may"


def test_what_went_astray_is_told_before_how_it_ended() -> None:
    over = replace(RUNS, log=LogFacts(lost="Invalid metadata file"), exit=Exit(code=0))

    assert [type(event) for event in between(None, over, COOLDOWN)] == [Started, WentAstray, Ended]


# What a batch scheduler says

BEGUN = later(QUEUED, 10.0, scheduler_id="7", nodes="n[1-2]")
ASKED = Exit(code=143, signal=15, asked="TERM")


def endings_of(snapshot: Snapshot, visibility_s: float = 60.0) -> list[tuple[str, tuple[str, ...]]]:
    found = [event for event in between(BEGUN, snapshot, visibility_s=visibility_s) if isinstance(event, Ended)]
    return [(str(event.ending), event.suspects) for event in found]


def test_who_ended_a_program_by_a_signal_is_asked_for_a_while() -> None:
    unknown = later(BEGUN, 5.0, exit=ASKED, exit_since=115.0, said=Said(words="Slurm says COMPLETING"))

    assert endings_of(unknown) == []
    assert endings_of(later(unknown, 61.0)) == [("cancelled", ())]
    assert endings_of(later(unknown, 1.0, said=Said(ending=EndingClass.PREEMPTED))) == [("preempted", ())]


def test_as_long_as_the_scheduler_says_that_it_runs_nobody_has_ended_it() -> None:
    down = later(BEGUN, 5.0, exit=ASKED, exit_since=115.0, said=Said(words="Slurm says RUNNING"), alive=True)

    assert endings_of(later(down, 300.0)) == []
    assert endings_of(later(down, 301.0, alive=None, said=Said(ending=EndingClass.NODE_FAIL))) == [("node_fail", ())]


def test_what_the_scheduler_could_not_start_is_no_crash_of_the_program() -> None:
    gone = later(QUEUED, 5.0, alive=False, gone_since=40.0, said=Said(ending=EndingClass.CRASHED))

    assert endings_of(gone) == [("launch", ())]
    assert endings_of(replace(gone, scheduler_id="7")) == [("crashed", ())]


def test_nobody_is_asked_where_there_is_no_scheduler_or_the_log_tells() -> None:
    assert endings_of(later(BEGUN, 5.0, exit=ASKED, exit_since=115.0)) == [("cancelled", ())]
    line = "*** JOB 7 ON n1 CANCELLED AT 2026-03-01T10:00:00 ***"
    told = LogFacts(symptom=EndingClass.CANCELLED, symptom_line=line)
    assert endings_of(later(BEGUN, 5.0, exit=ASKED, exit_since=115.0, said=Said(), log=told)) == [("cancelled", ())]


def test_a_program_that_was_killed_for_want_of_memory_is_told_from_one_that_crashed() -> None:
    killed = later(BEGUN, 5.0, exit=Exit(code=137, signal=9), exit_since=115.0, said=Said())

    assert endings_of(killed) == []
    assert endings_of(later(killed, 1.0, said=Said(ending=EndingClass.HOST_OOM))) == [("host_oom", ())]
    assert endings_of(later(killed, 1.0, said=Said(ending=EndingClass.CRASHED))) == [("crashed", ())]


def test_the_signal_ahead_of_the_time_limit_is_the_time_limit() -> None:
    assert endings_of(later(BEGUN, 5.0, exit=Exit(code=0, asked="USR2"), said=Said())) == [("time_limit", ())]


def test_an_attempt_that_left_no_exit_file_ended_as_the_scheduler_says() -> None:
    gone = later(BEGUN, 5.0, alive=False, gone_since=50.0, said=Said(ending=EndingClass.TIME_LIMIT))

    assert endings_of(gone) == [("time_limit", ())]


@pytest.mark.parametrize(
    ("fields", "suspects"),
    [
        ({"nodes": "n1", "said": Said(ending=EndingClass.NODE_FAIL)}, ("n1",)),
        ({"nodes": "", "said": Said(ending=EndingClass.NODE_FAIL, hosts=("n3",))}, ("n3",)),
        ({"said": Said(ending=EndingClass.NODE_FAIL)}, ()),
        (
            {"log": LogFacts(symptom=EndingClass.NODE_FAIL, symptom_line="srun: error: Node failure on n2")},
            ("n2",),
        ),
        (
            {"log": LogFacts(symptom=EndingClass.NODE_FAIL, symptom_line="srun: error: Node failure on n77")},
            (),
        ),
        ({"nodes": "None assigned", "said": Said(ending=EndingClass.NODE_FAIL)}, ()),
    ],
    ids=["its only node", "as Slurm says", "one of two", "the log names it", "a stranger", "none"],
)
def test_an_ending_is_blamed_on_a_node_only_where_it_is_sure(fields: dict[str, Any], suspects: tuple[str, ...]) -> None:
    gone = later(BEGUN, 5.0, alive=False, gone_since=50.0, **fields)

    assert endings_of(gone) == [("node_fail", suspects)]


def test_of_a_network_error_in_the_log_no_node_is_to_blame_unless_the_recipe_says_so() -> None:
    reset = LogFacts(symptom=EndingClass.NETWORK, symptom_line="Connection reset by peer")
    ended = later(BEGUN, 5.0, exit=Exit(code=1), log=reset, nodes="n1")

    assert endings_of(ended) == [("network", ())]
    policy = RetryPolicy(when={EndingClass.NETWORK: Answer(remedy=Remedy.EXCLUDE_NODE)})
    asked = replace(SPEC, retry=policy)
    (found,) = (e for e in between(BEGUN, ended, asked, visibility_s=60.0) if isinstance(e, Ended))
    assert found.suspects == ("n1",)


def test_a_slow_network_is_blamed_on_the_nodes_that_the_gate_names() -> None:
    gate = {"code": 46, "cause": "slow", "suspects": ["n2", "stranger"]}

    assert endings_of(later(BEGUN, 5.0, exit=Exit(code=46), gate=gate)) == [("network", ("n2",))]
    silent = {**gate, "suspects": []}
    assert endings_of(later(BEGUN, 5.0, exit=Exit(code=46), gate=silent, nodes="n1")) == [("network", ())]


def test_a_line_that_the_recipe_waits_for_is_an_event_once_and_comes_before_the_end() -> None:
    match = Match(rule="spike", offset=9, line="spike 1", groups={"1": "1"})
    seen = later(RUNS, 1, log=LogFacts(inode=5, matches=(match,)), exit=Exit(code=3))

    matched, ended = between(RUNS, seen)

    said: dict[str, Any] = {"event": "spike", "line": "spike 1", "groups": {"1": "1"}, "inode": 5, "offset": 9}
    assert matched == LogMatched(at=seen.at, attempt=seen.attempt, **said)
    assert isinstance(ended, Ended)
    assert between(seen, replace(seen, exit=None)) == []
    assert len(between(seen, later(seen, 1, exit=None, log=replace(seen.log, inode=6)))) == 1


def test_progress_is_told_also_where_the_scheduler_called_it_over_meanwhile() -> None:
    idle = replace(RUNS, at=RUNS.at + 61)
    further = replace(idle, at=idle.at + 5, progress_at=idle.at + 5, alive=False, gone_since=idle.at + 5)

    assert [event.trigger for event in between(idle, further, STALLS)] == ["progressed"]
