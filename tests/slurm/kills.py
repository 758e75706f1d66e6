"""Kill a watcher again and again while 20 jobs run on a real cluster: python -m tests.slurm.kills --kills 200.

SIGKILL goes to its whole session, to every sbatch and squeue under way with it, and the next watcher comes at
once. Part of the kills come at any moment, part of them while a submission is under way. Prints what was met, and what
is wrong; exits with 1 if anything is.
"""

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autoexp.hosts import send
from autoexp.orders import WITHDRAWN
from tests.slurm.cluster import Cluster, cluster

if TYPE_CHECKING:
    from tests.conftest import Room

JOBS = 20
KILLS_A_STUDY = 25
AIMED = 0.6
"""Which part of the kills waits for a submission."""
STARTING_S = 0.2
"""How long we look for its sbatch then: at times not long enough."""
SUBMITTING_S = 0.06
"""How long ago that one may have begun by then: at times it has been heard, and nobody wrote down what it said."""
LONGEST_S = 4.0
"""How long a watcher lives, unless a kill waits for a submission in vain."""
PATIENCE_S = 600.0
"""Far more than the last watcher takes."""

WORK = r"""
say() { echo "$1 $AUTOEXP_TOKEN $SLURM_JOB_ID $EPOCHREALTIME" >> "${AUTOEXP_ROOT%/*}/runs.log"; }
say begin
sleep "$1"
say end
[[ $2 != cut-first || $AUTOEXP_ATTEMPT != 1 ]] || { kill -USR2 $PPID; exec sleep 60; }
[[ $2 != fails-first || $AUTOEXP_ATTEMPT != 1 ]]
"""
STUDY = """
seed: {{command: [bash, {home}/work.sh, 1]}}
fan: {{sweep: {{params: {{part: [1, 2, 3, 4, 5, 6]}}}}, needs: seed, command: [bash, {home}/work.sh, "${{part}}"]}}
next: {{sweep: {{params: {{part: [1, 2, 3, 4, 5, 6]}}}}, needs: fan, command: [bash, {home}/work.sh, 1]}}
gather: {{needs: next, command: [bash, {home}/work.sh, 1]}}
flaky: {{needs: seed, command: [bash, {home}/work.sh, 1, fails-first], retry: {{max_attempts: 3, backoff: 0.5s}}}}
chain1: {{needs: seed, command: [bash, {home}/work.sh, 1]}}
chain2: {{needs: chain1, command: [bash, {home}/work.sh, 2]}}
chain3: {{needs: chain2, command: [bash, {home}/work.sh, 1]}}
chain4:
  needs: chain3
  command: [bash, {home}/work.sh, 2, cut-first]
  retry: {{max_attempts: 3, queue_ahead: true}}
chain5: {{needs: [chain4, gather, flaky], command: [bash, {home}/work.sh, 1]}}
"""
RUN = re.compile(r"(begin|end) (\S+) (\d+) (\S+)\n")


@dataclass(slots=True)
class Run:
    """One effective run: a program that began."""

    token: str
    id: str
    began: float
    ended: float | None = None

    @property
    def job(self) -> str:
        """Whose it was."""
        return self.token.rsplit(".", 2)[0]


@dataclass(slots=True)
class Met:
    """What the kills met, and what is wrong."""

    kills: int = 0
    with_sbatch: int = 0
    """Kills of a session in which an sbatch was at work."""
    doubted: int = 0
    """Attempts of which nobody knew for a while whether the scheduler had them."""
    doubled: int = 0
    """Attempts that the scheduler had two jobs of."""
    attempts: dict[str, int] = field(default_factory=dict)
    """How many attempts each job needed."""
    took_s: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: "Met") -> None:
        """Count another study's kills too."""
        for name in ("kills", "with_sbatch", "doubted", "doubled", "took_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.wrong += other.wrong

    def __str__(self) -> str:
        """Tell the figures."""
        return (
            f"{self.kills} kills, {self.with_sbatch} with an sbatch at work; {self.doubted} submissions in doubt,"
            f" {self.doubled} taken twice; {len(self.wrong)} faults; {self.took_s:.0f} s"
        )


def lead(room: "Room", slurm: Cluster) -> None:
    """Make a room's jobs run on a cluster that is asked often, two at once: others wait in the queue, unclaimed."""
    room.variables |= slurm.env
    options = "{mem: 100M, exclusive: '', exclude: 'n[3-4]'}"
    room.machine(executor="slurm", query_interval="1s", visibility="5s", options=options)
    room.write("work.sh", WORK)
    room.plan(STUDY.format(home=room.home))


def play(room: "Room", slurm: Cluster, kills: int, dice: random.Random) -> Met:
    """Play the study with so many kills, or fewer if it is over before; say what was met."""
    lead(room, slurm)
    met, began = Met(), time.monotonic()
    while True:
        watcher = room.start("watch", room.root, "--until-done", start_new_session=True)
        if met.kills == kills:
            break
        await_moment(room, watcher, dice)
        if watcher.poll() is not None:
            break
        met.with_sbatch += any(members(watcher.pid, "sbatch"))
        for pid in (watcher.pid, *members(watcher.pid)):  # each of its clients has a group of its own
            send(pid, signal.SIGKILL)
        watcher.wait()
        met.kills += 1
    try:
        status = watcher.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        status = -1
    met.took_s = time.monotonic() - began
    met.wrong += [f"the last watcher ended with {status}: {room.said()[-2000:]}"] if status else []
    look(room, slurm, met)
    return met


def await_moment(room: "Room", watcher: "subprocess.Popen[bytes]", dice: random.Random) -> None:
    """Wait for the moment of the next kill: any one, or one in which a submission has just begun."""
    known = submissions(room)
    if dice.random() < AIMED:
        _wait(lambda: watcher.poll() is not None or submissions(room) - known, dice.uniform(1.0, LONGEST_S))
        _wait(lambda: watcher.poll() is not None or any(members(watcher.pid, "sbatch")), dice.uniform(0.0, STARTING_S))
        _wait(lambda: watcher.poll() is not None, dice.uniform(0.0, SUBMITTING_S))
    else:
        _wait(lambda: watcher.poll() is not None, dice.uniform(0.0, LONGEST_S))


def _wait(holds: Callable[[], object], within_s: float) -> None:
    until = time.monotonic() + within_s
    while not holds() and time.monotonic() < until:
        time.sleep(0.002)


def submissions(room: "Room") -> set[Path]:
    """List the attempts that were given to the scheduler, or are about to be."""
    return set(room.root.glob("demo/jobs/*/attempts/*/submission.json"))


def members(session: int, program: str | None = None) -> Iterator[int]:
    """List the processes of a session, or those of them that run a program."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = path.read_text().rpartition(")")
        except OSError:  # it is gone
            continue
        if program in (None, head.partition("(")[2]) and int(rest.split()[3]) == session:
            yield int(path.parent.name)


# What came of it


def look(room: "Room", slurm: Cluster, met: Met) -> None:
    """See that everything was done, and once."""
    _wait(lambda: not slurm.run("squeue", "--noheader"), PATIENCE_S / 10)
    runs = read_runs(room)
    rows = room.rows()
    met.attempts = {name: len([*room.job_dir(name).glob("attempts/*")]) for name in rows}
    met.doubted = len({(r["job"], r["attempt"]) for r in room.journal() if r["trigger"] == "submit_lost"})
    taken = jobs_by_name(slurm)
    met.doubled = sum(len(taken.get(run.token, ())) > 1 for run in runs)
    met.wrong += [
        *(f"{name} is {row['state']}: {row['reason']}" for name, row in rows.items() if row["state"] != "succeeded"),
        *(["a job is lost"] if len(rows) != JOBS else []),
        *([f"left in the queue: {left}"] if (left := slurm.run("squeue", "--noheader")) else []),
        *faults_of_runs(room, runs),
        *faults_of_queue(taken, runs),
        *([] if (checked := room.run("replay", room.root, "--check")).returncode == 0 else [checked.stdout]),
    ]


def read_runs(room: "Room") -> list[Run]:
    """Read what programs have said of their beginning and end."""
    runs: dict[tuple[str, str], Run] = {}
    found = []
    for what, token, number, at in RUN.findall((room.home / "runs.log").read_text()):
        if what == "begin":
            runs[token, number] = Run(token, number, float(at))
            found.append(runs[token, number])
        else:
            runs[token, number].ended = float(at)
    return found


def faults_of_runs(room: "Room", runs: list[Run]) -> Iterator[str]:
    """Each attempt ran once, it was the one that claimed it that did, and no two runs of a job overlap."""
    yield from (f"{token} ran {n} times" for token, n in Counter(run.token for run in runs).items() if n != 1)
    claims = {path.name.removeprefix("run."): path.read_text().strip() for path in room.root.rglob("attempts/*/run.*")}
    ran = {run.token: run.id for run in runs}
    dropped = {token for token, who in claims.items() if who == WITHDRAWN}  # they waited behind the last attempt
    claims = {token: who for token, who in claims.items() if token not in dropped}
    if claims != ran:
        yield f"claimed: {claims.items() - ran.items()}, ran: {ran.items() - claims.items()}"
    intents = [json.loads(path.read_text())["token"] for path in room.root.rglob("attempts/*/intent.json")]
    if sorted(intents) != sorted((*ran, *dropped)):
        yield f"attempts without a run: {set(intents) - set(ran) - dropped}"
    for run in runs:
        if run.ended is None:
            yield f"{run.token} did not end"
        for other in runs:
            if run is not other and run.job == other.job and run.began <= other.began <= (run.ended or other.began):
                yield f"{other.token} began while {run.token} ran"


def jobs_by_name(slurm: Cluster) -> dict[str, dict[str, str]]:
    """Say which jobs the controller has of each name, and their states."""
    found: dict[str, dict[str, str]] = {}
    for line in slurm.run("squeue", "--noheader", "--states=all", "--format=%A|%T|%j").splitlines():
        number, state, name = line.split("|", 2)
        found.setdefault(name, {})[number] = state
    return found


def faults_of_queue(taken: dict[str, dict[str, str]], runs: list[Run]) -> Iterator[str]:
    """A second job of an attempt left quietly, or was ended before it began."""
    for run in runs:
        for number, state in taken.get(run.token, {}).items():
            if number != run.id and state not in ("COMPLETED", "CANCELLED"):
                yield f"the second job {number} of {run.token} is {state}"


# By hand


def campaign(slurm: Cluster, kills: int, seed: int, rooms: Iterator["Room"], tell: Callable[[str], None]) -> Met:
    """Play studies until there were so many kills; a first one without any says how many attempts there are to be."""
    dice, whole = random.Random(seed), Met()  # noqa: S311 - it is to be drawn again
    calm = play(next(rooms), slurm, 0, dice)
    tell(f"undisturbed: {sum(calm.attempts.values())} attempts, {calm}")
    whole.wrong += calm.wrong
    while whole.kills < kills:
        met = play(next(rooms), slurm, min(kills - whole.kills, KILLS_A_STUDY), dice)
        if met.attempts != calm.attempts:
            met.wrong.append(f"attempts: {met.attempts}, undisturbed: {calm.attempts}")
        tell("\n  ".join([str(met), *met.wrong]))
        whole.add(met)
    return whole


def make_rooms(home: Path) -> Iterator["Room"]:
    """Make one room after the other; what runs in one ends with it."""
    from tests.conftest import Room  # noqa: PLC0415 - pytest has loaded its own

    for number in range(1_000_000):
        folder = home / str(number)
        folder.mkdir()
        room = Room(folder)
        try:
            yield room
        finally:
            room.close()


def main() -> int:
    """Kill as often as asked, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the moments")  # noqa: S311
    asked = parser.parse_args()
    print(f"--kills {asked.kills} --seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory() as home, cluster() as slurm:
        whole = campaign(slurm, asked.kills, asked.seed, make_rooms(Path(home)), lambda text: print(text, flush=True))
    print(f"all: {whole}")
    return 1 if whole.wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing stays behind
    sys.exit(main())
