"""What befalls jobs on a real cluster: each ending in its class, the right move, nothing twice, nothing lost."""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.conftest import REPOSITORY
from tests.slurm.cluster import Cluster, cluster
from tests.slurm.conftest import Shim, on

if TYPE_CHECKING:
    from tests.conftest import Room

LONG_S = 120.0
"""Far more than anything here takes, the scheduler's own pauses included."""
SLEEPS = "one: {command: 'echo ran >> ran; until test -e go; do sleep 0.2; done', retry: {backoff: 1s}}\n"
FAILED = "sbatch: error: Batch job submission failed"
SAVES = """\
one:
  command: |
    echo ran >> ran
    trap 'echo saved >> saved; exit 0' TERM
    until test -e go; do sleep 0.2; done
  resources: {walltime: 60s}
  retry: {backoff: 1s, when: {unknown: fail}}
"""


def running(room: "Room", stages: str = SLEEPS, *jobs: str) -> "Room":
    """Have a study's jobs run on the cluster, watched; their programs say that they have begun."""
    room.plan(stages)
    room.watch()
    room.wait_for(dict.fromkeys(jobs or ["one"], "running"), within_s=LONG_S)
    for job in jobs or ["one"]:
        room.wait_until(partial(ran, room, job), f"the program of {job}")
    return room


def let_go(room: "Room", *jobs: str) -> None:
    """Let jobs end, and see that they do."""
    for job in jobs or ["one"]:
        (room.job_dir(job) / "go").touch()
    room.wait_for(dict.fromkeys(jobs or ["one"], "succeeded"), within_s=LONG_S)


def number(room: "Room", job: str = "one") -> str:
    """What Slurm calls a job."""
    return str(room.rows()[job]["scheduler_id"])


def kill_all(room: "Room") -> None:
    """Kill a job's processes, run.sh with them, as the kernel or a careless person may."""
    room.pid_of("one")
    room.kill_jobs()


def endings(room: "Room", job: str = "one") -> list[str]:
    """The classes of a job's endings, in order."""
    return [r["evidence"]["ending"] for r in room.journal() if r["job"] == job and r["trigger"] == "ended"]


def ran(room: "Room", job: str = "one") -> int:
    """How often a job's program has begun."""
    log = room.job_dir(job) / "ran"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_a_job_that_somebody_cancels_by_hand_is_cancelled_and_not_submitted_again(ward: "Room", slurm: Cluster) -> None:
    running(ward)

    slurm.run("scancel", number(ward))
    ward.wait_for({"one": "cancelled"}, within_s=LONG_S)

    assert (endings(ward), ran(ward), ward.rows()["one"]["attempt"]) == (["cancelled"], 1, 1)


def test_a_queued_job_that_somebody_cancels_is_cancelled_too(ward: "Room", slurm: Cluster) -> None:
    ward.plan("one: {command: 'echo ran >> ran', resources: {options: {begin: now+1hour}}}\n")
    ward.watch()
    ward.wait_for({"one": "queued"})
    ward.wait_until(lambda: ward.rows()["one"]["reason"] == "Slurm says PENDING (BeginTime)", "Slurm's reason", LONG_S)

    slurm.run("scancel", number(ward))
    ward.wait_for({"one": "cancelled"}, within_s=LONG_S)

    assert not (ward.job_dir("one") / "ran").exists()


def test_a_job_near_its_time_limit_saves_and_goes_on_in_another_attempt(ward: "Room") -> None:
    running(ward, SAVES)

    ward.wait_until((ward.job_dir("one") / "saved").exists, "the signal ahead of the time limit", LONG_S)
    ward.wait_until(lambda: ward.rows()["one"]["attempt"] == 2, "the next attempt", LONG_S)
    ward.wait_for({"one": "running"}, within_s=LONG_S)
    let_go(ward)

    assert endings(ward) == ["time_limit", "success"]


def queued(slurm: Cluster) -> list[str]:
    """The names of the jobs that wait for another one."""
    return slurm.run("squeue", "--noheader", "--states=PENDING", "--format=%j %r").splitlines()


def test_the_next_allocation_is_queued_behind_the_present_one_and_goes_on_with_the_work(
    ward: "Room", slurm: Cluster
) -> None:
    running(ward, SAVES.replace("backoff: 1s", "max_attempts: 9, backoff: 10m, queue_ahead: true"))
    ward.wait_until(lambda: any("Dependency" in line for line in queued(slurm)), "the next one in the queue", LONG_S)

    ward.wait_until(lambda: ward.rows()["one"]["attempt"] == 3, "the third allocation", 3 * LONG_S)
    ward.wait_for({"one": "running"}, within_s=LONG_S)
    let_go(ward)

    assert endings(ward) == ["time_limit", "time_limit", "success"]
    assert ran(ward) == 3
    ward.wait_until(lambda: not queued(slurm), "an empty queue", LONG_S)


def test_what_is_queued_behind_a_job_goes_with_a_hold_and_the_job_goes_on_after_a_release(
    ward: "Room", slurm: Cluster
) -> None:
    running(ward, SLEEPS.replace("backoff: 1s", "max_attempts: 9, backoff: 1s, queue_ahead: true"))
    ward.wait_until(lambda: bool(queued(slurm)), "the next one in the queue", LONG_S)

    ward.touch("one", "save")
    ward.wait_for({"one": "held"}, within_s=LONG_S)
    ward.wait_until(lambda: not queued(slurm), "an empty queue", LONG_S)
    ward.touch("one", "release")
    ward.wait_for({"one": "running"}, within_s=LONG_S)
    ward.wait_until(lambda: ran(ward) == 2, "the program", LONG_S)
    let_go(ward)

    assert ward.rows()["one"]["attempt"] == 3, "the second one was taken back"
    assert ran(ward) == 2


def test_a_chain_goes_on_while_nobody_watches_and_the_next_watcher_finds_where_it_is(
    ward: "Room", slurm: Cluster
) -> None:
    running(ward, SAVES.replace("backoff: 1s", "max_attempts: 9, backoff: 1s, queue_ahead: true"))
    ward.wait_until(lambda: bool(queued(slurm)), "the next one in the queue", LONG_S)
    ward.stop(ward.watchers[-1], signal.SIGKILL)
    ward.wait_until(lambda: ran(ward) == 2, "the second allocation", 2 * LONG_S)

    ward.watch()
    ward.wait_until(lambda: ward.rows()["one"]["attempt"] == 2, "the second attempt", LONG_S)
    ward.wait_for({"one": "running"}, within_s=LONG_S)
    let_go(ward)

    assert endings(ward) == ["time_limit", "success"]
    assert ran(ward) == 2


def test_a_job_that_does_not_heed_the_time_limit_is_known_to_have_hit_it(ward: "Room", slurm: Cluster) -> None:
    script = 'echo ran >> ran; trap "" TERM USR2; until test -e go; do sleep 0.2; done'
    running(ward, f"one: {{command: '{script}', retry: {{max_attempts: 1}}, resources: {{walltime: 60s}}}}\n")
    slurm.run("scontrol", "update", f"jobid={number(ward)}", "timelimit=00:01:00")

    ward.wait_for({"one": "failed"}, within_s=240.0)

    assert endings(ward) == ["time_limit"]


def test_a_job_whose_node_goes_down_starts_elsewhere(ward: "Room", slurm: Cluster) -> None:
    running(ward)
    node = slurm.run("squeue", "--noheader", "--format=%N", f"--jobs={number(ward)}").strip()

    slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    ward.wait_until(lambda: ward.rows()["one"]["attempt"] == 2, "the next attempt", LONG_S)
    ward.wait_for({"one": "running"}, within_s=LONG_S)
    let_go(ward)

    assert (endings(ward), ran(ward)) == (["node_fail", "success"], 2)


def test_while_the_controller_is_away_nothing_is_concluded_and_submissions_wait(ward: "Room", slurm: Cluster) -> None:
    stages = f"{SLEEPS}two: {{start: {{file_exists: {{path: now}}}}, command: 'echo ran >> ran'}}\n"
    running(ward, stages)
    slurm.stop_part("slurmctld")

    (ward.job_dir("two") / "now").touch()
    ward.wait_for({"two": "submitting"}, within_s=LONG_S)
    ward.wait_until(lambda: "not answered" in ward.run("status", ward.root).stdout, "word of the outage", LONG_S)
    ward.wait_until_after(60.0)
    assert ward.states() == {"one": "running", "two": "submitting"}
    slurm.start_part("slurmctld")
    ward.wait_for({"two": "succeeded"}, within_s=2 * LONG_S)
    let_go(ward)

    assert (ran(ward, "one"), ran(ward, "two")) == (1, 1)
    assert ward.rows()["two"]["attempt"] == 1


def test_while_the_accounting_is_away_jobs_run_and_end_as_usual(ward: "Room", slurm: Cluster) -> None:
    slurm.stop_part("slurmdbd")
    running(ward)
    let_go(ward)
    ward.plan(SLEEPS, study="next")
    ward.wait_for({"one": "running"}, study="next", within_s=LONG_S)
    slurm.run("scancel", str(ward.rows("next")["one"]["scheduler_id"]))

    ward.wait_for({"one": "cancelled"}, study="next", within_s=LONG_S)


def test_a_job_that_slurm_queues_again_goes_on_as_the_same_attempt(ward: "Room", slurm: Cluster) -> None:
    script = 'echo ran >> ran; trap "" TERM; until test -e go; do sleep 0.2; done'
    running(ward, f"one: {{command: '{script}', resources: {{requeue: true}}}}\n")

    slurm.run("scontrol", "requeue", number(ward))
    ward.wait_until(lambda: ran(ward) == 2, "the second run", 2 * LONG_S)
    let_go(ward)

    assert (endings(ward), ward.rows()["one"]["attempt"]) == (["success"], 1)


def test_a_job_that_slurm_suspends_is_shown_as_such_and_is_not_stalled(ward: "Room", slurm: Cluster) -> None:
    running(ward, SLEEPS.replace("retry:", "stall: {no_progress: 4s}, retry:"))

    slurm.run("scontrol", "suspend", number(ward))
    ward.wait_until(lambda: ward.rows()["one"]["reason"] == "Slurm says SUSPENDED", "the word of it", LONG_S)
    time.sleep(5.0)
    state = ward.rows()["one"]["state"]
    slurm.run("scontrol", "resume", number(ward))
    let_go(ward)

    assert state == "running"


def test_a_job_that_slurm_takes_its_nodes_from_to_queue_it_again_was_preempted(ward: "Room", slurm: Cluster) -> None:
    running(ward, SLEEPS.replace("retry:", "resources: {requeue: true}, retry:"))

    slurm.run("scontrol", "requeue", number(ward))
    ward.wait_until(lambda: ran(ward) == 2, "the next attempt", LONG_S)
    let_go(ward)

    assert (endings(ward), ward.rows()["one"]["attempt"]) == (["preempted", "success"], 2)


def test_a_queued_job_is_taken_back_by_a_hold_and_goes_on_after_a_release(ward: "Room", slurm: Cluster) -> None:
    ward.plan("one: {command: 'echo ran >> ran', resources: {options: {begin: now+20}}}\n")
    ward.watch()
    ward.wait_for({"one": "queued"})
    first = number(ward)

    ward.touch("one", "hold")
    ward.wait_for({"one": "held"})
    ward.wait_until(lambda: not slurm.run("squeue", "--noheader"), "the job to leave the queue", LONG_S)
    ward.touch("one", "release")
    ward.wait_for({"one": "succeeded"}, within_s=LONG_S)

    assert (ran(ward), number(ward) == first) == (1, False)


def test_a_running_job_is_cancelled_by_a_marker_at_once(ward: "Room", slurm: Cluster) -> None:
    running(ward)

    ward.touch("one", "cancel")
    ward.wait_for({"one": "cancelled"}, within_s=LONG_S)

    ward.wait_until(lambda: not slurm.run("squeue", "--noheader"), "the job to leave the queue", LONG_S)
    assert ran(ward) == 1


def test_a_program_that_is_killed_has_crashed_and_is_tried_again(ward: "Room") -> None:
    running(ward)

    ward.fail("one")
    ward.wait_until(lambda: ward.rows()["one"]["attempt"] == 2, "the next attempt", LONG_S)
    ward.wait_for({"one": "running"}, within_s=LONG_S)
    let_go(ward)

    assert endings(ward) == ["crashed", "success"]


def test_a_job_killed_with_all_of_its_processes_leaves_what_slurm_says(ward: "Room") -> None:
    running(ward)

    kill_all(ward)
    ward.wait_until(lambda: ward.rows()["one"]["attempt"] == 2, "the next attempt", LONG_S)
    ward.wait_for({"one": "running"}, within_s=LONG_S)
    let_go(ward)

    assert endings(ward) == ["crashed", "success"]
    assert "Slurm says FAILED" in next(r["evidence"]["reason"] for r in ward.journal() if r["trigger"] == "ended")


HUNGRY = """
one:
  command: [python3, -c, "x = b'x' * (300 << 20); import time; time.sleep(300)"]
  resources: {memory: 100MiB, walltime: 10m}
  retry: {max_attempts: 3}
"""


def test_a_job_that_slurm_kills_for_its_memory_has_failed_for_want_of_it(ward: "Room") -> None:
    ward.plan(HUNGRY)
    ward.watch()
    ward.wait_for({"one": "failed"}, within_s=LONG_S)

    assert endings(ward) == ["host_oom"]
    assert "xceeded" in ward.rows()["one"]["reason"]


def test_a_job_over_the_limit_of_submissions_waits_without_using_an_attempt(ward: "Room", slurm: Cluster) -> None:
    slurm.run("sacctmgr", "--immediate", "modify", "account", "lab", "set", "maxsubmitjobs=1")
    try:
        ward.plan(f"{SLEEPS}{SLEEPS.replace('one:', 'two:')}")
        ward.watch()
        ward.wait_until(lambda: "backoff" in ward.states().values(), "a refusal", LONG_S)
        first, second = sorted(ward.states(), key=lambda job: ward.states()[job], reverse=True)
        assert "MaxSubmit" in ward.rows()[second]["reason"]
        let_go(ward, first)
        ward.wait_for({second: "running"}, within_s=LONG_S)
    finally:
        slurm.run("sacctmgr", "--immediate", "modify", "account", "lab", "set", "maxsubmitjobs=-1")
    let_go(ward, second)

    assert ward.rows()[second]["attempt"] == 1


@pytest.mark.parametrize(
    ("resources", "words", "fix"),
    [
        ("{account: nobody}", "Invalid account", "account"),
        ("{partition: nowhere}", "invalid partition", "sinfo"),
        ("{partition: short, walltime: 3h}", "time limit", "walltime"),
        ("{options: {constraint: moon}}", "feature", "autoexp mark"),
        ("{options: {frobnicate: 1}}", "unrecognized option", "autoexp mark"),
        ("{gpus_per_node: 9}", "gres", "gpus_per_node"),
    ],
)
def test_what_slurm_will_never_take_fails_at_once_with_its_words_and_the_fix(
    ward: "Room", resources: str, words: str, fix: str
) -> None:
    ward.plan(f"one: {{command: 'true', resources: {resources}}}\n")
    ward.watch()

    ward.wait_for({"one": "failed"}, within_s=LONG_S)

    refused = next(r for r in ward.journal() if r["trigger"] == "submit_refused")
    assert words.lower() in refused["evidence"]["reason"].lower()
    assert fix in refused["evidence"]["fix"]


# Submissions that go wrong


@pytest.mark.parametrize(
    "script",
    [
        f'"$real" "$@" > /dev/null; echo "{FAILED}: Socket timed out on send/recv operation" >&2; exit 1',
        '"$real" "$@" > /dev/null; echo "sbatch: error: something unheard of" >&2; exit 1',
        '"$real" "$@"; kill -9 $$',
        '"$real" "$@" > /dev/null; exit 0',
    ],
    ids=["timed out", "unheard of", "killed", "no answer"],
)
def test_a_submission_that_was_taken_although_sbatch_says_otherwise_runs_once(
    ward: "Room", shim: Shim, slurm: Cluster, script: str
) -> None:
    shim.put("sbatch", script)
    running(ward, SLEEPS)
    let_go(ward)

    assert (ran(ward), len(shim.calls("sbatch"))) == (1, 1)
    assert len(slurm.run("squeue", "--noheader", "--states=all", "--format=%j").splitlines()) >= 1


def test_a_submission_that_was_not_taken_is_sent_again_under_the_same_name(ward: "Room", shim: Shim) -> None:
    script = 'test -e {0} && exec "$real" "$@"; touch {0}; echo "sbatch: error: Socket timed out" >&2; exit 1'
    shim.put("sbatch", script.format(shim.folder / "once"))
    running(ward, SLEEPS)
    let_go(ward)

    calls = shim.calls("sbatch")
    assert (ran(ward), len(calls), calls[0] == calls[1]) == (1, 2, True)


def test_an_sbatch_that_outlives_its_watcher_is_awaited(ward: "Room", shim: Shim) -> None:
    shim.put("sbatch", 'sleep 4; exec "$real" "$@"')
    ward.plan(SLEEPS)
    watcher = ward.watch()
    ward.wait_until(lambda: shim.calls("sbatch"), "the submission")
    ward.stop(watcher, signal.SIGKILL)
    ward.watch()
    ward.wait_for({"one": "running"}, within_s=LONG_S)
    let_go(ward)

    assert (ran(ward), len(shim.calls("sbatch"))) == (1, 1)


def test_a_watcher_does_not_wait_for_an_sbatch_that_takes_its_time(ward: "Room", shim: Shim) -> None:
    shim.put("sbatch", 'sleep 5; exec "$real" "$@"')
    ward.plan(f"{SLEEPS}two: {{start: {{file_exists: {{path: never}}}}, command: 'true'}}\n")
    ward.watch()
    ward.wait_until(lambda: shim.calls("sbatch"), "the submission")

    ward.touch("two", "cancel")
    ward.wait_for({"two": "cancelled"})

    assert ward.states()["one"] == "submitting"
    ward.wait_for({"one": "running"}, within_s=LONG_S)


# Without accounting, and with a controller that forgets


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Cluster]:
    with cluster(accounting=False, min_job_age_s=2) as made:
        yield made


def test_without_accounting_what_the_controller_forgot_is_over(
    room: "Room", forgetful: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = on(forgetful, room, monkeypatch)
    ward.plan(SLEEPS)
    watcher = ward.watch()
    ward.wait_for({"one": "running"}, within_s=LONG_S)
    ward.stop(watcher)
    kill_all(ward)
    ward.wait_until(lambda: "one" not in forgetful.run("squeue", "--states=all"), "the controller to forget", LONG_S)

    ward.watch()
    ward.wait_until(lambda: ward.rows()["one"]["attempt"] == 2, "the next attempt", LONG_S)
    ward.wait_for({"one": "running"}, within_s=LONG_S)
    let_go(ward)

    assert endings(ward)[-1] == "success"


# Asking


def test_that_a_job_has_ended_is_known_before_anybody_is_asked(ward: "Room", shim: Shim) -> None:
    shim.count("squeue", "sacct", "scancel", "sbatch")
    ward.machine(executor="slurm", query_interval="10m", options="{mem: 100M}")
    running(ward)
    let_go(ward)

    assert len(shim.calls("squeue")) <= 1
    assert (shim.calls("sacct"), shim.calls("scancel"), len(shim.calls("sbatch"))) == ([], [], 1)


def test_what_runs_on_slurm_says_so_in_its_files(ward: "Room", slurm: Cluster) -> None:
    running(ward)

    ward.pid_of("one")
    begun = json.loads((ward.attempt_dir("one") / "started.json").read_text())

    assert begun["id"] == number(ward)
    assert slurm.states()[begun["token"]] == "RUNNING"
    let_go(ward)


def test_a_node_that_an_ending_is_blamed_on_is_avoided_by_the_whole_study(ward: "Room") -> None:
    stages = (
        "one: {command: 'test -e go || exit 3', retry: {backoff: 1s, max_attempts: 9, when: {crashed: exclude_node}}}\n"
        "two: {start: {file_exists: {path: now}}, command: 'echo ran >> ran'}\n"
    )
    ward.plan(stages)
    ward.watch()
    ward.wait_until(lambda: ward.rows()["one"]["attempt"] == 3, "two crashes", LONG_S)
    (ward.job_dir("one") / "go").touch()
    (ward.job_dir("two") / "now").touch()
    ward.wait_for({"one": "succeeded", "two": "succeeded"}, within_s=LONG_S)

    ended = [r["evidence"] for r in ward.journal() if r["trigger"] == "ended" and r["job"] == "one"]
    blamed = [node for evidence in ended[:-1] for node in evidence["suspects"]]
    assert len(blamed) == len(set(blamed)) == len(ended) - 1, "never the same one again"
    assert json.loads((ward.attempt_dir("two") / "started.json").read_text())["nodes"] not in blamed
    assert "avoids" in ward.run("why", ward.job_dir("two")).stdout


# The gate

PERF = """\
#!/bin/bash
# Stands in for all_reduce_perf, for there are no GPUs here: as fast as the slowest node it runs on.
[[ $SLURM_PROCID == 0 ]] || exit 0
speed=200.00
[[ ,$(scontrol show hostnames "$SLURM_STEP_NODELIST" | paste -sd,), != *,n2,* ]] || speed=20.00
echo "# nThread 1 nGpus 1 minBytes 1073741824 maxBytes 1073741824 step: 2(factor) warmup iters: 5 iters: 20"
echo "# Using devices"
rank=0
for node in $(scontrol show hostnames "$SLURM_STEP_NODELIST"); do
  for _ in 1 2; do
    echo "#  Rank  $rank Group  0 Pid   400$rank on $node device  0 [0x07] GPU"
    rank=$((rank + 1))
  done
done
times=$(awk -v bus="$speed" -v n="$rank" 'BEGIN { alg = bus * n / (2 * (n - 1))
  printf "%.1f  %.2f  %.2f      0", 1073741824 / alg / 1000, alg, bus }')
names="time   algbw   busbw #wrong"
echo "#       size         count      type   redop    root     $names     $names"
echo "  1073741824     268435456     float     sum      -1  $times  $times"
echo "# Out of bounds values : 0 OK"
echo "# Avg bus bandwidth    : $speed"
"""


def test_a_slow_node_is_found_by_the_gate_and_avoided_by_the_next_attempt(
    ward: "Room", shim: Shim, slurm: Cluster
) -> None:
    perf = shim.folder / "all_reduce_perf"
    perf.write_text(PERF)
    perf.chmod(0o755)
    shutil.copytree(REPOSITORY / "hooks", ward.home / "hooks", dirs_exist_ok=True)
    ward.plan("""\
        one:
          gate: {nccl_gate: {threshold: 100}}
          command: 'echo ran >> ran'
          resources: {nodes: 3, processes_per_node: 2, cpus: 2, options: {mem: 200M}}
          retry: {backoff: 1s}
        """)
    ward.watch()

    ward.wait_for({"one": "succeeded"}, within_s=2 * LONG_S)

    first, second = (json.loads((ward.attempt_dir("one", n) / "gate.json").read_text()) for n in (1, 2))
    assert (first["code"], first["suspects"], second["code"]) == (46, ["n2"], 0)
    assert "n2 is slow" in first["cause"]
    assert (endings(ward), ran(ward)) == (["network", "success"], 1)
    assert slurm.run("squeue", "--noheader", "--states=all", "--format=%N", "--sort=i").splitlines()[-1] == "n[1,3-4]"


# Holding back

FIVE = "work: {sweep: {params: {n: [1, 2, 3, 4, 5]}}, command: 'echo ran >> ran; sleep 1'}\n"


@pytest.mark.parametrize("key", ["max_submitted", "max_running"])
def test_no_more_jobs_are_in_the_queue_than_may_be_or_run_those_of_people_counted(
    ward: "Room", slurm: Cluster, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    on(slurm, ward, monkeypatch, **{key: "3"})
    waits = ("--hold",) if key == "max_running" else ()  # what only waits is none that runs
    for more in ((), *([waits] if waits else [])):
        slurm.run("sbatch", "--parsable", "--mem=50M", "--wrap=sleep 600", "--output=/dev/null", *more)
    running = ("squeue", "--noheader", "--states=R", "--format=%A")
    ward.wait_until(lambda: slurm.run(*running).strip() != "", "what was submitted first to run", LONG_S)
    ward.plan(FIVE)
    ward.watch()

    most, jobs = 0, [f"work-n{n}" for n in range(1, 6)]
    ward.wait_until(
        lambda: f"as many ({key})" in str([row["reason"] for row in ward.rows().values()]), "word of the limit", LONG_S
    )
    while set(ward.states().values()) != {"succeeded"}:
        names = slurm.run("squeue", "--noheader", "--states=PD,R", "--format=%j").splitlines()
        over = {
            name
            for name in names
            for path in ward.root.glob(f"*/jobs/*/attempts/*/run.{name}")
            if (path.parent / "exit.json").exists()
        }  # Slurm may not have noticed yet
        most = max(most, len(names) - len(over))

    assert most == 3 + len(waits)
    assert [ran(ward, job) for job in jobs] == [1] * 5


def test_what_waits_for_room_can_be_held_and_what_has_priority_goes_first(
    ward: "Room", slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(slurm, ward, monkeypatch, max_submitted="1")
    manual = slurm.run("sbatch", "--parsable", "--mem=50M", "--wrap=sleep 600", "--output=/dev/null").strip()
    ward.plan(
        "low: {command: 'date +%s%N > at'}\nheld: {command: 'true'}\nhigh: {priority: 9, command: 'date +%s%N > at'}\n"
    )
    ward.watch()
    ward.wait_until(
        lambda: all("as many" in row["reason"] for row in ward.rows().values()), "word of the limit", LONG_S
    )

    ward.touch("held", "hold")
    ward.wait_for({"held": "held"})
    slurm.run("scancel", manual)
    ward.wait_for({"low": "succeeded", "high": "succeeded"}, within_s=LONG_S)

    low, high = ((ward.job_dir(job) / "at").read_text() for job in ("low", "high"))
    assert int(high) < int(low)


def test_one_look_is_enough_to_submit_all_that_may_be(
    room: "Room", slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = on(slurm, room, monkeypatch, max_submitted="6")
    held = "resources: {options: {hold: true}}"
    ward.plan(f"one: {{command: 'true', sweep: {{params: {{n: [1, 2, 3, 4, 5, 6, 7]}}}}, {held}}}\n")

    done = ward.run("watch", ward.root, "--once")

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(row["state"] for row in ward.rows().values()) == ["queued"] * 6 + ["submitting"]
    assert list(slurm.states().values()).count("PENDING") == 6


def test_one_look_is_enough_to_find_a_job_that_left_nothing(ward: "Room") -> None:
    ward.plan(SLEEPS.replace("retry: {backoff: 1s}", "priority: 0"))
    ward.run("watch", ward.root, "--once")
    ward.wait_until(lambda: ran(ward), "the program")
    kill_all(ward)

    ward.run("watch", ward.root, "--once")

    assert ward.states() == {"one": "failed"}
