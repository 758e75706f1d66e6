"""The engine, in this process where something has to be seen from inside, otherwise as the program itself."""

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import assume, given
from hypothesis import strategies as st

from autoexp import lease, probe
from autoexp.engine import Engine
from autoexp.errors import AlreadyWatched
from autoexp.events import Event, SubmitLost
from autoexp.executor import Executors
from autoexp.executors.local import Local, open_executor
from autoexp.files import read_json, read_record
from autoexp.hosts import carriers
from autoexp.machine import Machine
from autoexp.model import Transition
from autoexp.orders import Order
from autoexp.polling import Folder
from autoexp.registry import Key
from autoexp.view import view
from autoexp.watch import EVERYTHING, Hint
from autoexp.watching import until_done, watching

if TYPE_CHECKING:
    from tests.conftest import Room


@contextmanager
def engine_of(
    room: "Room", *moves: Callable[[list[Transition]], None], executors: Executors | None = None
) -> Iterator[Engine]:
    """Watch a room in this process."""
    listener = moves[0] if moves else lambda _: None
    var = lease.var_of(room.root)
    with watching(room.root, var, "inotify", structlog.get_logger(), listener, executors=executors) as engine:
        yield engine


def shape(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_mtime_ns)
    return found


# The journal comes first, and is all there is


EVENTFUL = """
one: {command: 'true'}
retried: {retry: {backoff: 0.1s}, command: 'test -e again || { touch again; false; }'}
lost: {retry: {max_attempts: 1}, command: echo words; exit 3}
skipped: {needs: lost, command: 'true'}
after: {needs: [one, retried], command: 'true'}
eval: {each: {job: [one, after]}, command: [echo, '${job}']}
gated: {gate: quick, command: 'true'}
held: {command: 'true'}
"""
GATE = """
import json, sys; from pathlib import Path
Path(sys.argv[sys.argv.index("--output") + 1]).write_text(json.dumps({"code": 0, "busbw_gbps": 200.5}))
"""
STATES = {
    "one": "succeeded",
    "retried": "succeeded",
    "lost": "failed",
    "skipped": "skipped",
    "after": "succeeded",
    "eval-one": "succeeded",
    "eval-after": "succeeded",
    "gated": "succeeded",
    "held": "held",
}


def test_replaying_the_journal_yields_the_very_jobs_that_were_in_memory(room: "Room") -> None:
    room.write("hooks/quick.py", GATE)
    room.plan(EVENTFUL)
    room.touch("held", "hold")

    with engine_of(room) as engine:
        engine.run(until_done())
        in_memory = dict(engine.registry.all_jobs())
    replayed = dict(view(room.root).registry.all_jobs())

    assert {key.job: job.state for key, job in in_memory.items()} == STATES
    assert replayed == in_memory


def test_replaying_the_journal_does_nothing(room: "Room") -> None:
    room.plan("one: {command: 'true'}\ntwo: {needs: one, command: 'true'}\n")
    room.run("watch", room.root, "--once")
    before = shape(room.home)

    view(room.root)

    assert shape(room.home) == before


def test_nothing_is_done_before_its_line_is_in_the_journal(room: "Room") -> None:
    room.write(
        "hooks/witness.py",
        """
        from autoexp.history import History
        def prepare(folder, journal):
            lines = [(r["job"], r["trigger"], tuple(r["actions"])) for r in History(journal_of(journal)).records()]
            (folder / "witness").write_text(repr(lines[-1]))
            return {}
        def journal_of(text):
            from pathlib import Path
            return Path(text)
        """,
    )
    room.plan(f"one: {{prepare: {{witness: {{journal: {room.var / 'journal'}}}}}, command: 'true'}}\n")

    room.run("watch", room.root, "--until-done")

    witnessed = (room.job_dir("one") / "witness").read_text()
    assert witnessed == repr(("one", "conditions_met", ("submit one attempt 1",)))


def test_who_loses_the_lease_in_the_middle_finishes_only_the_action_it_is_at(room: "Room") -> None:
    room.write(
        "hooks/usurp.py",
        """
        import json
        def prepare(folder, lease):
            with open(lease) as file:
                record = json.load(file)
            record.update(nonce="another", host="elsewhere", pid=77)
            with open(lease + ".new", "w") as file:
                json.dump(record, file)
            import os
            os.replace(lease + ".new", lease)
            return {}
        """,
    )
    prepare = f"prepare: {{usurp: {{lease: {room.root / '.autoexp' / 'lease.json'}}}}}"
    room.plan(f"one: {{{prepare}, command: 'true'}}\ntwo: {{{prepare}, command: 'true'}}\n")

    with pytest.raises(AlreadyWatched, match="by pid 77 on elsewhere"), engine_of(room) as engine:
        engine.run(until_done())

    assert (room.job_dir("one") / "current.log").is_symlink()
    assert not (room.job_dir("two") / "attempts").exists()
    assert not (room.attempt_dir("one") / "started.json").exists()
    assert json.loads((room.root / ".autoexp" / "lease.json").read_text())["nonce"] == "another"


def test_the_heart_beats_while_a_hook_takes_its_time(room: "Room") -> None:
    """Copying a checkpoint takes minutes, and the lease of who cannot be seen is free after seconds."""
    room.write(
        "hooks/slow.py",
        """
        import json, time
        def prepare(folder, lease):
            beat = lambda: json.loads(open(lease).read())["beat"]
            began, end = beat(), time.monotonic() + 30
            while beat() < began + 2 and time.monotonic() < end:
                time.sleep(0.05)
            (folder / "beats").write_text(str(beat() - began))
            return {}
        """,
    )
    room.plan(f"one: {{prepare: {{slow: {{lease: {room.root / '.autoexp' / 'lease.json'}}}}}, command: 'true'}}\n")

    room.run("watch", room.root, "--until-done")

    assert (room.job_dir("one") / "beats").read_text() == "2"


def test_the_heart_beats_from_one_look_to_the_next(room: "Room", monkeypatch: pytest.MonkeyPatch) -> None:
    """A look may read megabytes of log, and there may be thousands of them."""
    room.plan("a: {sweep: {params: {i: [1, 2, 3, 4]}}, command: sleep 60}\n")
    done: list[str] = []

    def beat(held: lease.Lease, _: float) -> None:
        done.append("beat")
        held.check()

    look_itself = probe.look

    def look(*asked: Any, **known: Any) -> Any:
        done.append("look")
        return look_itself(*asked, **known)

    with engine_of(room) as engine:
        engine.wake({EVERYTHING})
        monkeypatch.setattr(lease.Lease, "beat", beat)
        monkeypatch.setattr(probe, "look", look)
        engine.wake({EVERYTHING})
    for pid in carriers("AUTOEXP_ROOT", str(room.root)):
        os.kill(pid, signal.SIGKILL)

    looks = [place for place, what in enumerate(done) if what == "look"]
    assert len(looks) == 4
    assert all(done[place - 1] == "beat" for place in looks)


def drop(folder: Path, verb: str) -> None:
    """Drop a marker, later than any before it."""
    (folder / verb).touch()
    time.sleep(0.02)


@pytest.mark.parametrize(
    ("drops", "state"),
    [
        ([("job", "hold"), ("study", "cancel")], "cancelled"),
        ([("study", "hold"), ("job", "cancel")], "cancelled"),
        ([("job", "hold"), ("job", "release"), ("study", "hold")], "held"),
        ([("study", "hold"), ("job", "release")], "succeeded"),
        ([("job", "release"), ("study", "hold")], "held"),
    ],
)
@pytest.mark.parametrize("known", [False, True], ids=["before any watcher", "between two"])
def test_markers_of_a_job_and_of_its_study_are_obeyed_in_the_order_they_were_dropped_in(
    room: "Room", drops: list[tuple[str, str]], state: str, *, known: bool
) -> None:
    room.plan("one: {start: {file_exists: {path: go}}, command: 'true'}\n")
    if known:
        room.run("watch", room.root, "--once")
    (room.job_dir("one") / "go").touch()
    folders = {"job": room.job_dir("one") / "markers", "study": room.root / "demo" / "markers"}
    for where, verb in drops:
        drop(folders[where], verb)

    room.run("watch", room.root, "--until-done")

    assert room.states() == {"one": state}


class Killed(BaseException):
    """The watcher ends here."""


def test_a_restart_takes_back_what_was_taken_back_before_anything_else_begins(
    room: "Room", monkeypatch: pytest.MonkeyPatch
) -> None:
    room.machine(cpus=1)
    room.plan(
        "a: {sweep: {params: {i: [1, 2, 3, 4]}}, command: 'echo ran; until test -e ../go; do sleep 0.01; done'}\n"
    )

    def withdraw(_: Local, order: Order) -> bool:
        raise Killed(order.token)

    with engine_of(room) as engine:
        engine.run(lambda engine: _is(engine, "a-i1", "running"))
        (room.root / "demo" / "markers" / "cancel").touch()
        monkeypatch.setattr(Local, "withdraw", withdraw)
        with pytest.raises(Killed):
            engine.run(until_done())
    monkeypatch.undo()
    assert [line["to"] for line in room.journal()].count("stopping")
    (room.root / "demo" / "jobs" / "go").touch()
    room.wait_until((room.attempt_dir("a-i1") / "exit.json").exists)
    monkeypatch.setattr("autoexp.debts.AT_A_TIME", 1)
    with engine_of(room) as engine:
        engine.run(until_done())

    begun = [record["job"] for record in room.journal() if record["trigger"] == "started"]
    assert begun == ["a-i1"]
    assert set(room.states().values()) <= {"cancelled", "succeeded"}


def test_a_restart_does_what_is_owed_for_some_jobs_and_looks_in_between(
    room: "Room", monkeypatch: pytest.MonkeyPatch
) -> None:
    room.plan("a: {sweep: {params: {i: [1, 2, 3]}}, command: 'true'}\n")

    def submit(_: Local, order: Order, at: float) -> Event:
        raise Killed(order.token, at)

    monkeypatch.setattr(Local, "submit", submit)
    with pytest.raises(Killed), engine_of(room):
        pass
    monkeypatch.undo()
    assert set(room.states().values()) == {"submitting"}
    monkeypatch.setattr("autoexp.debts.AT_A_TIME", 1)
    still: list[int] = []

    def done(engine: Engine) -> bool:
        still.append(_count(engine, "submitting"))
        return not engine.unfinished()

    with engine_of(room) as engine:
        engine.run(done)

    assert still[:3] == [2, 1, 0]
    assert set(room.states().values()) == {"succeeded"}
    assert [record["trigger"] for record in room.journal()].count("started") == 3


def _count(engine: Engine, state: str) -> int:
    return sum(job.state == state for _, job in engine.registry.all_jobs())


class Deaf:
    """An observer that loses every notification."""

    name = "deaf"

    def add(self, folder: Folder, hint: Hint) -> None:
        pass

    def remove(self, folder: Folder) -> None:
        pass

    def wait(self, timeout_s: float) -> set[Hint]:
        time.sleep(timeout_s)
        return set()

    def close(self) -> None:
        pass


def test_a_lost_notification_costs_a_sweep_and_no_event(room: "Room") -> None:
    room.machine(sweep="0.2s")
    room.plan(EVENTFUL.replace("gate: quick, ", ""))
    room.touch("held", "hold")

    with engine_of(room) as engine:
        engine.observer.close()
        engine.observer = Deaf()
        engine.run(until_done())

    assert room.states() == STATES


def test_looking_often_leaves_one_alarm_a_job(room: "Room") -> None:
    room.plan("one: {stall: {no_progress: 10m}, command: 'for i in $(seq 200); do echo $i; done; sleep 60'}\n")

    with engine_of(room) as engine:
        engine.run(lambda engine: bool(engine.progress.jobs) or _is(engine, "one", "running"))
        for _ in range(100):
            engine.wake({Key("demo", "one")})
        alarms = len(engine._alarms._queue)

    assert alarms <= 2


def _is(engine: Engine, job: str, state: str) -> bool:
    return engine.registry.job(Key("demo", job)).state == state


# Submissions nobody heard the answer to


class Lossy(Local):
    """This computer, which loses its first answers, whether it took the attempt or not."""

    def __init__(self, local: Local, *, took: bool, times: int) -> None:
        super().__init__(local.machine, local.cpus, local.gpus)
        self.took, self.times, self.asked = took, times, 0

    def submit(self, order: Order, at: float) -> Event:
        self.asked += 1
        if self.asked > self.times:
            return super().submit(order, at)
        if self.took:
            super().submit(order, at)
        return SubmitLost(at=at, attempt=order.attempt, reason="no answer came")


@pytest.mark.parametrize("took", [True, False], ids=["taken", "not taken"])
def test_a_lost_submission_is_submitted_again_when_its_time_has_come(room: "Room", *, took: bool) -> None:
    room.plan("one: {command: 'echo ran >> runs'}\n")

    lossy = Lossy(open_executor(Machine(name="bench", cpus=4, gpus=0)), took=took, times=1)
    with engine_of(room, executors=Executors({"bench": lossy})) as engine:
        engine.run(until_done())

    assert room.states() == {"one": "succeeded"}
    assert (room.job_dir("one") / "runs").read_text() == "ran\n"
    lost = [line for line in room.journal() if line["trigger"] == "submit_lost"]
    assert [line["set"]["reason"] for line in lost] == ["no answer came"]
    assert lossy.asked == 2
    assert {line["attempt"] for line in room.journal() if line["trigger"] != "planned"} == {1}


# Killed at any moment


TWELVE = """
first: {command: echo ran first $AUTOEXP_ATTEMPT}
second: {needs: first, command: echo ran second $AUTOEXP_ATTEMPT; sleep 0.05}
flaky: {retry: {backoff: 0.05s}, command: 'echo ran flaky $AUTOEXP_ATTEMPT; test $AUTOEXP_ATTEMPT = 3'}
after: {needs: [second, flaky], command: echo ran after $AUTOEXP_ATTEMPT}
hopeless: {retry: {max_attempts: 2, backoff: 0.05s}, command: 'echo ran hopeless $AUTOEXP_ATTEMPT; exit 1'}
orphan: {needs: hopeless, command: echo ran orphan $AUTOEXP_ATTEMPT}
wide: {sweep: {params: {n: [1, 2, 3]}}, command: 'echo ran wide $AUTOEXP_ATTEMPT; sleep 0.1'}
eval: {each: {job: [first, wide]}, command: 'echo ran eval $AUTOEXP_ATTEMPT; sleep 0.05'}
sum: {each: {job: eval}, needs: first, command: echo ran sum $AUTOEXP_ATTEMPT}
"""
ATTEMPTS = {
    **dict.fromkeys(("first", "second", "after", "wide-n1", "wide-n2", "wide-n3"), 1),
    **{
        f"{stage}{parent}": 1
        for stage in ("eval-", "sum-eval-")
        for parent in ("first", "wide-n1", "wide-n2", "wide-n3")
    },
    "flaky": 3,
    "hopeless": 2,
    "orphan": 0,
}


@pytest.mark.parametrize("seed", range(4))
def test_a_watcher_killed_at_random_moments_loses_nothing_and_runs_nothing_twice(room: "Room", seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - it has to be the same again
    room.machine(cpus=3)
    room.plan(TWELVE)

    for _ in range(6):
        watcher = room.start("watch", room.root, "--until-done")
        room.wait_until(lambda: lease.holder(room.root) or room.watchers[-1].poll() is not None)
        moment = chance.uniform(0.0, 0.35)
        room.wait_until_after(moment)
        print(f"seed {seed}: killed after {moment:.3f} s")  # noqa: T201 - to see which moment it was
        room.stop(watcher, signal.SIGKILL)
    done = room.run("watch", room.root, "--until-done")

    assert done.returncode == 1, done.stderr
    rows = room.rows()
    assert {name: row["attempt"] for name, row in rows.items()} == ATTEMPTS
    states = Counter(row["state"] for row in rows.values())
    assert states == {"succeeded": len(ATTEMPTS) - 2, "failed": 1, "skipped": 1}
    for name, attempts in ATTEMPTS.items():
        folders = sorted(path.name for path in (room.job_dir(name) / "attempts").glob("*"))
        assert folders == [f"{number:03d}" for number in range(1, attempts + 1)]
        for number in range(1, attempts + 1):
            attempt = room.attempt_dir(name, number)
            stage = rows[name]["stage"]
            assert (attempt / "output.log").read_text() == f"ran {stage} {number}\n"
            assert len(list(attempt.glob("run.*"))) == 1
            assert (attempt / "started.json").exists()
    checked = room.inside("replay", room.root, "--check", "--json")
    assert (checked["breaks"], checked["differences"]) == ([], [])


def test_a_watcher_killed_between_a_parents_success_and_its_childs_start_loses_no_child(room: "Room") -> None:
    room.plan("one: {command: 'true'}\ntwo: {needs: one, command: 'true'}\n")
    room.run("watch", room.root, "--until-done")
    path = room.var / "journal" / "1.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    last = next(n for n, line in enumerate(lines) if '"job":"two","attempt":1,"trigger":"conditions_met"' in line)
    path.write_text("".join(lines[:last]))
    shutil.rmtree(room.job_dir("two") / "attempts")

    assert room.run("watch", room.root, "--until-done").returncode == 0
    assert room.states() == {"one": "succeeded", "two": "succeeded"}


def test_a_lost_var_runs_nothing_again(room: "Room") -> None:
    stages = "one: {retry: {backoff: 0.05s}, command: 'echo ran >> runs; test $AUTOEXP_ATTEMPT = 2'}\n"
    room.plan(f"{stages}eval: {{each: {{job: one}}, command: 'echo ran >> runs'}}\n")
    room.run("watch", room.root, "--until-done")
    before = room.states()
    shutil.rmtree(room.home / "var")

    assert room.run("watch", room.root, "--until-done").returncode == 0
    assert room.states() == before == {"one": "succeeded", "eval-one": "succeeded"}
    assert (room.job_dir("one") / "runs").read_text() == "ran\nran\n"
    assert (room.job_dir("eval-one") / "runs").read_text() == "ran\n"


@pytest.mark.parametrize("lost", ["all of var", "its tail"])
def test_what_was_cancelled_or_held_before_var_was_lost_is_held_and_runs_no_more(room: "Room", lost: str) -> None:
    stages = "one: {retry: {max_attempts: 3, backoff: 0.05s}, command: 'echo ran >> runs; exec sleep 60'}\n"
    room.plan(f"{stages}two: {{start: {{file_exists: {{path: go}}}}, command: 'echo ran >> runs'}}\n")
    watcher = room.watch()
    room.wait_for({"one": "running"})
    shutil.copytree(room.var, room.home / "copy")
    room.run("mark", "demo/one", "cancel")
    room.run("mark", "demo/two", "hold")
    room.wait_for({"one": "cancelled", "two": "held"})
    room.stop(watcher)
    shutil.rmtree(room.var)
    if lost == "its tail":
        (room.home / "copy").rename(room.var)
    (room.job_dir("two") / "go").touch()

    assert room.run("watch", room.root, "--until-done").returncode == 1
    assert room.states() == {"one": "held", "two": "held"}
    assert all("was asked at 20" in row["reason"] for row in room.rows().values())
    assert (room.job_dir("one") / "runs").read_text() == "ran\n"

    room.run("mark", "demo/two", "release")
    assert room.run("watch", room.root, "--until-done").returncode == 1
    assert room.states() == {"one": "held", "two": "succeeded"}


def test_nothing_that_an_attempt_left_running_runs_beside_the_next_one(room: "Room") -> None:
    left = "setsid sh -c 'while :; do echo $$ >> alive; sleep 0.02; done' & sleep 0.2; exit 1"
    room.plan(f"one: {{retry: {{max_attempts: 2, backoff: 0.05s}}, command: [sh, -c, {json.dumps(left)}]}}\n")

    room.run("watch", room.root, "--until-done")

    room.wait_until(lambda: room.processes() == [], "the end of every process")
    pids = (room.job_dir("one") / "alive").read_text().split()
    assert len(set(pids)) == 2
    assert pids == sorted(pids, key=pids.index), "one after the other"


def test_a_gate_takes_no_time_from_what_comes_after_it(room: "Room") -> None:
    room.write("hooks/slow.py", f"import time; time.sleep(1.5)\n{GATE}")
    retry = "retry: {max_attempts: 1, when: {hung: fail}}"
    room.plan(f"one: {{gate: slow, stall: {{no_progress: 1s}}, {retry}, command: sleep 0.3}}\n")

    room.run("watch", room.root, "--until-done")

    assert room.states() == {"one": "succeeded"}
    assert not any(trigger == "stalled" for trigger, _, _ in room.moves("one"))


def test_a_hung_job_says_that_it_got_no_further(room: "Room") -> None:
    room.plan("one: {stall: {no_progress: 0.2s}, retry: {when: {hung: fail}}, command: sleep 60}\n")

    room.run("watch", room.root, "--until-done")

    assert room.rows()["one"]["reason"] == "it got no further, and was stopped: ended by SIGTERM"


def test_what_could_not_be_brought_about_fails_the_watch_and_is_told(room: "Room") -> None:
    room.plan("one: {command: 'true'}\ntwo: {each: {job: one}, command: 'true'}\n")
    with (room.root / "demo" / "recipe.yaml").open("a") as file:
        file.write("# a comment\n")

    done = room.run("watch", room.root, "--until-done")

    assert done.returncode == 1
    assert "problem: demo: appear two-one" in done.stderr
    assert "problem: demo: appear two-one" in room.run("status", room.root).stdout


@pytest.mark.parametrize("mended", [True, False])
def test_what_the_system_keeps_from_being_done_is_waited_for_a_while_and_told(room: "Room", *, mended: bool) -> None:
    room.machine(sweep="1s")
    room.plan("one: {command: 'true'}\ntwo: {each: {job: one}, command: 'true'}\n")
    room.job_dir("two-one").touch()
    watcher = room.start("watch", room.root, "--until-done")
    room.wait_until(lambda: "demo: appear two-one" in room.said())
    if mended:
        room.job_dir("two-one").unlink()

    assert watcher.wait(30) == (0 if mended else 1), room.said()
    assert room.states() == {"one": "succeeded", **({"two-one": "succeeded"} if mended else {})}
    assert ("problem: demo: appear two-one" in room.said()) is not mended


def test_a_markers_folder_that_is_none_keeps_no_ending_from_being_seen(room: "Room") -> None:
    room.plan("one: {command: 'until test -e go; do sleep 0.02; done'}\n")
    room.watch()
    room.wait_for({"one": "running"})

    shutil.rmtree(room.job_dir("one") / "markers")
    (room.job_dir("one") / "markers").touch()
    (room.job_dir("one") / "go").touch()

    room.wait_for({"one": "succeeded"})
    room.wait_until(lambda: "markers: Not a directory" in room.run("status", room.root).stdout)
    assert "problem: " in room.run("why", "demo/one").stdout


def test_a_flood_in_one_log_delays_no_other_job(room: "Room") -> None:
    room.machine(sweep="1h")
    flood = "(yes ' iteration 1/ 100 | some text' || true) | head -c 200000000; until test -e go; do sleep 0.05; done"
    quiet = "quiet: {start: {file_exists: {path: go}}, command: 'true'}"
    room.plan(f"flood: {{command: {json.dumps(flood)}}}\n{quiet}\n")
    room.watch()
    log = room.attempt_dir("flood") / "output.log"
    room.wait_until(lambda: log.exists() and log.stat().st_size > 150_000_000)

    room.touch("quiet", "start")
    room.wait_for({"quiet": "succeeded"})
    (room.job_dir("flood") / "go").touch()

    room.wait_for({"flood": "succeeded"}, within_s=180)


def test_an_older_copy_of_var_of_any_age_runs_nothing_twice(room: "Room") -> None:
    """It was restored from a backup: the journal lost its tail, and knows less than the studies on disk."""
    stages = "one: {retry: {backoff: 0.05s}, command: 'echo ran >> runs; test $AUTOEXP_ATTEMPT = 2'}\n"
    room.plan(f"{stages}eval: {{each: {{job: one}}, command: 'echo ran >> runs'}}\n")
    with engine_of(room) as engine:
        engine.run(until_done())
    states, journal = room.states(), (room.var / "journal" / "1.jsonl").read_bytes()
    snapshot = (room.var / "snapshot.json").read_bytes()
    ages = journal.splitlines(keepends=True)
    assert len(ages) > 10
    for age in range(1, len(ages)):
        shutil.rmtree(room.var)
        (room.var / "journal").mkdir(parents=True)
        (room.var / "journal" / "1.jsonl").write_bytes(b"".join(ages[:age]))
        (room.var / "snapshot.json").write_bytes(snapshot)

        with engine_of(room) as engine:
            engine.run(until_done())

        assert room.states() == states == {"one": "succeeded", "eval-one": "succeeded"}, f"{age} lines"
        assert (room.job_dir("one") / "runs").read_text() == "ran\nran\n", f"{age} lines"
        assert (room.job_dir("eval-one") / "runs").read_text() == "ran\n", f"{age} lines"


def test_a_job_outlives_its_watcher_and_is_found_again(room: "Room") -> None:
    room.plan("one: {command: 'until test -e go; do sleep 0.02; done; echo done'}\n")
    watcher = room.watch()
    room.wait_for({"one": "running"})
    pid = room.pid_of("one")
    room.stop(watcher, signal.SIGKILL)
    assert pid in room.processes()

    room.watch()
    room.wait_for({"one": "running"})
    (room.job_dir("one") / "go").touch()

    room.wait_for({"one": "succeeded"})
    assert room.rows()["one"]["attempt"] == 1
    assert room.pid_of("one") == pid


def test_a_job_that_ends_while_nobody_watches_is_seen_to_have_ended(room: "Room") -> None:
    room.plan("one: {retry: {max_attempts: 1}, command: 'until test -e go; do sleep 0.02; done; exit 7'}\n")
    watcher = room.watch()
    room.wait_for({"one": "running"})
    room.stop(watcher, signal.SIGKILL)
    (room.job_dir("one") / "go").touch()
    room.wait_until((room.attempt_dir("one") / "exit.json").exists)

    room.run("watch", room.root, "--once")

    assert room.rows()["one"]["reason"] == "exit code 7"


def test_a_job_whose_run_sh_is_killed_has_crashed_and_nothing_of_it_stays(room: "Room") -> None:
    room.machine(sweep="0.5s")
    room.plan("one: {retry: {max_attempts: 1}, command: 'setsid sleep 60 & sleep 60'}\n")
    room.watch()
    room.wait_for({"one": "running"})
    room.wait_until(lambda: len(room.processes()) == 4)
    room.wait_until(lambda: room.pid_of("one"))

    _kill(room.pid_of("one"))

    room.wait_for({"one": "failed"})
    room.wait_until(lambda: room.processes() == [], "the end of every process")
    assert room.rows()["one"]["reason"].startswith("its processes are gone, and it left no exit file")
    assert [r["evidence"]["ending"] for r in room.journal() if r["trigger"] == "ended"] == ["crashed"]


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_a_cancel_is_polite_to_the_group_and_leaves_nothing_behind(room: "Room") -> None:
    room.machine(stop_grace="0.7s")
    polite = "trap 'echo bye; exit 0' TERM; touch ready; while :; do sleep 0.02; done"
    stubborn = "setsid sh -c 'trap \"\" TERM; touch ready; while :; do sleep 0.02; done' & trap '' TERM; wait; sleep 60"
    room.plan(f'polite: {{command: "{polite}"}}\nstubborn: {{command: [sh, -c, {json.dumps(stubborn)}]}}\n')
    room.watch()
    for job in ("polite", "stubborn"):
        room.wait_until((room.job_dir(job) / "ready").exists)

    room.run("mark", "demo", "cancel")

    room.wait_for({"polite": "cancelled", "stubborn": "cancelled"})
    room.wait_until(lambda: room.processes() == [], "the end of every process")
    exits = {job: json.loads((room.attempt_dir(job) / "exit.json").read_text()) for job in ("polite", "stubborn")}
    assert (exits["polite"]["code"], exits["stubborn"]["signal"]) == (0, 9)
    assert (room.attempt_dir("polite") / "output.log").read_text().endswith("bye\n")


def test_a_cancel_that_comes_with_the_end_occupies_no_slot(room: "Room") -> None:
    room.machine(cpus=1)
    wait = "until test -e go; do sleep 0.02; done"
    room.plan(f"one: {{command: {wait}}}\ntwo: {{command: 'true'}}\n")
    watcher = room.watch()
    room.wait_for({"one": "running", "two": "queued"})

    watcher.send_signal(signal.SIGSTOP)
    room.touch("one", "cancel")
    (room.job_dir("one") / "go").touch()
    room.wait_until((room.attempt_dir("one") / "exit.json").exists)
    watcher.send_signal(signal.SIGCONT)

    room.wait_for({"one": "cancelled", "two": "succeeded"})


def test_a_cancel_that_comes_after_the_end_is_refused_although_nobody_has_seen_that_yet(room: "Room") -> None:
    """As on the morning after a night without a watcher."""
    room.plan("one: {command: 'true'}\ntwo: {needs: one, command: 'true'}\n")
    room.run("watch", room.root, "--once")
    room.wait_until((room.attempt_dir("one") / "exit.json").exists)
    time.sleep(0.02)  # a file's time is that of the kernel's last tick
    room.touch("one", "cancel")
    room.watch()

    room.wait_for({"one": "succeeded", "two": "succeeded"})
    assert [verdict for verdict, _ in room.answers("one")] == ["refused"]


def test_after_a_restart_who_was_submitted_first_still_starts_first(room: "Room") -> None:
    room.machine(cpus=1)
    room.plan(
        "a: {start: {file_exists: {path: never}}, command: echo a}\nb: {command: sleep 60}\nc: {command: echo c}\n"
    )
    watcher = room.watch()
    room.wait_for({"b": "running", "c": "queued"})
    room.touch("a", "start")
    room.wait_for({"a": "queued"})
    room.stop(watcher, signal.SIGKILL)

    room.watch()
    room.touch("b", "cancel")

    room.wait_for({"a": "succeeded", "c": "succeeded"})
    begun = [r["job"] for r in room.journal() if r["trigger"] == "started"]
    assert begun == ["b", "c", "a"]


# Plans that change while they are watched


def test_a_plan_that_changes_under_a_watcher_adds_and_retires_jobs(room: "Room") -> None:
    waiting = "{start: {file_exists: {path: x}}, command: 'true'}"
    room.plan(f"keep: {{command: sleep 60}}\nrun: {{command: sleep 60}}\nidle: {waiting}\n")
    room.watch()
    room.wait_for({"keep": "running", "run": "running", "idle": "waiting"})

    planned = room.plan("keep: {command: sleep 60}\nnew: {command: 'true'}\n")

    assert "added: new" in planned.stdout
    assert "retired: run, idle" in planned.stdout
    room.wait_for({"keep": "running", "new": "succeeded", "run": "running"})
    room.wait_until(lambda: "idle" not in room.states(), "the end of a retired job's row")
    assert [move for move in room.moves("idle") if move[0] == "retired"] == [("retired", "waiting", "cancelled")]


def test_a_retired_job_that_runs_is_carried_to_its_end_by_whoever_watches_and_not_tried_again(room: "Room") -> None:
    other = "other: {start: {file_exists: {path: x}}, command: 'true'}\n"
    room.plan(f"one: {{command: 'until test -e go; do sleep 0.02; done; exit 1'}}\n{other}")
    watcher = room.watch()
    room.wait_for({"one": "running"})
    room.plan(other)
    room.wait_until(lambda: any(move[0] == "retired" for move in room.moves("one")))
    room.stop(watcher, signal.SIGKILL)

    room.watch()
    room.wait_for({"one": "running"})
    (room.job_dir("one") / "go").touch()

    room.wait_for({"one": "failed"})
    assert room.rows()["one"]["attempt"] == 1


def test_a_retired_job_that_is_planned_again_goes_on_where_it_was(room: "Room") -> None:
    one, two = "one: {command: 'echo ran >> runs'}\n", "two: {start: {file_exists: {path: x}}, command: 'true'}\n"
    room.plan(one + two)
    watcher = room.watch()
    room.wait_for({"one": "succeeded", "two": "waiting"})
    room.plan(one)
    room.wait_until(lambda: "two" not in room.states())
    room.stop(watcher)
    room.plan(one + two)

    room.watch()

    room.wait_for({"one": "succeeded", "two": "waiting"})
    assert [move[2] for move in room.moves("two")] == ["waiting", "cancelled", "waiting"]
    assert (room.job_dir("one") / "runs").read_text() == "ran\n"


def test_a_new_each_stage_brings_about_jobs_for_those_that_are_there(room: "Room") -> None:
    one = "one: {command: 'true'}\n"
    room.plan(one)
    room.watch()
    room.wait_for({"one": "succeeded"})

    room.plan(f"{one}eval: {{each: {{job: one}}, command: 'true'}}\n")

    room.wait_for({"eval-one": "succeeded"})


def test_a_dropped_each_stage_retires_what_appeared_for_it_and_brings_it_back(room: "Room") -> None:
    one, waits = "one: {command: 'true'}\n", "{file_exists: {path: never}}"
    both = f"{one}eval: {{each: {{job: one}}, start: {waits}, command: 'true'}}\n"
    room.plan(both)
    room.watch()
    room.wait_for({"eval-one": "waiting"})

    room.plan(one)
    room.wait_until(lambda: "eval-one" not in room.states())
    room.plan(both)

    room.wait_for({"eval-one": "waiting"})


def test_a_waiting_job_that_has_nothing_to_wait_for_any_more_starts(room: "Room") -> None:
    room.plan("one: {start: {file_exists: {path: never}}, command: 'true'}\n")
    room.watch()
    room.wait_for({"one": "waiting"})

    room.plan("one: {command: 'true'}\n")

    room.wait_for({"one": "succeeded"})


def test_a_study_planned_while_its_root_is_watched_begins_at_once(room: "Room") -> None:
    room.machine(sweep="1h")
    room.plan("one: {command: 'true'}\n")
    room.watch()
    room.wait_for({"one": "succeeded"})

    room.plan("two: {command: 'true'}\n", study="second")

    room.wait_for({"two": "succeeded"}, study="second")


@pytest.mark.parametrize("watched", [True, False], ids=["under a watcher", "while nobody watches"])
def test_a_study_that_was_deleted_and_planned_anew_begins_anew(room: "Room", *, watched: bool) -> None:
    one, other = "one: {command: 'echo ran >> runs'}\n", "other: {needs: bad, command: 'true'}\n"
    room.plan(f"{one}bad: {{retry: {{max_attempts: 1}}, command: 'false'}}\n{other}")
    if watched:
        room.watch()
        room.wait_for({"one": "succeeded", "bad": "failed", "other": "skipped"})
    else:
        room.run("watch", room.root, "--until-done")
    shutil.rmtree(room.root / "demo")
    room.plan(f"{one}bad: {{command: 'true'}}\n{other}")

    if not watched:
        room.watch()

    room.wait_for({"one": "succeeded", "bad": "succeeded", "other": "succeeded"})
    assert (room.job_dir("one") / "runs").read_text() == "ran\n"


# What one study cannot do does not disturb another


def problems(room: "Room") -> Mapping[str, str]:
    found: Mapping[str, str] = room.inside("status", room.root, "--json")["problems"]
    return found


def test_a_plan_that_cannot_be_read_is_a_problem_of_its_study_alone(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")
    room.touch("one", "hold")
    room.run("watch", room.root, "--once")
    room.plan("two: {command: 'true'}\n", study="second")
    plan = room.root / "demo" / "plan.json"
    text = plan.read_text()
    plan.write_text("{")

    room.watch()
    room.wait_for({"two": "succeeded"}, study="second")
    assert "plan.json cannot be read" in problems(room)["demo"]
    plan.with_suffix(".draft").write_text(text)
    plan.with_suffix(".draft").replace(plan)

    room.wait_for({"one": "held"})
    room.touch("one", "release")
    room.wait_for({"one": "succeeded"})
    assert [move[0] for move in room.moves("one")].count("planned") == 1
    room.wait_until(lambda: "demo" not in problems(room), "the end of the problem")


def test_a_study_for_an_unknown_executor_is_a_problem_of_its_own(room: "Room") -> None:
    room.plan("one: {command: 'true'}\n")
    plan = room.root / "demo" / "plan.json"
    plan.write_text(plan.read_text().replace('"name":"bench"', '"name":"cloud","executor":"kubernetes"'))
    room.plan("two: {command: 'true'}\n", study="second")
    room.touch("one", "cancel")

    room.watch()

    room.wait_for({"two": "succeeded"}, study="second")
    room.wait_until(lambda: "demo" in problems(room))
    assert "unknown executor 'kubernetes'" in problems(room)["demo"]
    assert room.states() == {"one": "waiting"}


def test_what_could_not_be_done_is_told_and_done_once_it_can_be(room: "Room") -> None:
    room.machine(sweep="0.3s")
    room.plan("one: {command: 'true'}\neval: {each: {job: one}, command: 'true'}\n")
    recipe = room.root / "demo" / "recipe.yaml"
    text = recipe.read_text()
    recipe.write_text(f"{text}# a remark\n")
    room.watch()
    room.wait_until(lambda: "demo: appear eval-one" in problems(room))
    assert "is not the recipe that was planned" in problems(room)["demo: appear eval-one"]

    recipe.write_text(text)

    room.wait_for({"eval-one": "succeeded"})
    room.wait_until(lambda: problems(room) == {}, "the end of the problem")


def test_a_broken_hook_fails_its_job_and_no_other(room: "Room") -> None:
    room.write("hooks/broken.py", "def prepare(folder):\n    return 1 / 0\n")
    room.plan("one: {prepare: {broken: {}}, command: 'true'}\ntwo: {command: 'true'}\n")

    room.run("watch", room.root, "--until-done")

    assert room.states() == {"one": "failed", "two": "succeeded"}
    assert "the hook 'broken' broke: " in room.rows()["one"]["reason"]
    assert ":2: ZeroDivisionError" in room.rows()["one"]["reason"]


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
ODD = st.recursive(LEAVES, lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=3), some))
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("v", "at", "code", "signal", "asked", "host", "boot_id", "pid", "start_time", "gpus"), ODD),
        **dict.fromkeys(("pid_namespace", "cause", "suspects", "job", "attempt", "marker", "inode"), ODD),
        "nodes": ODD | st.sampled_from(["n[1-99999999999]", "[,[,[", "n[1-3]"]),
        "token": ODD | st.just("ours"),
    },
)
SHAPES: dict[str, Any] = {"exit.json": probe.EXIT, "started.json": probe.STARTED, "gate.json": probe.GATE}
SHAPES |= {"submission.json": probe.SUBMISSION}


def test_whatever_stands_in_an_attempts_files_is_told_and_keeps_nobody_from_watching(room: "Room") -> None:
    room.plan("one: {command: sleep 600}\n")
    with engine_of(room) as engine:
        engine.run(lambda engine: _is(engine, "one", "running"))
        key = Key("demo", "one")
        order = engine._orders[key]
        kept = {path.name: path.read_bytes() for path in order.attempt_dir.iterdir()}

        @given(
            st.sampled_from([*SHAPES, "intent.json", "output.log", "run.ours"]), st.binary(max_size=9) | OBJECTS | ODD
        )
        def survives(name: str, content: Any) -> None:
            path = order.attempt_dir / name.replace("ours", order.token)
            text = content if isinstance(content, bytes) else json.dumps(content).replace("ours", order.token).encode()
            path.write_bytes(text)
            try:
                said = read_record(path, SHAPES.get(name, {}))
                assume(name != "exit.json" or said is None or said["token"] != order.token)
                engine.wake({EVERYTHING})
                assert said is not None or name not in SHAPES or f"/{name}: " in engine.progress.problems["demo/one"]
            finally:
                path.write_bytes(kept[path.name]) if path.name in kept else path.unlink()

        survives()
        engine.wake({EVERYTHING})
        assert "demo/one" not in engine.progress.problems
        assert _is(engine, "one", "running")


FORGED = """
one:
  retry: {max_attempts: 1}
  command: |
    echo '{"v":1,"token":"'"$AUTOEXP_TOKEN"'","code":1,"signal":[9]}' > attempts/001/exit.json; kill -9 $PPID
two: {start: {job_state: {stage: one, state: failed}}, command: 'true'}
"""


def test_an_exit_file_of_another_shape_and_a_strange_answer_end_no_watcher(room: "Room") -> None:
    room.plan(FORGED)
    strange = room.job_dir("two") / "markers" / "taken" / "x.json"
    strange.parent.mkdir(parents=True)
    strange.write_text('{"marker": [], "inode": 1}')

    done = room.run("watch", room.root, "--until-done")

    assert done.returncode == 1, done.stderr
    assert room.states() == {"one": "failed", "two": "succeeded"}
    assert "its processes are gone, and its exit.json cannot be read" in room.rows()["one"]["reason"]
    assert f"{strange}: its marker is []" in done.stderr


def test_a_study_that_vanishes_is_told_and_not_made_again(room: "Room") -> None:
    room.machine(sweep="0.3s")
    room.plan("one: {start: {file_exists: {path: /no/such}}, command: 'true'}\n")
    room.plan("two: {command: 'true'}\n", study="second")
    room.watch()
    room.wait_for({"one": "waiting"})
    room.wait_for({"two": "succeeded"}, study="second")

    shutil.rmtree(room.root / "demo")

    room.wait_until(lambda: "its folder is gone" in problems(room).get("demo", ""))
    assert not (room.root / "demo").exists()


def test_an_unreadable_root_is_a_problem_and_no_end(room: "Room", humble: tuple[str, ...]) -> None:
    room.machine(sweep="0.3s")
    room.plan("one: {start: {file_exists: {path: go}}, command: 'true'}\n")
    room.prefix = humble
    watcher = room.watch()
    room.wait_for({"one": "waiting"})
    room.root.chmod(0o300)
    told = room.var / "progress.json"
    room.wait_until(lambda: "cannot be read" in (read_json(told) or {"problems": {}})["problems"].get("root", ""))
    room.root.chmod(0o755)

    (room.job_dir("one") / "go").touch()

    room.wait_for({"one": "succeeded"})
    assert watcher.poll() is None


# Stalls and what conditions wait for


def test_a_silent_job_is_stalled_and_runs_again_once_it_speaks(room: "Room") -> None:
    room.plan(
        "one: {stall: {no_progress: 0.3s}, command: 'until test -e go; do sleep 0.02; done; echo on; sleep 60'}\n"
    )
    room.watch()
    room.wait_for({"one": "stalled"})

    (room.job_dir("one") / "go").touch()

    room.wait_until(lambda: ("progressed", "stalled", "running") in room.moves("one"))


def test_a_stall_is_seen_by_one_who_looks_only_now_and_then(room: "Room") -> None:
    room.plan("one: {stall: {no_progress: 0.5s}, command: echo; sleep 60}\n")
    room.run("watch", room.root, "--once")
    room.wait_until((room.attempt_dir("one") / "started.json").exists)
    room.wait_until_after(0.8)

    for _ in range(2):
        room.run("watch", room.root, "--once")

    assert room.moves("one")[-1] == ("stalled", "running", "stalled")


def test_a_stalled_job_may_be_tried_again(room: "Room") -> None:
    room.plan("one: {stall: {no_progress: 0.2s}, retry: {backoff: 0.01s, when: {hung: retry}}, command: sleep 60}\n")
    room.watch()

    room.wait_until(lambda: room.rows()["one"]["attempt"] == 2)

    ended = next(r for r in room.journal() if r["trigger"] == "ended")
    assert (ended["evidence"]["ending"], ended["set"]["ending"]) == ("cancelled", "hung")


def test_a_cooldown_starts_when_its_parents_checkpoint_is_whole_and_is_told_apart_from_a_link(
    room: "Room", save_checkpoint: Callable[..., Path]
) -> None:
    room.write("train.py", "import time\ntime.sleep(60)\n")
    room.plan(
        f"""
        pretrain: {{backend: megatron, params: {{program: {room.home}/train.py}}, args: {{train-iters: 40}}}}
        cooldown:
          start: {{checkpoint_reached: {{stage: pretrain, iteration: 20}}}}
          command: [echo, "${{sibling.pretrain.checkpoints}}"]
        eval: {{each: {{checkpoint: pretrain, from: 10, every: 10}}, command: [echo, "${{checkpoint}}"]}}
        """
    )
    room.watch()
    room.wait_for({"pretrain": "running", "cooldown": "waiting"})
    checkpoints = room.job_dir("pretrain") / "checkpoints"
    save_checkpoint(checkpoints, 10)
    room.wait_for({"eval-pretrain@0000010": "succeeded", "cooldown": "waiting"})
    save_checkpoint(checkpoints, 20, whole=False)
    (checkpoints / "iter_0000030").symlink_to("iter_0000010")

    save_checkpoint(checkpoints, 20)

    room.wait_for({"cooldown": "succeeded", "eval-pretrain@0000020": "succeeded"})
    saved = [r["evidence"]["iteration"] for r in room.journal() if r["trigger"] == "checkpoint_saved"]
    assert saved == [10, 20]
    assert room.rows()["pretrain"]["iteration"] == 20


# Batches of checkpoints

TRAINER = """
import sys, time
from pathlib import Path
save, home = Path(sys.argv[sys.argv.index("--save") + 1]), Path(__file__).parent
end = int(sys.argv[sys.argv.index("--train-iters") + 1])
for iteration in range(10, end + 1, 10):
    rank = save / f"iter_{iteration:07d}" / "mp_rank_00"
    rank.mkdir(parents=True, exist_ok=True)
    (rank / "model_optim_rng.pt").write_bytes((home / "shard").read_bytes())
    (save / "latest_checkpointed_iteration.txt").write_text(str(iteration))
    print(f" iteration {iteration}/ {end} | lm loss: 2.0E+00 | number of nan iterations: 0 |", flush=True)
    while (home / f"wait{iteration}").exists():
        time.sleep(0.01)
print("[after training is done]")
"""
BATCHED = """
train: {{backend: megatron, params: {{program: {home}/train.py}}, args: {{train-iters: 50}}}}
convert:
  each: {{checkpoint: train, batch: 2}}
  params: {{label: 'step ${{iteration}}'}}
  env: {{STEP: '${{iteration}}'}}
  command: |
    echo ${{label}} $STEP ${{checkpoint}} > ${{output}}/made
    echo ${{iteration}} >> {home}/ran
    test ! -e {home}/bad$STEP
score:
  each: {{job: convert}}
  command: |
    cp ${{sibling.convert.output}}/made here
    echo ${{iteration}} >> {home}/scored
"""


def plan_batches(room: "Room", shard: Path, wait_at: int = 0) -> None:
    room.write("train.py", TRAINER)
    (room.home / f"wait{wait_at}").touch()
    shutil.copy(shard, room.home / "shard")
    room.plan(BATCHED.format(home=room.home))


def lines(room: "Room", name: str) -> list[str]:
    return (room.home / name).read_text().split()


def log_of(room: "Room", job: str, attempt: int = 1) -> list[str]:
    return [
        line.removeprefix("autoexp: ")
        for line in (room.attempt_dir(job, attempt) / "output.log").read_text().splitlines()
    ]


def test_checkpoints_are_converted_in_batches_and_the_rest_when_their_training_is_over(
    room: "Room", whole_shard: Path
) -> None:
    plan_batches(room, whole_shard, wait_at=50)
    room.watch()
    full = {"convert-train@0000020": "succeeded", "convert-train@0000040": "succeeded"}
    room.wait_for({"train": "running", **full, "score-convert-train@0000040": "succeeded"})
    assert "convert-train@0000050" not in room.states()

    (room.home / "wait50").unlink()

    room.wait_for({"train": "succeeded", "score-convert-train@0000050": "succeeded"})
    assert sorted(lines(room, "ran")) == sorted(lines(room, "scored")) == ["10", "20", "30", "40", "50"]
    made = room.job_dir("convert-train@0000020") / "iter_0000010" / "made"
    checkpoint = room.job_dir("train") / "checkpoints" / "iter_0000010"
    assert made.read_text() == f"step 10 10 {checkpoint}\n"
    assert (room.job_dir("score-convert-train@0000020") / "iter_0000010" / "here").read_text() == made.read_text()
    appeared = [r["evidence"] for r in room.journal() if r["trigger"] == "appeared" and r["job"].startswith("convert")]
    assert [found["iterations"] for found in appeared] == [[10, 20], [30, 40], [50]]
    assert "iterations: [10, 20]\n" in (room.job_dir("convert-train@0000020") / "job.yaml").read_text()
    assert room.rows()["convert-train@0000040"]["iteration"] == 40
    assert "2 iterations, 30 to 40" in room.run("status", room.root).stdout
    assert room.inside("replay", room.root, "--check", "--json")["differences"] == []


def test_one_iteration_that_fails_keeps_no_other_from_running_and_a_retry_runs_only_that_one(
    room: "Room", whole_shard: Path
) -> None:
    plan_batches(room, whole_shard)
    (room.home / "bad10").touch()
    assert room.run("watch", room.root, "--until-done").returncode == 1

    job = "convert-train@0000020"
    assert room.states() | {job: "failed", f"score-{job}": "skipped"} == room.states()
    assert log_of(room, job) == [
        "iteration 10 begins",
        "iteration 10 ended with exit code 1",
        "iteration 20 begins",
        "iteration 20 ended with exit code 0",
        "not done: iteration 10",
    ]
    assert room.rows()[job]["reason"] == "exit code 1: autoexp: not done: iteration 10"
    assert room.inside("why", f"demo/{job}", "--root", room.root, "--json")["done"] == [20]
    assert "iteration 10 is not done" in room.run("why", f"demo/{job}", "--root", room.root).stdout

    (room.home / "bad10").unlink()
    room.run("mark", f"demo/{job}", "retry")
    room.run("mark", f"demo/score-{job}", "retry")
    assert room.run("watch", room.root, "--until-done").returncode == 0
    assert log_of(room, job, 2) == [
        "iteration 10 begins",
        "iteration 10 ended with exit code 0",
        "iteration 20 was done by an earlier attempt",
    ]
    assert Counter(lines(room, "ran")) == {"10": 2, "20": 1, "30": 1, "40": 1, "50": 1}

    room.run("mark", f"demo/{job}", "restart")
    assert room.run("watch", room.root, "--until-done").returncode == 0
    assert Counter(lines(room, "ran")) == {"10": 3, "20": 2, "30": 1, "40": 1, "50": 1}


def test_an_older_copy_of_var_of_any_age_makes_the_very_same_batches(room: "Room", whole_shard: Path) -> None:
    plan_batches(room, whole_shard)
    with engine_of(room) as engine:
        engine.run(until_done())
    states, written = room.states(), (room.root / "demo" / "appeared.jsonl").read_bytes()
    ages = (room.var / "journal" / "1.jsonl").read_bytes().splitlines(keepends=True)
    assert len(ages) > 30
    for age in (0, *range(1, len(ages), 3)):
        shutil.rmtree(room.var)
        (room.var / "journal").mkdir(parents=True)
        if age:
            (room.var / "journal" / "1.jsonl").write_bytes(b"".join(ages[:age]))

        with engine_of(room) as engine:
            engine.run(until_done())

        assert room.states() == states, f"{age} lines"
        assert (room.root / "demo" / "appeared.jsonl").read_bytes() == written, f"{age} lines"
        assert len(lines(room, "ran")) == len(lines(room, "scored")) == 5, f"{age} lines"


def test_another_size_of_batches_is_for_what_has_no_job_yet(room: "Room", whole_shard: Path) -> None:
    plan_batches(room, whole_shard, wait_at=20)
    room.plan(BATCHED.format(home=room.home), "stages.convert.each={checkpoint: train}")
    room.watch()
    room.wait_for({"convert-train@0000010": "succeeded", "convert-train@0000020": "succeeded"})

    room.plan(BATCHED.format(home=room.home), "stages.convert.each.batch=3")
    (room.home / "wait20").unlink()

    room.wait_for({"score-convert-train@0000050": "succeeded"})
    assert room.rows()["convert-train@0000050"]["iterations"] == [30, 40, 50]
    assert sorted(lines(room, "ran")) == sorted(lines(room, "scored")) == ["10", "20", "30", "40", "50"]


# Conditions that end a job


def test_a_job_ends_once_its_conditions_for_that_hold(room: "Room") -> None:
    room.machine(sweep="0.5s")
    room.plan(
        """
        enough:
          finish: {log_matches: {regex: "loss 0.1$"}}
          command: "echo loss 0.5; sleep 1; echo loss 0.1; sleep 600"
        dropped: {cancel: {job_succeeded: {stage: enough}}, command: "sleep 600"}
        waiting:
          cancel: {job_state: {stage: enough, state: running}}
          start: {file_exists: {path: never}}
          command: "true"
        held_back: {needs: dropped, cancel: {file_exists: {path: stop}}, command: "true"}
        """
    )

    room.run("watch", room.root, "--until-done")

    assert room.states() == {
        "enough": "succeeded", "dropped": "cancelled", "waiting": "cancelled", "held_back": "skipped",
    }  # fmt: skip
    asked = [line for line in room.journal() if "requested" in line.get("trigger", "")]
    reasons = {line["job"]: line["evidence"]["reason"] for line in asked}
    assert reasons["enough"].startswith("finish: current.log matches")
    assert reasons["dropped"] == "cancel: enough is succeeded"
    assert reasons["waiting"] == "cancel: enough is running"


def test_a_job_does_not_wait_for_what_may_end_it(room: "Room") -> None:
    room.plan(
        """
        first: {command: "sleep 600"}
        second: {cancel: {file_exists: {path: "${sibling.first.dir}/stop"}}, command: "true"}
        """
    )

    room.watch()

    room.wait_for({"first": "running", "second": "succeeded"})
