"""Kill the watcher of a study before each of its effects on the world, and see that the study comes to the same end.

    python -m tests.crashes --all                   every crash point, one a run, on every core
    python -m tests.crashes --all --chunk 2/8       the points of one of eight chunks, on one core
    python -m tests.crashes --pairs 500 --seed 7    a second crash while the first one is being mended
    python -m tests.crashes --point NAME [--then NAME]      one point, or a pair, again
    python -m tests.crashes --list
    python -m tests.crashes --slurm ...             another study, on a real cluster of Slurm's

Prints how many points there are and how many were survived, by kind of effect; exits with 1 if one was not.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tests.crashes import picture
from tests.crashes.batch import on_slurm
from tests.crashes.play import Kill, Play, Stuck, Watched, adopt_orphans, end_all, plan, wait_for_silence
from tests.crashes.stage import LOCAL, Script, Stage

TRIES = 20
"""How often a point is tried before it counts as one that is not there."""
FLEETING_TRIES = 2
MOST_MISSED = 0.1
"""Which part of the points may be seen once, and not be reached again: more than that, and the harness is at fault."""
RECORDED = 4
"""How often the study is played without a kill: what is done each time must be reached again."""

TALLY = re.compile(r"^(.+): (\d+) tried, (\d+) survived, (\d+) not \((.*)\)$", re.MULTILINE)
"""What `report` prints at the end."""


@dataclass(slots=True)
class Harness:
    """The stage, what an uninterrupted run comes to there, and what came of all others."""

    stage: Stage
    reference: picture.Picture
    points: list[str]
    """What every watcher of the study does."""
    fleeting: list[str]
    """What only some do: whether a process is still there, for one, is a matter of microseconds."""
    survived: list[str] = field(default_factory=list)
    failed: dict[str, list[str]] = field(default_factory=dict)

    def crash(self, *kills: Kill) -> list[Watched]:
        """Play the study with these kills, and note what is wrong then."""
        patient = zlib.crc32(repr(kills).encode()) % 2 == 0
        play = Play(self.stage)
        wrong = []
        try:
            play.run(kills, patient=patient)
            wait_for_silence(self.stage)
            last = play.watchers[-1]
            if last.killed or last.status:
                wrong.append(f"the last watcher ended with {last.status}")
            wrong += picture.faults(self.stage, self.reference, len(play.watchers) - 1)
        except Exception:  # noqa: BLE001 - whatever it is, it is told, and the next point is tried
            wrong.append(traceback.format_exc())
            end_all(self.stage)
        self._note(kills, play, wrong, patient=patient)
        return play.watchers

    def _note(self, kills: tuple[Kill, ...], play: Play, wrong: list[str], *, patient: bool) -> None:
        killed = [watched.effects[-1] for watched in play.watchers if watched.killed]
        name = " then ".join(killed) if killed else str(kills)
        if wrong:
            said = self.stage.home / "said.log"
            told = said.read_text().splitlines()[-20:] if said.exists() else []
            self.failed[name] = [*wrong, f"patient: {patient}", *picture.moves(self.stage), *told]
            print(f"NOT SURVIVED: {name}", *self.failed[name], sep="\n  ", flush=True)
        elif len(killed) == len(kills):
            self.survived.append(name)


def record(stage: Stage) -> list[str]:
    """Play the study without a kill, and return what its watcher did."""
    (watched,) = Play(stage).run([], patient=False)
    wait_for_silence(stage)
    if watched.status:
        raise Stuck(f"the uninterrupted run failed: {(stage.home / 'said.log').read_text()}")
    return watched.effects


@contextmanager
def planned(script: Script, keep: Path | None) -> Iterator[Stage]:
    """Plan the study; leave nothing behind unless it is to be kept."""
    memory = Path("/dev/shm")  # noqa: S108 - ours alone, and quicker than a disk
    where = keep or Path(tempfile.mkdtemp(prefix="crashes-", dir=memory if os.access(memory, os.W_OK) else None))
    stage = Stage(where / "room", script)
    adopt_orphans()
    try:
        plan(stage)
        yield stage
    finally:
        end_all(stage)
        if keep is None:
            shutil.rmtree(where)


def harness(stage: Stage) -> Harness:
    """See what a watcher does that nobody kills."""
    recorded = [record(stage) for _ in range(RECORDED)]
    always = [name for name in recorded[0] if all(name in other for other in recorded)]
    fleeting = {name for other in recorded for name in other} - set(always)
    return Harness(stage, picture.take(stage), always, sorted(fleeting))


def singles(found: Harness, chunk: int, chunks: int, only: str) -> int:
    """Crash at every point of a chunk: of those found at first, and of those that turn up on the way."""
    asked: dict[str, int] = {}
    todo = [*found.points, *found.fleeting]
    while todo:
        name = todo.pop(0)
        tries = FLEETING_TRIES if name in found.fleeting else TRIES
        mine = zlib.crc32(name.encode()) % chunks == chunk and re.search(only, name)
        if not mine or asked.get(name, 0) >= tries or name in found.survived:
            continue
        asked[name] = asked.get(name, 0) + 1
        first = found.crash(Kill(name=name))[0]
        new = [other for other in first.effects if other not in found.points and other not in found.fleeting]
        found.fleeting += new
        todo += new
        if not first.killed and name not in found.failed:
            todo.append(name)
    missed = [name for name in asked if name not in found.survived and name not in found.failed]
    few = len(asked) * MOST_MISSED
    for name in missed:
        if name in found.fleeting and len(missed) <= few:
            print(f"seen, but not reached again: {name}")
            del asked[name]
        else:
            found.failed[name] = [f"not reached in {TRIES} tries"]
            print(f"NOT REACHED: {name}")
    return len(asked)


def pairs(found: Harness, count: int, seed: int) -> int:
    """Crash at a point, and again while the next watcher mends that."""
    dice = random.Random(seed)  # noqa: S311 - it is to be drawn again
    for _ in range(count):
        first = Kill(name=dice.choice(found.points))
        most = len(found.points)
        for _ in range(TRIES):
            played = found.crash(first, Kill(number=dice.randint(1, most)))
            if len(played) != 2:
                break
            most = max(len(played[1].effects), 1)  # it had no more than that to do
    return count


def report(found: Harness, asked: int, what: str) -> int:
    """Say how many were survived, by kind of effect."""
    kinds = Counter(name.partition(":")[0] for name in found.survived)
    print(f"{len(found.points)} crash points in the study")
    print(
        f"{what}: {asked} tried, {len(found.survived)} survived, {len(found.failed)} not ({spell(kinds)})", flush=True
    )
    return 1 if found.failed or len(found.survived) != asked else 0


def spell(kinds: Counter[str]) -> str:
    """List how many there are of each kind."""
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def on_every_core(words: list[str]) -> int:
    """Divide the points among processes, and add up what they found."""
    chunks = len(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "tests.crashes", *words]

    def play(chunk: int) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [*command, "--chunk", f"{chunk}/{chunks}"], stdout=subprocess.PIPE, text=True, check=False
        )
        print(done.stdout, end="", flush=True)
        return done

    with ThreadPoolExecutor(chunks) as pool:
        done = list(pool.map(play, range(chunks)))
    print("\n".join(added_up([each.stdout for each in done])))
    return max(each.returncode for each in done)


def added_up(said: list[str]) -> Iterator[str]:
    """Add up the last lines of several processes."""
    tallies = [found for text in said for found in TALLY.findall(text)]
    for what in dict.fromkeys(tally[0] for tally in tallies):
        mine = [tally for tally in tallies if tally[0] == what]
        tried, survived, failed = (sum(int(tally[place]) for tally in mine) for place in (1, 2, 3))
        kinds: Counter[str] = Counter()
        for part in filter(None, ", ".join(tally[4] for tally in mine).split(", ")):
            count, _, kind = part.partition(" ")
            kinds[kind] += int(count)
        yield f"all {what}: {tried} tried, {survived} survived, {failed} not ({spell(kinds)})"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    usage = __doc__ or ""
    parser = argparse.ArgumentParser(description=usage, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every point, one a run")
    parser.add_argument("--pairs", type=int, default=0, metavar="N", help="so many pairs, drawn by chance")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))  # noqa: S311 - printed
    parser.add_argument("--point", metavar="NAME", help="this point")
    parser.add_argument("--then", metavar="NAME", help="and this one, in the watcher after it")
    parser.add_argument("--slurm", action="store_true", help="on a real cluster")
    parser.add_argument("--list", action="store_true", help="print the points")
    parser.add_argument("--chunk", metavar="N/M", help="only the points of one of M chunks, numbered from 0")
    parser.add_argument("--only", default="", metavar="REGEX", help="only the points whose names it is found in")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="play there, and leave it")
    return parser.parse_args()


def main() -> int:
    """Do what the command line asks."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing stays behind
    asked = arguments()
    if (asked.all or asked.pairs) and not asked.chunk:
        return on_every_core([*sys.argv[1:], "--seed", str(asked.seed)])
    with on_slurm() if asked.slurm else nullcontext(LOCAL) as script, planned(script, asked.keep) as stage:
        if asked.list:
            print("\n".join(record(stage)))
            return 0
        return crash(harness(stage), asked)


def crash(found: Harness, asked: argparse.Namespace) -> int:
    """Kill watchers as asked, and report."""
    chunk, chunks = map(int, (asked.chunk or "0/1").split("/"))
    status = 0
    if asked.point:
        found.crash(Kill(name=asked.point), *([Kill(name=asked.then)] if asked.then else []))
        status = report(found, 1, "this one")
    if asked.all:
        status = report(found, singles(found, chunk, chunks, asked.only), "single crashes")
    if asked.pairs:
        found.survived.clear()
        found.failed.clear()
        mine = asked.pairs // chunks + (chunk < asked.pairs % chunks)
        print(f"pairs drawn by --pairs {asked.pairs} --seed {asked.seed} --chunk {chunk}/{chunks}", flush=True)
        status = max(status, report(found, pairs(found, mine, asked.seed + chunk), "pairs"))
    return status


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of names are to have one order
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.crashes", *sys.argv[1:]])  # noqa: S606 - ourselves
    raise SystemExit(main())
