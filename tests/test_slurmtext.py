"""What Slurm prints, of several versions, and what becomes of it."""

import re
import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import slurmtext
from autoexp.endings import Said
from autoexp.machine import Machine
from autoexp.model import EndingClass, Resources

NAME = "pretrain-model10M-lr0.001.1.k3y"
TIME = "2026-11-21T16:01:27"
AT = 1795276887.0
MACHINE = Machine(name="there", save_grace_s=300.0)

# squeue


def test_the_queue_is_read_by_name() -> None:
    text = f"7|RUNNING|{TIME}|main|normal|None|n[1-2]|{NAME}\n8|PENDING|{TIME}|main|normal|Priority||other|with|bars\n"

    found = slurmtext.queue(text)

    (one,), (two,) = found[NAME], found["other|with|bars"]
    assert (one.id, one.live, one.submitted_at, one.said.hosts) == ("7", True, AT, ("n1", "n2"))
    assert (two.said.ending, two.said.words) == (None, "Slurm says PENDING (Priority)")


def test_several_jobs_of_one_name_are_all_there() -> None:
    text = "".join(f"{number}|COMPLETED|{TIME}|main|normal|None|n1|{NAME}\n" for number in (3, 4))

    assert [entry.id for entry in slurmtext.queue(text)[NAME]] == ["3", "4"]


@pytest.mark.parametrize(
    "line",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "7|RUNNING",
        f"7_[3-7%2]|PENDING|{TIME}|main|normal|JobArrayTaskLimit||arr",
        "7|RUNNING|N/A|main|normal|None|n1|x",
        "JOBID|STATE|SUBMIT_TIME|PARTITION|REASON|NODELIST|NAME",
        "",
    ],
)
def test_lines_that_are_no_jobs_of_ours_are_left_out(line: str) -> None:
    assert slurmtext.queue(f"{line}\n8|RUNNING|{TIME}|main|normal|None|n1|{NAME}\n").keys() == {NAME}


@pytest.mark.parametrize(
    ("state", "ending"),
    [
        ("COMPLETED", EndingClass.UNKNOWN),
        ("FAILED", EndingClass.CRASHED),
        ("TIMEOUT", EndingClass.TIME_LIMIT),
        ("DEADLINE", EndingClass.TIME_LIMIT),
        ("PREEMPTED", EndingClass.PREEMPTED),
        ("NODE_FAIL", EndingClass.NODE_FAIL),
        ("BOOT_FAIL", EndingClass.NODE_FAIL),
        ("OUT_OF_MEMORY", EndingClass.HOST_OOM),
        ("CANCELLED", EndingClass.CANCELLED),
        ("CANCELLED by 14213", EndingClass.CANCELLED),
        ("CANCELLED+", EndingClass.CANCELLED),
        ("LAUNCH_FAILED", EndingClass.LAUNCH),
    ],
)
def test_each_final_state_is_an_ending(state: str, ending: EndingClass) -> None:
    ((entry,),) = slurmtext.queue(f"7|{state}|{TIME}|main|normal|None|n1|x\n").values()

    assert (entry.live, entry.said.ending) == (False, ending)


@pytest.mark.parametrize(
    "state",
    [
        *(
            "PENDING",
            "RUNNING",
            "CONFIGURING",
            "COMPLETING",
            "STAGE_OUT",
            "SIGNALING",
            "SUSPENDED",
            "STOPPED",
            "RESIZING",
        ),
        *("REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD", "A_STATE_TO_COME"),
    ],
)
def test_whatever_is_not_final_lives(state: str) -> None:
    ((entry,),) = slurmtext.queue(f"7|{state}|{TIME}|main|normal|None||x\n").values()

    assert (entry.live, entry.said.ending) == (True, None)


def test_the_load_counts_what_is_not_over_by_partition_and_by_qos() -> None:
    rows = [
        ("RUNNING", "main"),
        ("PENDING", "main"),
        ("COMPLETED", "main"),
        ("PENDING", "gpu"),
        ("CANCELLED by 0", "gpu"),
    ]
    text = "".join(f"{n}|{state}|{TIME}|{partition}|debug|None||x{n}\n" for n, (state, partition) in enumerate(rows))
    there = {"partition main": 2, "partition gpu": 1, "qos debug": 3, "": 3}
    one_runs = {"running": 1, "running partition main": 1, "running qos debug": 1}
    ours_may_run = {"running": 2, "running partition main": 1, "running partition gpu": 1, "running qos debug": 2}

    assert slurmtext.load(text, ()) == {**there, **one_runs}
    assert slurmtext.load(text, {"x3"}) == {**there, **ours_may_run}


# sacct


def test_of_a_job_that_was_queued_again_the_last_run_counts() -> None:
    text = (
        f"7|PREEMPTED|{TIME}|0:15|n1|{NAME}\n"
        f"7|COMPLETED|2026-11-21T17:00:00|0:0|n2|{NAME}\n"
        f"9|FAILED|2026-11-21T16:30:00|3:0|None assigned|{NAME}\n"
    )

    one, two = slurmtext.history(text)[NAME]

    assert (one.id, one.said.words, one.said.hosts) == ("7", "Slurm says COMPLETED", ("n2",))
    assert (two.id, two.said.words, two.said.hosts) == ("9", "Slurm says FAILED (exit code 3:0)", ())


def test_a_run_that_goes_on_counts_more_than_one_that_ended_later() -> None:
    text = f"7|RUNNING|{TIME}|0:0|n1|{NAME}\n7|PREEMPTED|{TIME}|0:15|n1|{NAME}\n"

    ((entry,),) = slurmtext.history(text).values()

    assert entry.live


def test_the_run_that_was_queued_again_is_over_though_its_record_never_says_so() -> None:
    text = f"7|REQUEUED|{TIME}|0:0|n1|{NAME}\n7|FAILED|2026-11-21T17:00:00|3:0|n2|{NAME}\n"

    ((entry,),) = slurmtext.history(text).values()

    assert (entry.live, entry.said.words) == (False, "Slurm says FAILED (exit code 3:0)")


def test_the_controllers_settings_are_read_as_it_prints_them() -> None:
    said = slurmtext.settings(
        "Configuration data as of 2026-11-22T16:00:00\nAccountingStorageType   = accounting_storage/none\n"
        "MinJobAge               = 300 sec\nMessageTimeout          = 10 sec\n"
    )

    assert said["AccountingStorageType"] == "accounting_storage/none"
    assert (slurmtext.number(said["MinJobAge"]), slurmtext.number("INFINITE", 7.0)) == (300.0, 7.0)


def test_steps_of_a_job_are_not_jobs() -> None:
    assert slurmtext.history(f"7.batch|COMPLETED|{TIME}|0:0|n1|batch\n7.0|COMPLETED|{TIME}|0:0|n1|x\n") == {}


def test_what_the_controller_forgot_is_over_and_nobody_says_how() -> None:
    entry = slurmtext.gone("7", 5.0)

    assert (entry.live, entry.said) == (False, Said(words="Slurm no longer knows it"))


@given(st.text(), st.text(alphabet="0123456789|RUNING-:T\n[],"))
def test_no_text_at_all_is_more_than_left_out(one: str, other: str) -> None:
    for text in (one, other):
        slurmtext.queue(text)
        slurmtext.history(text)
        slurmtext.submitted(text)


# sbatch


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7\n", "7"),
        ("7;jwlbooster\n", "7"),
        ("Submitted batch job 7\n", "7"),
        ("Submitted batch job 7 on cluster jwlbooster\n", "7"),
        ("sbatch: a site's greeting of 7 lines\n7\n", "7"),
        ("", None),
        ("sbatch: error: 7\n", None),
    ],
)
def test_the_id_is_found_in_what_sbatch_prints(text: str, number: str | None) -> None:
    assert slurmtext.submitted(text) == number


FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    "words",
    [
        f"{FAILED}Socket timed out on send/recv operation",
        f"{FAILED}Unable to contact slurm controller (connect failure)",
        f"{FAILED}Zero Bytes were transmitted or received",
        f"{FAILED}Unexpected message received",
        f"{FAILED}Resource temporarily unavailable",
        f"{FAILED}Slurm backup controller in standby mode",
        f"{FAILED}Protocol authentication error",
        "sbatch: error: something unheard of",
        f"{FAILED}Communication shutdown failure",
        f"{FAILED}Unexpected missing socket error",
        f"{FAILED}Unable to create job record, try again",
        "sbatch: lua: Requested account is charged 12 GPUh",
        "Welcome: you must not exceed your quota",
        "",
    ],
)
def test_an_error_that_is_no_sure_refusal_leaves_in_doubt_whether_the_job_was_taken(words: str) -> None:
    assert slurmtext.is_in_doubt(words)


@pytest.mark.parametrize(
    "words",
    [
        f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED}Job violates accounting/QOS policy (job submit limit, ...)",
        f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{FAILED}Job violates accounting/QOS policy",
        f"sbatch: error: QOSGrpSubmitJobsLimit\n{FAILED}Job violates accounting/QOS policy",
        f"{FAILED}Slurm temporarily unable to accept job, sleeping and retrying",
        f"{FAILED}Required partition not available (inactive or drain)",
        f"{FAILED}Partition in DOWN state",
        f"{FAILED}System submissions disabled",
    ],
)
def test_some_refusals_pass_by_themselves(words: str) -> None:
    assert (slurmtext.is_in_doubt(words), slurmtext.is_temporary(words)) == (False, True)


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (f"{FAILED}Invalid account or account/partition combination specified", "account"),
        (f"{FAILED}invalid partition specified: x\n{FAILED}Invalid partition name specified", "sinfo"),
        (f"{FAILED}Requested time limit is invalid (missing or exceeds some limit)", "walltime"),
        (f"{FAILED}Requested node configuration is not available", "less"),
        (f"{FAILED}Invalid qos specification", "qos"),
        (f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{FAILED}Job violates accounting/QOS policy", "walltime"),
        (f"sbatch: error: you must name a project\n{FAILED}Unspecified error", "autoexp mark"),
        (f"{FAILED}More processors requested than permitted", "autoexp mark"),
        (f"{FAILED}Job dependency problem", "autoexp mark"),
        ("sbatch: unrecognized option '--frobnicate=1'", "autoexp mark"),
        ("sbatch: fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.", "autoexp mark"),
    ],
)
def test_others_never_pass_and_come_with_a_fix(words: str, fix: str) -> None:
    assert (slurmtext.is_in_doubt(words), slurmtext.is_temporary(words)) == (False, False)
    assert fix in slurmtext.fix(words)


def test_a_complaint_is_one_line_without_repetitions() -> None:
    text = "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: x\nsbatch: error: \n"

    assert slurmtext.complaint(text) == "AssocMaxSubmitJobLimit; Batch job submission failed: x"
    assert slurmtext.complaint("") == "it says nothing"


# Newer versions


NEWER = {
    "23.11": {
        "squeue": f"41|PENDING|{TIME}|main|normal|Nodes required for job are DOWN, DRAINED or reserved for jobs"
        f" in higher priority partitions||{NAME}\n42|COMPLETING|{TIME}|main|normal|None|n[01-03,7]|{NAME}\n",
        "sacct": f"43|CANCELLED by 1000|{TIME}|0:0|None assigned|{NAME}\n44|OUT_OF_MEMORY|{TIME}|0:125|n1|{NAME}\n",
        "scontrol": "AccountingStorageType   = accounting_storage/slurmdbd\nMessageTimeout          = 60 sec\n",
        "sbatch": "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, "
        "user's size and/or time limits)",
    },
    "24.11": {
        "squeue": f"41|PENDING|{TIME}|main,gpu|normal|QOSMaxJobsPerUserLimit||{NAME}\n"
        f"42|STAGE_OUT|{TIME}|main|normal|None|n[01-03,7]|{NAME}\n",
        "sacct": f"43|CANCELLED by 1000|{TIME}|0:15|n2|{NAME}\n44|OUT_OF_MEMORY|{TIME}|0:125|n1|{NAME}\n",
        "scontrol": "AccountingStorageType   = (null)\nMessageTimeout          = 60 sec\nMinJobAge = 300 sec\n",
        "sbatch": f"{FAILED}Invalid account or account/partition combination specified",
    },
}
"""What clients of these versions print in the formats that they are asked for."""


@pytest.mark.parametrize("version", NEWER)
def test_the_text_of_newer_versions_is_read_too(version: str) -> None:
    printed = NEWER[version]

    waits, leaves = slurmtext.queue(printed["squeue"])[NAME]
    assert (waits.live, leaves.live, leaves.said.hosts) == (True, True, ("n01", "n02", "n03", "n7"))
    cancelled, hungry = slurmtext.history(printed["sacct"])[NAME]
    assert (cancelled.said.ending, hungry.said.ending) == (EndingClass.CANCELLED, EndingClass.HOST_OOM)
    assert slurmtext.number(slurmtext.settings(printed["scontrol"])["MessageTimeout"]) == 60.0
    assert not slurmtext.is_in_doubt(printed["sbatch"])


# The batch script


@pytest.mark.parametrize(
    ("site", "gres", "line"),
    [
        ("", "gpu:a100:4", "gpu:a100:4"),
        ("", "tmpdisk:100G", "gpu:4,tmpdisk:100G"),
        ("", "gpumem:20g", "gpu:4,gpumem:20g"),
        ("tmpfs:10", "", "tmpfs:10,gpu:4"),
        ("", "", "gpu:4"),
    ],
)
def test_gpus_stand_beside_whatever_else_a_node_is_to_have(site: str, gres: str, line: str) -> None:
    machine = replace(MACHINE, options={"gres": site} if site else {})
    options = {"gres": gres} if gres else {}

    assert f"#SBATCH --gres={line}" in slurmtext.directives(machine, Resources(gpus_per_node=4, options=options))


def test_a_batch_script_asks_for_what_the_job_needs() -> None:
    wanted = Resources(nodes=2, cpus=8, gpus_per_node=4, memory_bytes=(1 << 30) + 1, walltime_s=93784)

    lines = slurmtext.directives(MACHINE, wanted)

    assert lines == (
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --open-mode=append",
        "#SBATCH --no-requeue",
        "#SBATCH --mem=1025M",
        "#SBATCH --time=1-02:03:04",
        "#SBATCH --signal=B:USR2@300",
        "#SBATCH --gres=gpu:4",
    )


def test_a_short_job_is_told_of_its_limit_later() -> None:
    assert "#SBATCH --signal=B:USR2@12" in slurmtext.directives(MACHINE, Resources(walltime_s=60))


def test_a_stage_overrides_what_the_machine_says_and_what_follows_from_its_needs() -> None:
    machine = Machine(name="there", options={"partition": "small", "mem": "500M", "account": "lab"})
    wanted = Resources(
        requeue=True, memory_bytes=1 << 30, options={"partition": "large", "exclusive": "", "nodes": "1-2"}
    )

    lines = slurmtext.directives(machine, wanted)

    assert {"--partition=large", "--mem=1024M", "--account=lab", "--exclusive", "--nodes=1-2", "--requeue"} <= {
        line.removeprefix("#SBATCH ") for line in lines
    }
    assert len({line.split("=")[0] for line in lines}) == len(lines)


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_any_value_of_an_option_stays_one_word(value: str) -> None:
    line = slurmtext.directives(MACHINE, Resources(options={"comment": value}))[-1]

    assert re.fullmatch(r"#SBATCH --comment=.+", line)
    assert (
        shlex.split(line.replace("$", r"\$").replace("`", r"\`"), comments=False)[1:] == [f"--comment={value}"]
        or "$" in value
        or "`" in value
    )
