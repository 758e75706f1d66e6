"""A month on a bad cluster, in virtual time: a study, a watcher that is killed again and again, and people's markers.

`run` plays one seed and returns what happened; `broken` lists what must not have.
"""

import itertools
import os
import shutil
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from autoexp import hooks, recipes, segments, study_files
from autoexp.engine import Engine
from autoexp.events import SubmitLost, SubmitRefused, Submitted
from autoexp.history import History
from autoexp.journal import to_transition
from autoexp.machine import Machine
from autoexp.model import OVER, Job, State, Transition, Verb
from autoexp.orders import Order
from autoexp.plan import Planner
from autoexp.registry import Key, Registry
from autoexp.simulation.cluster import Cluster, Run
from autoexp.simulation.site import Site, open_site
from autoexp.simulation.weather import DAY_S, HOUR_S, Weather
from autoexp.standings import Standings
from autoexp.studies import Study
from autoexp.world import World

BEGAN_AT = 1_700_000_000.0
CALM_AT = BEGAN_AT + 21 * DAY_S
TOO_LATE = BEGAN_AT + 120 * DAY_S
INVISIBLE_S = 50.0
MACHINE = Machine(name="hpc", executor="slurm", sweep_s=6 * HOUR_S, visibility_s=60.0, python="python")
TRAIN_ITERS, BRANCH, CONVERTED_EVERY = 1000, 800, 200
RECIPE = """
study: month
machine: hpc
params: {train_iters: 1000, branch: 800}
stages:
  pretrain:
    backend: megatron
    args: {train-iters: "${train_iters}", save-interval: 100}
    resources: {walltime: 2d}
    retry: {max_attempts: 8, backoff: 5m}
  cooldown:
    sweep: {params: {lr: [1e-3, 3e-3, 1e-2]}}
    backend: megatron
    start: {checkpoint_reached: {stage: pretrain, iteration: "${branch}"}}
    prepare: {cooldown_symlink: {from: "${sibling.pretrain.checkpoints}", iteration: "${branch}"}}
    args: {train-iters: "${train_iters}", save-interval: 100, lr: "${lr}"}
    resources: {walltime: 2d}
    retry: {max_attempts: 8, backoff: 5m}
  convert:
    each: {checkpoint: [pretrain, cooldown], every: 200}
    command: [convert, "${checkpoint}"]
    retry: {max_attempts: 4, backoff: 5m}
  choose:
    needs: [cooldown]
    command: [choose]
    retry: {max_attempts: 4, backoff: 5m}
"""
WISHES: dict[Verb, int] = {
    Verb.HOLD: 5, Verb.RELEASE: 5, Verb.RESTART: 2, Verb.RETRY: 3, Verb.SAVE: 2, Verb.CANCEL: 1, Verb.SUCCEED: 1,
    Verb.FAIL: 1,
}  # fmt: skip
"""How often people ask for what."""
HARMLESS = (Verb.HOLD, Verb.RELEASE, Verb.RESTART, Verb.SAVE)
"""What they ask of the pretraining, which all else depends on."""


MOST_WAKES_AT_ONCE = 200
"""Time stands still while the watcher does not wait: it never waits for nothing."""


class RestlessError(Exception):
    """The watcher keeps a processor busy with nothing."""


class Killed(BaseException):
    """The watcher is killed here."""


@dataclass(slots=True)
class Frail(Cluster):
    """A cluster whose clients outlive the watcher that is killed while it submits."""

    clients: dict[str, float] = field(default_factory=dict)
    """Until when a client is at work."""
    on_kill: Callable[[], None] = lambda: None
    """Who is killed does nothing more."""

    def submit(self, order: Order, at: float) -> Submitted | SubmitRefused | SubmitLost:
        chance = self._chance("killed", order.token, at)
        if chance.random() > 0.05 or at >= CALM_AT:
            return super(Frail, self).submit(order, at)
        lasts_s = chance.uniform(0, 200)
        self.clients[order.token] = at + lasts_s
        if chance.random() < 0.6:
            self.take_late(order, chance, lasts_s)
        self.on_kill()
        raise Killed

    def is_quiet(self, name: str) -> bool:
        return self.clients.get(name, 0.0) <= self.timeline.now


@dataclass(slots=True)
class Campaign:
    """One seed, as it goes."""

    site: Site
    var: Path
    chance: Random
    faults: list[str] = field(default_factory=list)
    restarts: int = 0
    torn: int = 0
    """Half lines that were found and cut."""
    engine: Engine | None = None
    kills_until: float = CALM_AT
    over_at: float = 0.0
    """When a job was last seen that is not over."""
    wakes: tuple[float, int] = (0.0, 0)
    """When it woke last, and how often just then."""
    kill_in: int = 0
    """How often the clock is still read before the watcher is killed."""

    @property
    def memory(self) -> dict[Key, Job]:
        """The jobs as the last watcher has them."""
        return dict(self.engine.registry.all_jobs()) if self.engine else {}

    @property
    def now(self) -> float:
        return self.site.timeline.now

    def disarm(self) -> None:
        """Kill it no more: it is dead, and what closes its files reads the clock too."""
        self.kill_in = 0

    def read_clock(self) -> float:
        self.kill_in -= 1
        if self.kill_in == 0 and self.now < self.kills_until:
            raise Killed
        return self.now

    def warning(self, what: str, **_: object) -> None:
        """Take what the watcher logs."""
        if what == "torn_tail_cut":
            self.torn += 1

    def play(self) -> None:
        """Watch to the end, however often the watcher is killed."""
        self._ask_for_something()
        self.site.timeline.after(CALM_AT - self.now, self._keep_releasing)
        while self.now < TOO_LATE:
            self.kill_in = int(self.chance.expovariate(1 / 1500)) + 1
            recovered: Engine | None = None
            try:
                with self.site.watching(self.var, self, self.read_clock) as engine:
                    self.engine = recovered = engine
                    engine.run(self._is_done)
            except Killed:
                self.restarts += 1
                if recovered is not None:
                    self._compare(recovered)
                self._tear_the_journal()
                self.site.timeline.advance(self.now + self.chance.expovariate(1 / HOUR_S))
            else:
                return

    def _is_done(self, engine: Engine) -> bool:
        """Say whether all is over, and has been for a while: what the scheduler queued again itself is taken back."""
        at, times = self.wakes
        self.wakes = self.now, times + 1 if at == self.now else 1
        if self.wakes[1] > MOST_WAKES_AT_ONCE:
            raise RestlessError(f"it wakes again and again at {self.now}")
        if engine.unfinished() or self.now < CALM_AT + DAY_S:
            self.over_at = self.now
        return self.now > min(TOO_LATE, self.over_at + HOUR_S)

    def _compare(self, engine: Engine) -> None:
        """Compare the journal with what the watcher has in memory."""
        replayed = dict(replay(self.site.root, self.var).all_jobs())
        if replayed != (memory := dict(engine.registry.all_jobs())):
            self.faults.append(f"the journal says {differing(replayed, memory)}")

    def _tear_the_journal(self) -> None:
        """Leave half a line behind, as a kill in the middle of a write does."""
        files = segments.segment_files(self.var / "journal")
        if self.chance.random() < 0.2 and files:  # killed early, it has none
            with files[max(files)].open("ab") as file:
                file.write(b'{"v":1,"seq":')

    # People

    def _ask_for_something(self) -> None:
        """Drop a marker now and then."""

        def ask() -> None:
            folders = sorted(self.site.root.glob("month/jobs/*/markers"))
            if folders and self.now < CALM_AT:
                verb, folder = self.chance.choices(list(WISHES), list(WISHES.values()))[0], self.chance.choice(folders)
                if verb in HARMLESS or folder.parent.name != "pretrain":
                    self._drop(folder, verb)
                self._ask_for_something()

        self.site.timeline.after(self.chance.expovariate(1 / (1.5 * DAY_S)), ask)

    def release_all(self) -> None:
        """Let everything that is held go on."""
        for key, job in self.engine.registry.all_jobs() if self.engine else ():
            if job.state is State.HELD:
                self._drop(self.site.root / "month" / "jobs" / key.job / "markers", Verb.RELEASE)

    def _keep_releasing(self) -> None:
        """Do so again and again: a hold may still be on its way."""
        self.release_all()
        self.site.timeline.after(HOUR_S * 6, self._keep_releasing)

    def _drop(self, folder: Path, verb: Verb) -> None:
        (folder / verb).touch()
        self.site.observer.happened(folder)


def replay(root: Path, var: Path) -> Registry:
    """Fold the journal from its beginning."""
    registry = Registry(root)
    registry.load(root / "month")
    standings = Standings()
    History(var / "journal").replay(standings)
    registry.replay(standings)
    return registry


def differing(one: dict[Key, Job], other: dict[Key, Job]) -> str:
    keys = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
    return "; ".join(f"{key.job}: {one.get(key)} where memory has {other.get(key)}" for key in sorted(keys))


def plan(home: Path) -> Path:
    """Plan the study into home/experiments, or put it back as it was planned; return that root."""
    root, kept = home / "experiments", home / "planned"
    for folder in (root, home / "var"):
        shutil.rmtree(folder, ignore_errors=True)
    if not kept.exists():
        root.mkdir(parents=True)
        (home / "recipe.yaml").write_text(RECIPE)
        recipe = recipes.load(home / "recipe.yaml")
        world = World(machine=MACHINE, root=str(root), hooks=hooks.find, variables={}, key="5eed")
        sha256 = study_files.sha256_of(recipe.text)
        planned = Planner(recipe, world).plan()
        study = Study(dir=root / "month", plan=planned, machine=MACHINE, key="5eed", recipe_sha256=sha256)
        study_files.write(study, recipe.text, None)
        shutil.copytree(root, kept)
    else:
        shutil.copytree(kept, root)
    return root


def run(seed: int, home: Path) -> Campaign:
    """Play one seed to its end, in a folder that earlier seeds may have used."""
    root = plan(home)
    weather = Weather(str(seed), BEGAN_AT, CALM_AT)
    site = open_site(root, MACHINE, weather, INVISIBLE_S, Frail)
    played = Campaign(site, home / "var" / root.name, Random(f"{seed}/people"))
    if isinstance(site.cluster, Frail):
        site.cluster.on_kill = played.disarm
    played.play()
    played.faults += broken(played)
    return played


def memory_disk() -> Path | None:
    """Return a folder whose files are in memory, where there is one."""
    folder = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    return folder if folder.is_dir() and os.access(folder, os.W_OK) else None


def faults_of(seed: int, home: str) -> list[str]:
    """Play a seed, and list what went wrong; what broke off is told with its seed too."""
    try:
        return run(seed, Path(home)).faults
    except Exception:  # noqa: BLE001 - whatever it was
        return [traceback.format_exc()]


def told(seed: int, faults: list[str]) -> str:
    """Say what went wrong, and how to see it again."""
    again = f"python -m tests.simulation --first {seed} --seeds 1"
    return "\n  ".join((f"seed {seed} (again: {again}):", *faults))


# What must hold


def broken(played: Campaign) -> Iterator[str]:
    """List what went wrong, for a person to read."""
    moves = [to_transition(record) for record in History(played.var / "journal").records()]
    cluster = played.site.cluster
    yield from _unfinished(played)
    yield from _lost(played.memory, moves)
    yield from _orphans(cluster)
    yield from _twice(cluster)
    yield from _submissions(moves, cluster)
    yield from _lost_on_silence(moves, cluster)
    yield from _left_their_end(moves)
    replayed = dict(replay(played.site.root, played.var).all_jobs())
    if replayed != played.memory:
        yield f"the journal says {differing(replayed, played.memory)}"
    waiting = [path for path in played.site.root.glob("month/jobs/*/markers/*") if path.is_file()]
    yield from (f"the marker {path} was never answered" for path in waiting)


def _unfinished(played: Campaign) -> Iterator[str]:
    for key, job in played.memory.items():
        if job.state not in OVER:
            yield f"{key.job} is {job.state} at the end: {job.reason}"


def _lost(memory: dict[Key, Job], moves: list[Transition]) -> Iterator[str]:
    """Checkpoints that were not found or not converted, and jobs that did not succeed though nobody asked for that."""
    asked = {(move.job, move.trigger) for move in moves}
    for key, job in memory.items():
        yield from _lost_checkpoints(job, memory, succeeded=(key.job, "succeed_requested") not in asked)
        spent = job.spent >= job.spec.retry.max_attempts
        if job.state is State.FAILED and not spent and (key.job, "fail_requested") not in asked:
            yield f"{key.job} failed after {job.spent} attempts: {job.reason}"
        if job.state is State.CANCELLED and (key.job, "cancel_requested") not in asked:
            yield f"{key.job} was cancelled, and nobody asked for it: {job.reason}"


def _lost_checkpoints(job: Job, memory: dict[Key, Job], *, succeeded: bool) -> Iterator[str]:
    if job.spec.backend != "megatron":
        return
    own = {iteration for iteration in job.checkpoints if iteration % CONVERTED_EVERY == 0}
    for name in (f"convert-{job.id}@{iteration:07d}" for iteration in own):
        if Key(job.spec.study, name) not in memory:
            yield f"{name} never appeared"
    first = 0 if job.spec.stage == "pretrain" else BRANCH
    due = {*range(first + CONVERTED_EVERY, TRAIN_ITERS + 1, CONVERTED_EVERY)}
    if job.state is State.SUCCEEDED and succeeded and due - own:
        yield f"{job.id} succeeded, and of its checkpoints only {sorted(own)} were found"


def _orphans(cluster: Cluster) -> Iterator[str]:
    """Jobs that the scheduler still has, though all of the study is over."""
    for token, jobs in cluster.jobs.items():
        yield from (f"{token} is {job.state} as job {job.id} at the end" for job in jobs if job.state != "over")


def _twice(cluster: Cluster) -> Iterator[str]:
    """Two runs of one attempt, unless the scheduler itself started the same job again; two of one job at once."""
    tokens, homes = defaultdict[str, list[Run]](list), defaultdict[Path, list[Run]](list)
    for run in cluster.runs:
        tokens[run.token].append(run)
        homes[run.home].append(run)
    for token, runs in tokens.items():
        if len({run.id for run in runs}) > 1:
            yield f"{token} had an effect as {', '.join(run.id for run in runs)}"
    for home, runs in homes.items():
        for before, after in itertools.pairwise(runs):
            if before.ended_at is None or before.ended_at > after.began_at:
                yield f"{after.token} began in {home.name} while {before.token} ran"


def _submissions(moves: list[Transition], cluster: Cluster) -> Iterator[str]:
    """One submission an attempt; another one only after an answer that left an earlier one out."""
    heard = {f"{move.job}.{move.attempt}.5eed" for move in moves if move.trigger == "submitted"}
    yield from (f"{token} was submitted again, and the last answer had it" for token in cluster.again)
    yield from (
        f"{token} counts as submitted, and the scheduler never had it" for token in heard - cluster.taken.keys()
    )


def _lost_on_silence(moves: list[Transition], cluster: Cluster) -> Iterator[str]:
    """An attempt is given up only if it is over, and left no exit file."""
    attempts: dict[str, int] = {}
    for move in moves:
        attempt, attempts[move.job] = attempts.get(move.job), move.attempt  # its end may begin the next one
        if move.trigger == "ended" and "code" not in move.evidence:
            token = f"{move.job}.{attempt}.5eed"
            for run in cluster.runs:
                lives = run.ended_at is None or run.ended_at > move.at
                if run.token == token and run.began_at < move.at and (lives or run.code is not None):
                    yield f"{token} was given up ({move.evidence['reason']}), and it {'runs' if lives else 'had ended'}"
            taken_back = "taken back" in str(move.evidence["reason"])  # it holds the claim: what is queued runs nothing
            if not taken_back and any(
                job.submitted_at < move.at and _lived(job.ended_at, move.at) for job in cluster.jobs[token]
            ):
                yield f"{token} was given up ({move.evidence['reason']}) while the scheduler had it"


def _lived(ended_at: float | None, at: float) -> bool:
    return ended_at is None or ended_at > at


def _left_their_end(moves: list[Transition]) -> Iterator[str]:
    """What is over stays over, unless a person says otherwise."""
    for move in moves:
        if move.source in OVER and move.target is not move.source and not move.trigger.endswith("_requested"):
            yield f"{move.job} went from {move.source} to {move.target} by {move.trigger}"
