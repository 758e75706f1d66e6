from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.endings import Exit, Said, classify, needs_word
from autoexp.logs import LogFacts, Seen
from autoexp.model import EndingClass, HookCall, JobSpec

COMMAND = JobSpec(id="a", study="s", stage="t", backend="command")
MEGATRON = JobSpec(id="a", study="s", stage="t", backend="megatron", args={"train-iters": 100})
TRAINED = Seen(log=LogFacts(iteration=100, train_iters=100, done=True), tracker=100, checkpoints=(100,))
HALFWAY = Seen(log=LogFacts(iteration=50, train_iters=100), tracker=50, checkpoints=(50,))
TIME = "slurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***"


def seen(**log: Any) -> Seen:
    return replace(HALFWAY, log=replace(HALFWAY.log, **log))


def symptom(kind: EndingClass, line: str) -> Seen:
    return seen(symptom=kind, symptom_line=line)


TERM = Exit(code=143, signal=15, asked="TERM")

CASES = {
    # exit, what was seen, gate -> class, reason
    "exit code 0 of a program": (COMMAND, Exit(code=0), Seen(), None, "success", "exit code 0"),
    "a finished training": (MEGATRON, Exit(code=0), TRAINED, None, "success", "trained to iteration 100"),
    "finished although it was asked to stop": (
        MEGATRON,
        Exit(code=0, asked="TERM"),
        TRAINED,
        None,
        "success",
        "trained",
    ),
    "exit code 0 half way": (MEGATRON, Exit(code=0), HALFWAY, None, "unknown", "exit code 0, but its log has no"),
    "saved and left when asked": (MEGATRON, Exit(code=0, asked="TERM"), HALFWAY, None, "cancelled", "ended by SIGTERM"),
    "saved and left as its time was up": (
        *(MEGATRON, Exit(code=0, asked="TERM"), symptom(EndingClass.TIME_LIMIT, TIME), None),
        *("time_limit", f"ended by SIGTERM: {TIME}"),
    ),
    "left by itself as its time was up": (
        *(MEGATRON, Exit(code=0), symptom(EndingClass.TIME_LIMIT, TIME), None, "time_limit", f"exit code 0: {TIME}"),
    ),
    "an early error does not undo an exit code 0": (
        *(MEGATRON, Exit(code=0), symptom(EndingClass.NETWORK, "x"), None, "unknown", "exit code 0, but"),
    ),
    "exit code 0 with a lost loss": (MEGATRON, Exit(code=0), seen(diverged=True), None, "diverged", "exit code 0, but"),
    "its own exit code": (COMMAND, Exit(code=3), Seen(), None, "crashed", "exit code 3"),
    "its own exit code and last words": (
        *(COMMAND, Exit(code=1), Seen(log=LogFacts(last_line="KeyError: 'x'")), None),
        *("crashed", "exit code 1: KeyError: 'x'"),
    ),
    "a usage error": (COMMAND, Exit(code=2), Seen(), None, "config", "exit code 2"),
    "no such program": (COMMAND, Exit(code=127), Seen(), None, "launch", "exit code 127: the program was not found"),
    "no permission": (COMMAND, Exit(code=126), Seen(), None, "launch", "exit code 126: the program may not be"),
    "killed": (COMMAND, Exit(code=137, signal=9), Seen(), None, "crashed", "ended by SIGKILL"),
    "a segmentation fault": (COMMAND, Exit(code=139, signal=11), Seen(), None, "crashed", "ended by SIGSEGV"),
    "an unknown signal": (COMMAND, Exit(code=228, signal=100), Seen(), None, "crashed", "ended by signal 100"),
    "stopped by us": (MEGATRON, TERM, HALFWAY, None, "cancelled", "ended by SIGTERM"),
    "stopped by somebody": (MEGATRON, Exit(code=143, signal=15), HALFWAY, None, "cancelled", "ended by SIGTERM"),
    "asked to stop and left with its own code": (
        COMMAND,
        Exit(code=7, asked="INT"),
        Seen(),
        None,
        "cancelled",
        "exit code 7",
    ),
    "stopped by the scheduler": (
        MEGATRON,
        TERM,
        symptom(EndingClass.TIME_LIMIT, TIME),
        None,
        "time_limit",
        "ended by SIGTERM: ",
    ),
    "out of memory": (
        *(MEGATRON, Exit(code=1), symptom(EndingClass.GPU_OOM, "CUDA out of memory"), None),
        *("gpu_oom", "exit code 1: CUDA out of memory"),
    ),
    "diverged": (
        MEGATRON,
        Exit(code=1),
        seen(diverged=True),
        None,
        "diverged",
        "exit code 1: the loss is not a number at",
    ),
    "its host went down": (
        *(MEGATRON, Exit(code=143, signal=15, asked="TERM", rebooted=True), HALFWAY, None),
        *("node_fail", "its host was shut down while it ran"),
    ),
    "a gate that failed": (
        *(
            MEGATRON,
            Exit(code=46),
            Seen(),
            {"code": 46, "cause": "12 GB/s"},
            "network",
            "the gate failed (46): 12 GB/s",
        ),
    ),
    "a gate of other ranks than asked for": (
        *(MEGATRON, Exit(code=48), Seen(), {"code": 48, "cause": "2 ranks ran, 4 were asked for"}),
        *("config", "the gate failed (48): 2 ranks ran"),
    ),
    "a gate whose tool is not there": (
        *(MEGATRON, Exit(code=44), Seen(), {"code": 44, "cause": "mpirun cannot be run: No such file or directory"}),
        *("launch", "the gate failed (44): mpirun cannot be run"),
    ),
    "a gate whose output is torn": (
        *(MEGATRON, Exit(code=44), Seen(), {"code": 44, "cause": "the output is torn"}, "network"),
        "the gate failed (44): the output is torn",
    ),
    "a code like the gate's, without a gate": (MEGATRON, Exit(code=46), Seen(), None, "crashed", "exit code 46"),
    "a gate that passed": (MEGATRON, Exit(code=46), Seen(), {"code": 0}, "crashed", "exit code 46"),
}


@pytest.mark.parametrize(("spec", "ended", "what", "gate", "ending", "reason"), CASES.values(), ids=CASES)
def test_an_ending_is_classified_with_its_reason(  # noqa: PLR0917 - a row of the table
    spec: JobSpec, ended: Exit, what: Seen, gate: dict[str, Any] | None, ending: str, reason: str
) -> None:
    found, said = classify(ended, what, spec, gate)

    assert str(found) == ending
    assert said.startswith(reason)


def test_memory_that_slurm_says_was_short_explains_a_death_that_only_a_launcher_saw() -> None:
    said = Said(ending=EndingClass.HOST_OOM, words="Slurm says OUT_OF_MEMORY")
    launcher = Seen(log=LogFacts(symptom=EndingClass.CRASHED, symptom_line="exitcode: -9 (pid: 7)"))

    assert needs_word(Exit(code=1), launcher, MEGATRON, None)
    assert classify(Exit(code=1), launcher, MEGATRON, None, said) == (
        EndingClass.HOST_OOM,
        "exit code 1: Slurm says OUT_OF_MEMORY",
    )
    assert classify(Exit(code=1), launcher, MEGATRON, None)[0] is EndingClass.CRASHED
    assert classify(Exit(code=137, asked="USR2"), launcher, MEGATRON, None)[0] is EndingClass.TIME_LIMIT
    assert classify(Exit(code=1, asked="TERM"), launcher, MEGATRON, None)[0] is EndingClass.CANCELLED
    lost = replace(launcher, log=replace(launcher.log, diverged=True))
    assert classify(Exit(code=1), lost, MEGATRON, None)[0] is EndingClass.DIVERGED
    assert not needs_word(Exit(code=1), HALFWAY, MEGATRON, None)


def test_what_ranks_say_of_each_other_as_they_leave_is_no_failure_of_the_network() -> None:
    torn = Seen(log=LogFacts(symptom=EndingClass.NETWORK, symptom_line="Connection reset by peer"))
    cancelled = Said(ending=EndingClass.CANCELLED, words="Slurm says CANCELLED")

    assert classify(Exit(code=1, asked="USR2"), torn, MEGATRON, None)[0] is EndingClass.TIME_LIMIT
    assert needs_word(Exit(code=1, asked="TERM"), torn, MEGATRON, None)
    assert classify(Exit(code=1, asked="TERM"), torn, MEGATRON, None, cancelled)[0] is EndingClass.CANCELLED
    assert classify(Exit(code=1, asked="USR1"), torn, MEGATRON, None)[0] is EndingClass.NETWORK


@pytest.mark.parametrize("asked", ["TERM", "INT", "HUP"])
def test_a_command_that_saves_when_it_is_asked_to_end_is_not_done(asked: str) -> None:
    polite = Exit(code=0, asked=asked)
    line = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-03-01T10:00:00 DUE TO PREEMPTION ***"
    preempted = Seen(log=LogFacts(symptom=EndingClass.PREEMPTED, symptom_line=line))

    assert classify(polite, preempted, COMMAND, None)[0] is EndingClass.PREEMPTED
    assert classify(polite, Seen(), COMMAND, None)[0] is EndingClass.CANCELLED
    assert classify(polite, Seen(), COMMAND, None, Said(ending=EndingClass.PREEMPTED))[0] is EndingClass.PREEMPTED
    assert classify(Exit(code=0, asked="USR1"), Seen(), COMMAND, None)[0] is EndingClass.SUCCESS
    assert classify(polite, TRAINED, MEGATRON, None)[0] is EndingClass.SUCCESS, "its log says that it is"


@pytest.mark.parametrize(
    ("spec", "line", "ending"),
    [
        (COMMAND, "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0", EndingClass.HOST_OOM),
        (COMMAND, "caught a MemoryError, and went on", EndingClass.SUCCESS),
        (MEGATRON, "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0", EndingClass.HOST_OOM),
    ],
)
def test_exit_code_0_is_no_success_where_slurm_killed_a_part_for_its_memory(
    spec: JobSpec, line: str, ending: EndingClass
) -> None:
    seen = Seen(log=LogFacts(symptom=EndingClass.HOST_OOM, symptom_line=line))

    assert classify(Exit(code=0), seen, spec, None)[0] is ending


def test_a_signal_of_the_programs_own_making_is_a_crash_where_slurm_says_that_nobody_cancelled_it() -> None:
    failed = Said(ending=EndingClass.CRASHED, words="Slurm says FAILED")
    one_rank_died = replace(TERM, asked="")

    assert classify(one_rank_died, HALFWAY, MEGATRON, None, failed) == (
        EndingClass.CRASHED,
        "ended by SIGTERM, and nobody cancelled it: Slurm says FAILED",
    )
    assert classify(TERM, HALFWAY, MEGATRON, None, failed)[0] is EndingClass.CANCELLED, "somebody told run.sh to end"


EXITS = st.builds(
    Exit,
    code=st.integers(0, 255),
    signal=st.none() | st.integers(1, 127),
    asked=st.sampled_from(["", "TERM", "INT", "USR1"]),
    rebooted=st.booleans(),
)
LOGS = st.builds(
    LogFacts,
    done=st.booleans(),
    diverged=st.booleans(),
    symptom=st.none() | st.sampled_from(EndingClass),
    iteration=st.none(),
)


@given(EXITS, st.builds(Seen, log=LOGS), st.sampled_from([COMMAND, MEGATRON]))
def test_every_ending_has_a_class_and_a_reason_and_only_exit_code_0_succeeds(
    ended: Exit, what: Seen, spec: JobSpec
) -> None:
    if what.log.symptom is EndingClass.SUCCESS:
        return  # no line says so

    ending, reason = classify(ended, what, spec, None)

    assert reason
    assert ended.code == 0 or ending is not EndingClass.SUCCESS


def test_a_cooldown_without_a_report_succeeds_and_says_what_is_not_confirmed() -> None:
    call = HookCall(name="cooldown_symlink", path="", values={"from": "x", "iteration": 90})
    silent = replace(TRAINED, log=LogFacts(done=True))

    ending, reason = classify(Exit(code=0), silent, replace(MEGATRON, prepare=(call,)), None)

    assert (ending, reason) == (
        EndingClass.SUCCESS,
        "trained to iteration 100; its log does not confirm that it went on from iteration 90",
    )
