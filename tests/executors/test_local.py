import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from autoexp import hosts
from autoexp.errors import TakenOver
from autoexp.events import SubmitRefused, Submitted
from autoexp.executors import open_executor
from autoexp.executors.local import Local
from autoexp.files import write_json
from autoexp.jobfiles import run_script
from autoexp.machine import Machine
from autoexp.model import JobSpec, Resources
from autoexp.orders import Order

Wait = Callable[..., Any]
KEY = os.urandom(4).hex()
"""Other tests may run at the same time, and processes are found by their tokens."""


class Bench:
    """One computer with slots, and jobs made of shell scripts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.earlier: list[Local] = []
        self.executor = Local(Machine(name="bench"), 2, ())

    def opened(self, cpus: int = 2, gpus: int = 0, **machine: Any) -> None:
        """Open another executor, as the next watcher does."""
        self.earlier.append(self.executor)
        self.executor = Local(Machine(name="bench", **machine), cpus, tuple(map(str, range(gpus))))

    def close(self) -> None:
        """Kill and reap whatever was started."""
        while left := list(hosts.carriers("AUTOEXP_ROOT", str(self.folder))):
            for pid in left:
                hosts.send(pid, signal.SIGKILL)
        for executor in (*self.earlier, self.executor):
            for child in (*(running.child for running in executor.running.values()), *executor._leaving):
                if child is not None:
                    with suppress(ProcessLookupError):  # one that had just begun did not carry the variable yet
                        os.killpg(child, signal.SIGKILL)
                    os.waitpid(child, 0)

    def order(self, name: str, script: str = "sleep 60", *, attempt: int = 1, **counts: Any) -> Order:
        job_dir = self.folder / "demo" / "jobs" / name
        attempt_dir = job_dir / "attempts" / f"{attempt:03d}"
        attempt_dir.mkdir(parents=True, exist_ok=True)
        asked = Resources(**counts)
        spec = JobSpec(id=name, study="demo", stage=name, argv=("sh", "-c", script), resources=asked)
        (job_dir / "run.sh").write_text(run_script(spec, str(self.folder)))
        token = f"{name}.{attempt}.{KEY}"
        names = {
            "AUTOEXP_ROOT": str(self.folder),
            "AUTOEXP_STUDY": "demo",
            "AUTOEXP_JOB": name,
            "AUTOEXP_ATTEMPT": str(attempt),
            "AUTOEXP_DIR": str(job_dir),
            "AUTOEXP_TOKEN": token,
        }
        return Order(
            token=token,
            attempt=attempt,
            job_dir=job_dir,
            attempt_dir=attempt_dir,
            resources=asked,
            environment=names,
        )

    def begin(self, *orders: Order) -> None:
        """Submit, and start what fits."""
        for order in orders:
            assert self.executor.submit(order, 1.0) == Submitted(at=1.0, attempt=order.attempt)
        assert self.executor.tend() == []

    def running(self) -> list[str]:
        return [running.order.job_dir.name for running in self.executor.running.values()]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(Bench(tmp_path)) as made:
        yield made


def said(order: Order) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((order.attempt_dir / "exit.json").read_text())
    return found


def has_begun(order: Order) -> Callable[[], bool]:
    return (order.attempt_dir / "started.json").exists


def has_ended(order: Order) -> Callable[[], bool]:
    return (order.attempt_dir / "exit.json").exists


def end(bench: Bench, order: Order, wait: Wait) -> None:
    """Let an attempt end, as the engine hears of it."""
    wait(has_ended(order), "its end")
    bench.executor.forget(order)


# Slots


def test_no_more_run_at_once_than_there_are_cores(bench: Bench) -> None:
    bench.begin(*(bench.order(f"job{number}") for number in range(5)))

    assert bench.running() == ["job0", "job1"]
    assert list(bench.executor.queue) == [f"job{number}.1.{KEY}" for number in (2, 3, 4)]


def test_before_each_start_it_is_asked_whether_somebody_else_watches_by_now(bench: Bench) -> None:
    answers = iter([None, TakenOver("taken over", why="by another", fix="leave it")])

    def check() -> None:
        if (answer := next(answers)) is not None:
            raise answer

    for number in range(2):
        bench.executor.submit(bench.order(f"job{number}"), 1.0)

    with pytest.raises(TakenOver):
        bench.executor.tend(check)

    assert bench.running() == ["job0"]
    assert list(bench.executor.queue) == [f"job1.1.{KEY}"]


def test_a_free_core_goes_to_who_came_first(bench: Bench, wait: Wait) -> None:
    orders = [bench.order("short", "true"), *(bench.order(f"job{number}") for number in range(3))]
    bench.begin(*orders)

    end(bench, orders[0], wait)
    bench.executor.tend()

    assert bench.running() == ["job0", "job1"]


def test_a_large_attempt_is_not_overtaken_by_small_ones(bench: Bench) -> None:
    bench.opened(cpus=4)
    bench.begin(bench.order("small", cpus=2), bench.order("large", cpus=3), bench.order("tiny", cpus=1))

    assert bench.running() == ["small"]


def test_an_attempt_that_wants_more_cores_than_there_are_gets_them_all(bench: Bench) -> None:
    bench.begin(bench.order("huge", cpus=99), bench.order("small"))

    assert bench.running() == ["huge"]


def test_each_gpu_is_one_attempts_own(bench: Bench, wait: Wait) -> None:
    bench.opened(cpus=8, gpus=3)
    script = "echo $CUDA_VISIBLE_DEVICES; sleep 60"
    orders = [bench.order(name, script, gpus_per_node=count) for name, count in (("a", 1), ("b", 2), ("c", 1))]
    bench.begin(*orders)

    wait(lambda: all((order.attempt_dir / "output.log").read_text() for order in orders[:2]))

    assert [(order.attempt_dir / "output.log").read_text() for order in orders[:2]] == ["0\n", "1,2\n"]
    assert bench.running() == ["a", "b"]


def test_who_waits_for_a_gpu_does_not_hold_up_who_needs_none(bench: Bench) -> None:
    bench.opened(cpus=8, gpus=1)
    bench.begin(bench.order("a", gpus_per_node=1), bench.order("b", gpus_per_node=1), bench.order("c"))

    assert bench.running() == ["a", "c"]


@pytest.mark.parametrize(
    "asked", [pytest.param({"gpus_per_node": 1}, id="GPUs"), pytest.param({"nodes": 2}, id="nodes")]
)
def test_what_this_computer_can_never_run_is_refused_with_the_fix(bench: Bench, asked: dict[str, int]) -> None:
    refused = bench.executor.submit(bench.order("huge", "true", **asked), 1.0)

    assert isinstance(refused, SubmitRefused)
    assert not refused.temporary
    assert "this computer has 0" in refused.reason
    assert "--machine NAME" in refused.fix


def test_counting_the_slots_is_left_to_the_machine_file_or_to_this_host() -> None:
    given = open_executor(Machine(name="bench", cpus=3, gpus=5))
    counted = open_executor(Machine(name="bench"))

    assert isinstance(given, Local)
    assert (given.cpus, given.gpus) == (3, ("0", "1", "2", "3", "4"))
    assert isinstance(counted, Local)
    assert counted.cpus == len(os.sched_getaffinity(0))


def test_an_attempt_submitted_twice_waits_once(bench: Bench) -> None:
    order = bench.order("one")
    bench.begin(order, order)
    bench.begin(order)

    assert (bench.running(), bench.executor.queue) == (["one"], {})


# What a job sees


def test_a_job_sees_its_own_variables_and_no_others(bench: Bench, wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "sings")
    monkeypatch.setenv("CLUSTER", "lumi")
    monkeypatch.setenv("TMPDIR", "/somewhere")
    monkeypatch.setenv("AUTOEXP_VAR", "/elsewhere")
    bench.opened(environment=("CLUSTER", "NOT_SET"))
    order = bench.order("one", "env -0 > seen; pwd > where")
    bench.begin(order)
    end(bench, order, wait)

    text = (order.job_dir / "seen").read_text()
    seen = dict(entry.split("=", 1) for entry in text.split("\0") if entry)
    by_bash = {"PWD", "OLDPWD", "SHLVL", "_"}
    inherited = {name for name in ("PATH", "HOME", "USER", "LANG", "TMPDIR") if name in os.environ}
    assert seen.keys() - by_bash == {*order.environment, *inherited, "CLUSTER", "OMP_NUM_THREADS"}
    assert {name: seen[name] for name in order.environment} == order.environment
    assert (seen["AUTOEXP_ATTEMPT"], seen["TMPDIR"]) == ("1", "/somewhere")
    assert (order.job_dir / "where").read_text() == f"{order.job_dir}\n"


def test_a_job_has_no_input_and_its_output_is_appended_to_its_log(bench: Bench, wait: Wait) -> None:
    order = bench.order("one", "cat; echo out; echo err >&2")
    (order.attempt_dir / "output.log").write_text("before\n")
    bench.begin(order)
    end(bench, order, wait)

    assert (order.attempt_dir / "output.log").read_text() == "before\nout\nerr\n"


def test_a_job_is_a_session_of_its_own(bench: Bench, wait: Wait) -> None:
    order = bench.order("one")
    bench.begin(order)
    wait(has_begun(order))

    pid = json.loads((order.attempt_dir / "started.json").read_text())["pid"]
    assert os.getsid(pid) == pid != os.getsid(0)


def test_a_path_with_everything_odd_in_it_works(tmp_path: Path, wait: Wait) -> None:
    odd = tmp_path / "a b'c\"d$e;f\\g\nh"
    with closing(Bench(odd)) as bench:
        order = bench.order("one", "pwd > where")
        bench.begin(order)
        end(bench, order, wait)

    assert (order.job_dir / "where").read_text() == f"{order.job_dir}\n"
    assert said(order)["code"] == 0


# run.sh


def test_run_sh_says_who_began_and_how_it_ended(bench: Bench, wait: Wait) -> None:
    order = bench.order("one", "exit 7")
    bench.begin(order)
    end(bench, order, wait)

    begun = json.loads((order.attempt_dir / "started.json").read_text())
    assert (begun["token"], begun["host"], begun["boot_id"]) == (order.token, hosts.hostname(), hosts.boot_id())
    assert begun["id"] == str(begun["pid"]) == (order.attempt_dir / f"run.{order.token}").read_text().strip()
    assert {name: said(order)[name] for name in ("code", "signal", "asked")} == {"code": 7, "signal": 0, "asked": ""}


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [
        pytest.param("kill -9 $$", 137, 9, id="killed"),
        pytest.param("kill -11 $$", 139, 11, id="a segmentation fault"),
        pytest.param("exec /no/such/program", 127, 0, id="no such program"),
    ],
)
def test_run_sh_says_what_ended_the_program(bench: Bench, wait: Wait, script: str, code: int, number: int) -> None:
    order = bench.order("one", script)
    bench.begin(order)
    end(bench, order, wait)

    assert (said(order)["code"], said(order)["signal"]) == (code, number)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
def test_run_sh_passes_a_signal_on_and_says_that_it_was_asked(bench: Bench, wait: Wait, name: str) -> None:
    order = bench.order("one", f"trap 'echo got >> log; exit 5' {name}; touch ready; while :; do sleep 0.01; done")
    bench.begin(order)
    wait((order.job_dir / "ready").exists)

    os.kill(json.loads((order.attempt_dir / "started.json").read_text())["pid"], getattr(signal, f"SIG{name}"))
    end(bench, order, wait)

    assert (said(order)["code"], said(order)["asked"]) == (5, name)
    assert (order.job_dir / "log").read_text() == "got\n"


def test_run_sh_by_hand_runs_the_command_and_claims_nothing(bench: Bench) -> None:
    order = bench.order("one", "echo $AUTOEXP_JOB $AUTOEXP_DIR; exit 3")

    done = subprocess.run(
        ["bash", order.job_dir / "run.sh"],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": os.environ["PATH"]},
    )

    assert (done.returncode, done.stdout) == (3, f"one {order.job_dir}\n")
    assert list(order.attempt_dir.iterdir()) == []


def test_of_two_starts_of_an_attempt_one_runs(bench: Bench, wait: Wait) -> None:
    order = bench.order("one", "echo ran >> runs; sleep 0.2")
    command = ["bash", str(order.job_dir / "run.sh")]
    variables = {"PATH": os.environ["PATH"], **order.environment}
    starts = [subprocess.Popen(command, env=variables, start_new_session=True) for _ in range(5)]

    assert [start.wait() for start in starts] == [0] * 5
    wait(has_ended(order))
    assert (order.job_dir / "runs").read_text() == "ran\n"


def test_a_gate_stands_before_the_program(bench: Bench, wait: Wait) -> None:
    order = bench.order("one")
    gate = ("sh", "-c", 'echo "$@" > gated; exit 46', "gate")
    spec = JobSpec(id="one", study="demo", stage="one", argv=("touch", "ran"), gate=gate)
    (order.job_dir / "run.sh").write_text(run_script(spec, str(bench.folder)))
    bench.begin(order)
    end(bench, order, wait)

    assert said(order)["code"] == 46
    assert (order.job_dir / "gated").read_text() == "--output attempts/001/gate.json\n"
    assert not (order.job_dir / "ran").exists()


# Alive or not


def test_a_queued_and_a_running_attempt_are_alive_and_an_ended_one_is_not(bench: Bench, wait: Wait) -> None:
    bench.opened(cpus=1)
    orders = [bench.order("short", "true"), bench.order("queued")]
    bench.begin(*orders)

    assert bench.executor.alive(orders[1]) is True
    wait(has_ended(orders[0]))
    wait(lambda: bench.executor.alive(orders[0]) is False)


def test_an_attempt_that_was_just_started_is_alive_before_it_says_so(bench: Bench) -> None:
    order = bench.order("one")
    bench.begin(order)

    assert bench.executor.alive(order) is True


def test_a_second_start_that_lost_does_not_make_the_first_one_dead(bench: Bench, wait: Wait) -> None:
    """A watcher killed right after a start starts again; the loser ends before the winner has said who it is."""
    order = bench.order("one")
    with subprocess.Popen(["sleep", "60"], env=order.environment, start_new_session=True) as winner:
        wait(lambda: winner.pid in set(hosts.carriers("AUTOEXP_TOKEN", order.token)))  # it may be about to exec
        (order.attempt_dir / f"run.{order.token}").write_text(f"{winner.pid}\n")
        bench.begin(order)
        wait(lambda: not _runs_loser(bench, order))

        assert bench.executor.alive(order) is True
        assert winner.poll() is None
        winner.kill()


def _runs_loser(bench: Bench, order: Order) -> bool:
    child = bench.executor.running[order.token].child
    return child is not None and hosts.start_time(child) is not None


def test_an_attempt_whose_run_sh_was_killed_is_not_alive_and_nothing_of_it_stays(bench: Bench, wait: Wait) -> None:
    order = bench.order("one", "setsid sleep 60 & sleep 60")
    bench.begin(order)
    wait(lambda: len(list(hosts.carriers("AUTOEXP_TOKEN", order.token))) == 4)

    os.kill(json.loads((order.attempt_dir / "started.json").read_text())["pid"], signal.SIGKILL)

    wait(lambda: bench.executor.alive(order) is False)
    wait(lambda: not list(hosts.carriers("AUTOEXP_TOKEN", order.token)), "the end of what it left")


@pytest.mark.parametrize("text", ["{", "{}", '{"token":"one.1.KEY"}', '{"token":"one.1.KEY","pid":"x","start_time":1}'])
def test_a_spoilt_started_json_tells_nothing(bench: Bench, text: str) -> None:
    order = bench.order("one")
    (order.attempt_dir / "started.json").write_text(text.replace("KEY", KEY))

    assert bench.executor.alive(order) is False


# Taking over from an earlier watcher


def test_a_running_attempt_is_taken_over_with_its_slots(bench: Bench, wait: Wait) -> None:
    bench.opened(cpus=8, gpus=2)
    first = bench.order("first", gpus_per_node=1)
    bench.begin(first)
    wait(has_begun(first))

    bench.opened(cpus=8, gpus=2)
    bench.executor.adopt(first, began=True)
    second = bench.order("second", gpus_per_node=1)
    bench.begin(second)

    assert bench.executor.running[first.token].gpus == ("0",)
    assert bench.executor.running[second.token].gpus == ("1",)
    assert bench.executor.alive(first) is True


def test_no_gpu_is_handed_out_while_an_attempt_of_before_does_not_say_which_it_has(bench: Bench) -> None:
    first, second = bench.order("first", gpus_per_node=1), bench.order("second", gpus_per_node=1)
    (first.attempt_dir / f"run.{first.token}").touch()
    bench.opened(cpus=8, gpus=2)
    bench.executor.adopt(first, began=False)
    bench.begin(second)
    assert bench.running() == ["first"]

    write_json(first.attempt_dir / "started.json", {"gpus": "0"})
    bench.executor.tend()

    assert bench.executor.running[second.token].gpus == ("1",)


def test_what_an_attempt_says_that_it_has_comes_before_what_it_was_given(bench: Bench, wait: Wait) -> None:
    """A watcher was killed when it had just started it; the next one started it again, with another GPU, in vain."""
    first = bench.order("first", gpus_per_node=1)
    bench.opened(cpus=8, gpus=2)
    bench.begin(first)
    wait(has_begun(first))
    assert bench.executor.running[first.token].gpus == ("0",)
    write_json(first.attempt_dir / "started.json", {"gpus": "1"})

    second = bench.order("second", gpus_per_node=1)
    bench.begin(second)

    assert bench.executor.running[second.token].gpus == ("0",)


def test_an_attempt_whose_files_cannot_be_read_keeps_its_gpus_and_can_be_stopped(bench: Bench, wait: Wait) -> None:
    first, second = bench.order("first", gpus_per_node=1), bench.order("second", gpus_per_node=1)
    bench.opened(cpus=8, gpus=2)
    bench.begin(first)
    wait(has_begun(first))
    (first.attempt_dir / "started.json").unlink()
    (first.attempt_dir / "started.json").symlink_to("started.json")

    bench.begin(second)
    bench.executor.forget(first)

    assert bench.running() == []
    wait(lambda: not list(hosts.carriers("AUTOEXP_TOKEN", first.token)))  # a killed process takes a moment to go


def test_while_an_attempt_has_gpus_of_other_names_none_is_handed_out(bench: Bench) -> None:
    first, second = bench.order("first", gpus_per_node=1), bench.order("second", gpus_per_node=1)
    write_json(first.attempt_dir / "started.json", {"gpus": "GPU-8a5c"})
    bench.opened(cpus=8, gpus=2)
    bench.executor.adopt(first, began=True)

    bench.begin(second)

    assert bench.running() == ["first"]


def test_a_submitted_attempt_that_never_began_is_queued_again(bench: Bench) -> None:
    order = bench.order("one")

    bench.executor.adopt(order, began=False)

    assert list(bench.executor.queue) == [order.token]


def test_a_claimed_attempt_is_not_started_again(bench: Bench) -> None:
    order = bench.order("one")
    (order.attempt_dir / f"run.{order.token}").touch()

    bench.executor.adopt(order, began=False)

    assert (list(bench.executor.queue), bench.running()) == ([], ["one"])


# Taking back


def test_a_queued_attempt_is_taken_back_for_certain(bench: Bench, wait: Wait) -> None:
    bench.opened(cpus=1)
    orders = [bench.order("first"), bench.order("second")]
    bench.begin(*orders)
    wait((orders[0].attempt_dir / f"run.{orders[0].token}").exists)

    assert [bench.executor.withdraw(orders[1]) for _ in range(2)] == [True, True]
    assert bench.executor.withdraw(orders[0]) is False


def test_an_attempt_that_is_taken_back_never_runs_even_if_it_was_started_already(bench: Bench) -> None:
    """By a watcher that was killed a moment ago, say, so that it has not claimed its attempt yet."""
    bench.opened(cpus=1)
    order = bench.order("one")
    assert bench.executor.withdraw(order) is True

    environment = {"PATH": os.environ["PATH"], **order.environment}
    late = subprocess.run(["bash", order.job_dir / "run.sh"], env=environment, capture_output=True, check=False)

    assert (late.returncode, late.stdout, late.stderr) == (0, b"", b"")
    assert [path.name for path in order.attempt_dir.iterdir()] == [f"run.{order.token}"]


# Stopping


def stop(bench: Bench, order: Order, grace_s: float, wait: Wait) -> float:
    """Stop an attempt, as an engine does; return how long it took."""
    began = time.monotonic()
    bench.executor.stop(order, grace_s)

    def tended() -> bool:
        bench.executor.tend()
        return has_ended(order)()

    wait(tended, "its end")
    return time.monotonic() - began


def test_a_program_is_asked_politely_and_so_is_all_of_its_group(bench: Bench, wait: Wait) -> None:
    child = "trap 'echo child >> log; exit' TERM; touch ready; while :; do sleep 0.01; done"
    order = bench.order(
        "one", f"trap 'echo parent >> log; wait; exit 0' TERM; ({child}) & while :; do sleep 0.01; done"
    )
    bench.begin(order)
    wait((order.job_dir / "ready").exists)

    stop(bench, order, 20.0, wait)

    assert sorted((order.job_dir / "log").read_text().split()) == ["child", "parent"]
    assert said(order)["code"] == 0


def test_a_program_that_does_not_listen_is_killed_when_its_grace_is_over(bench: Bench, wait: Wait) -> None:
    order = bench.order("one", "trap '' TERM; touch ready; while :; do sleep 0.01; done")
    bench.begin(order)
    wait((order.job_dir / "ready").exists)

    took = stop(bench, order, 0.5, wait)

    assert (said(order)["code"], said(order)["signal"]) == (137, 9)
    assert took >= 0.5


def test_a_child_in_a_session_of_its_own_does_not_outlive_a_stop(bench: Bench, wait: Wait) -> None:
    order = bench.order("one", "setsid sh -c 'trap \"\" TERM; touch ready; while :; do sleep 0.01; done' & wait")
    bench.begin(order)
    wait((order.job_dir / "ready").exists)

    stop(bench, order, 20.0, wait)
    bench.executor.forget(order)

    wait(lambda: not list(hosts.carriers("AUTOEXP_TOKEN", order.token)), "the end of all of it")


def test_a_suspended_program_is_woken_to_hear_that_it_shall_stop(bench: Bench, wait: Wait) -> None:
    order = bench.order("one", "trap 'exit 9' TERM; touch ready; while :; do sleep 0.01; done")
    bench.begin(order)
    wait((order.job_dir / "ready").exists)
    for pid in hosts.group_of(json.loads((order.attempt_dir / "started.json").read_text())["pid"]):
        os.kill(pid, signal.SIGSTOP)

    took = stop(bench, order, 20.0, wait)

    assert said(order)["code"] == 9
    assert took < 10.0


def test_asking_again_gives_no_more_time(bench: Bench, wait: Wait) -> None:
    order = bench.order("one", "trap '' TERM; touch ready; while :; do sleep 0.01; done")
    bench.begin(order)
    wait((order.job_dir / "ready").exists)
    bench.executor.stop(order, 0.3)

    assert stop(bench, order, 60.0, wait) < 10.0


def test_an_attempt_can_be_stopped_before_its_program_is_there(bench: Bench, wait: Wait) -> None:
    order = bench.order("one")
    bench.begin(order)

    stop(bench, order, 20.0, wait)

    assert said(order)["signal"] == signal.SIGTERM


def test_stopping_what_is_over_occupies_nothing(bench: Bench, wait: Wait) -> None:
    order = bench.order("one", "true")
    bench.begin(order)
    end(bench, order, wait)
    wait(lambda: not bench.executor.alive(order), "the kernel to have done with it")

    bench.executor.stop(order, 1.0)

    assert (bench.running(), bench.executor.due_in_s()) == ([], None)


def test_only_a_stopping_attempt_asks_to_be_looked_after(bench: Bench, wait: Wait) -> None:
    order = bench.order("one", "trap '' TERM; sleep 60")
    bench.begin(order)
    wait(has_begun(order))
    before = bench.executor.due_in_s()

    bench.executor.stop(order, 60.0)

    assert (before, bench.executor.due_in_s()) == (None, 0.2)


# Mishaps


@pytest.mark.parametrize("lost", ["attempts/001", "."])
def test_an_attempt_whose_directory_is_gone_is_refused_for_now(bench: Bench, lost: str) -> None:
    order = bench.order("one")
    bench.executor.submit(order, 1.0)
    subprocess.run(["rm", "-rf", order.job_dir / lost], check=True)

    ((token, refused),) = bench.executor.tend()

    assert token == order.token
    assert isinstance(refused, SubmitRefused)
    assert refused.temporary
    assert "could not be started" in refused.reason
    assert bench.executor.running == {}


def test_a_child_that_somebody_else_has_reaped_is_none_of_ours_any_more(bench: Bench, wait: Wait) -> None:
    order = bench.order("one", "true")
    bench.begin(order)
    os.waitpid(bench.executor.running[order.token].child or 0, 0)
    end(bench, order, wait)

    bench.executor.tend()

    assert bench.executor._leaving == []


def test_no_zombie_is_left_behind(bench: Bench, wait: Wait) -> None:
    order = bench.order("one", "true")
    bench.begin(order)
    child = bench.executor.running[order.token].child
    end(bench, order, wait)

    wait(lambda: bench.executor.tend() == [] and not Path(f"/proc/{child}").exists())
