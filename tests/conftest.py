"""What many tests need: a recipe made into a planner, and a room in which the real program watches and is killed."""

import gzip
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent, indent
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from autoexp import cli, recipes, sealing
from autoexp.errors import AutoexpError
from autoexp.history import History
from autoexp.journal import Journal, cut_torn_tails, open_journal
from autoexp.machine import Machine
from autoexp.model import Job, JobSpec, State, Transition
from autoexp.outline import Plan
from autoexp.plan import Planner
from autoexp.recall import Recalled, recall
from autoexp.registry import Ledger
from autoexp.segments import Segment, segment_files
from autoexp.studies import Study
from autoexp.world import HookInfo, World
from tests.browser import Browser

# A busy computer is no failure, and the same commit has the same tests; `--hypothesis-profile explore` looks further.
settings.register_profile("same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=2000)
settings.load_profile("same")


def pytest_configure(config: pytest.Config) -> None:
    """Draw no constants of the code under test, but to explore: which they are depends on what a worker has loaded."""
    if config.getoption("--hypothesis-profile") is None:
        pytest.MonkeyPatch().setattr(providers, "_get_local_constants", Constants)


# Started in the background, or under nohup, we would hand on that these are ignored, and programs could not be stopped.
for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, signal.SIG_DFL)

REPOSITORY = Path(__file__).parent.parent
POLL_S = 0.01
PATIENT_S = 240.0
"""How long a program may take at most: one that loads torch takes a minute on a busy computer."""
PATIENCE_S = 60.0
"""Far more than anything here takes: a wait that lasts so long has failed."""


def wait_until(holds: Callable[[], Any], what: str = "", within_s: float = PATIENCE_S) -> Any:
    """Wait for something to be true, and return it."""
    until = time.monotonic() + within_s
    while not (found := holds()):
        if time.monotonic() >= until:
            pytest.fail(f"{what or 'it'} did not come about within {within_s} s")
        time.sleep(POLL_S)
    return found


def processes_with(entry: bytes) -> Iterator[int]:
    """List the living processes whose environment began with this entry."""
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal():
            continue
        try:
            if entry in (place / "environ").read_bytes().split(b"\0"):
                yield int(place.name)
        except OSError:  # gone, or not ours
            continue


@dataclass
class Room:
    """A folder with recipes, machines and hooks, an experiments root, and the programs that were started for it."""

    home: Path
    prefix: tuple[str, ...] = ()
    """What programs are started through."""
    variables: dict[str, str] = field(default_factory=dict)
    watchers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.home / "experiments"

    @property
    def var(self) -> Path:
        return self.home / "var" / "experiments"

    def job_dir(self, job: str, study: str = "demo") -> Path:
        return self.root / study / "jobs" / job

    def attempt_dir(self, job: str, attempt: int = 1, study: str = "demo") -> Path:
        return self.job_dir(job, study) / "attempts" / f"{attempt:03d}"

    # Starting programs

    def environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        ours = {"HOME": str(self.home), "TMPDIR": str(self.home), "PYTHONPATH": str(REPOSITORY)}
        return {**inherited, **ours, **self.variables}

    def command(self, *words: str | Path) -> list[str]:
        return [*self.prefix, sys.executable, "-W", "error", "-m", "autoexp", *map(str, words)]

    def settings(self, **options: Any) -> dict[str, Any]:
        return {"env": self.environment(), "cwd": self.home, **options}

    def run(self, *words: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run the program to its end."""
        settings = self.settings(timeout=PATIENT_S, **options)
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False, **settings)

    def run_into(self, output: int, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run the program with its output in a file that is open, and closed then."""
        settings = self.settings(stdout=output, stderr=subprocess.PIPE, timeout=PATIENT_S)
        try:
            return subprocess.run(self.command(*words), text=True, check=False, **settings)
        finally:
            os.close(output)

    def start(self, *words: str | Path, **options: Any) -> "subprocess.Popen[bytes]":
        """Start the program; it is killed at the end if it still runs."""
        with (self.home / "started.log").open("ab") as log:
            program = subprocess.Popen(
                self.command(*words), **self.settings(**{"stdout": log, "stderr": log, **options})
            )
        self.watchers.append(program)
        return program

    def watch(self, *options: str | Path, **settings: Any) -> "subprocess.Popen[bytes]":
        """Start a watcher, and wait until it has the root."""
        watcher = self.start("watch", self.root, *options, **settings)
        lease = self.root / ".autoexp" / "lease.json"

        def holds() -> bool:
            assert watcher.poll() is None, self.said()
            try:
                record = json.loads(lease.read_bytes())
            except FileNotFoundError:
                return False
            return bool(record["held"] and record["pid"] == watcher.pid and "epoch" in record)

        wait_until(holds, "the watcher")
        return watcher

    def serve(self, *options: str) -> str:
        """Start a page server, and return the address that it prints."""
        server = self.start("serve", self.root, *options, stdout=subprocess.PIPE)
        assert server.stdout is not None
        with server.stdout as printed:
            found = next(filter(None, (re.search(r"http://\S+", line.decode()) for line in printed)), None)
        assert found, self.said()
        return found[0]

    def said(self) -> str:
        """What the started programs printed."""
        log = self.home / "started.log"
        return log.read_text() if log.exists() else ""

    def stop(self, watcher: "subprocess.Popen[bytes]", number: signal.Signals = signal.SIGINT) -> int:
        watcher.send_signal(number)
        return watcher.wait(PATIENCE_S)

    # Recipes

    def write(self, name: str, text: str) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    def machine(self, **settings: Any) -> None:
        """Write the machine file of this room; durations are short unless they are given."""
        usual = {"executor": "local", "cpus": 64, "gpus": 0, "visibility": "1s", "stop_grace": "5s", "sweep": "10s"}
        lines = [f"{key}: {value}\n" for key, value in {**usual, **settings}.items()]
        self.write("machines/bench.yaml", "".join(lines))

    def plan(self, stages: str, *words: str, study: str = "demo") -> "subprocess.CompletedProcess[str]":
        """Plan a study of these stages, and see that it worked."""
        self.write(f"{study}.yaml", f"study: {study}\nmachine: bench\nstages:\n" + indent(dedent(stages), "  "))
        done = self.run("plan", f"{study}.yaml", "--root", self.root, *words)
        assert done.returncode == 0, done.stderr
        return done

    # Looking

    def inside(self, *words: str | Path) -> Any:
        """Run a reading command in this process, and return the JSON it prints."""
        printed = io.StringIO()
        with redirect_stdout(printed):
            assert cli.main([str(word) for word in words]) == 0
        return json.loads(printed.getvalue())

    def rows(self, study: str = "demo") -> dict[str, dict[str, Any]]:
        """What `status --json` says of a study's jobs."""
        said = self.inside("status", self.root, "--json")
        return {job["job"]: job for entry in said["studies"] if entry["study"] == study for job in entry["jobs"]}

    def states(self, study: str = "demo") -> dict[str, str]:
        return {name: row["state"] for name, row in self.rows(study).items()}

    @staticmethod
    def wait_until(holds: Callable[[], Any], what: str = "", within_s: float = PATIENCE_S) -> Any:
        return wait_until(holds, what, within_s)

    @staticmethod
    def wait_until_after(seconds: float) -> None:
        """Let time pass, where time is what is tested."""
        time.sleep(seconds)

    def wait_for(self, wanted: Mapping[str, str], study: str = "demo", within_s: float = PATIENCE_S) -> None:
        """Wait until these jobs are in these states."""
        until = time.monotonic() + within_s
        while (found := {job: self.states(study).get(job) for job in wanted}) != dict(wanted):
            assert time.monotonic() < until, f"{found}, not {dict(wanted)}\n{self.said()}"
            time.sleep(POLL_S)

    def journal(self) -> list[dict[str, Any]]:
        """The journal's lines but each file's first, as they stand on disk."""
        files = list((self.var / "journal").glob("[0-9]*.jsonl*"))
        by_epoch = {int(path.name.partition(".")[0]): path for path in sorted(files)}  # the sealed one counts
        opened = [(gzip.open if path.suffix == ".gz" else open)(path, "rt") for _, path in sorted(by_epoch.items())]
        with ExitStack() as stack:
            return [json.loads(line) for file in opened for line in stack.enter_context(file).readlines()[1:]]

    def moves(self, job: str) -> list[tuple[str, str, str]]:
        """A job's journaled moves: trigger, from, to."""
        return [(r["trigger"], r["from"], r["to"]) for r in self.journal() if r["job"] == job]

    # Markers

    def touch(self, job: str, verb: str, study: str = "demo") -> Path:
        marker = self.job_dir(job, study) / "markers" / verb
        marker.touch()
        return marker

    def answers(self, job: str, study: str = "demo") -> list[tuple[str, dict[str, Any]]]:
        """The answers to a job's markers, oldest first: `taken` or `refused`, and what it says."""
        folder = (self.job_dir(job, study) if job else self.root / study) / "markers"
        files = [path for kind in ("taken", "refused") for path in (folder / kind).glob("*.json")]
        return [(path.parent.name, json.loads(path.read_text())) for path in sorted(files, key=lambda p: p.name)]

    def wait_answer(self, job: str, count: int = 1, study: str = "demo") -> tuple[str, dict[str, Any]]:
        """Wait for the count-th answer."""
        folder = (self.job_dir(job, study) if job else self.root / study) / "markers"
        wait_until(lambda: len([*folder.glob("taken/*.json"), *folder.glob("refused/*.json")]) >= count, "an answer")
        return self.answers(job, study)[-1]

    # Processes

    def processes(self) -> list[int]:
        """The living processes of this room's jobs."""
        return sorted(processes_with(f"AUTOEXP_ROOT={self.root}".encode()))

    def kill_jobs(self) -> None:
        """Kill the living processes of this room's jobs; some end with others."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def fail(self, job: str, attempt: int = 1, study: str = "demo") -> None:
        """Kill all of an attempt but run.sh, which then says how it ended."""
        leader = self.pid_of(job, attempt, study)
        token = json.loads((self.attempt_dir(job, attempt, study) / "intent.json").read_text())["token"]
        for pid in processes_with(f"AUTOEXP_TOKEN={token}".encode()):
            if pid != leader:
                os.kill(pid, signal.SIGKILL)

    def pid_of(self, job: str, attempt: int = 1, study: str = "demo") -> int:
        """The process of run.sh, which claims its attempt before it says who it is."""
        begun = self.attempt_dir(job, attempt, study) / "started.json"
        wait_until(begun.exists, str(begun))
        return int(json.loads(begun.read_text())["pid"])

    def close(self) -> None:
        """Kill every watcher, then every process of every job."""
        for watcher in self.watchers:
            if watcher.poll() is None:
                watcher.kill()
            watcher.wait()
        while self.processes():
            self.kill_jobs()
            time.sleep(POLL_S)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """A room for one test."""
    with room_in(tmp_path) as found:
        yield found


@pytest.fixture(scope="session")
def make_room() -> Callable[[Path], AbstractContextManager[Room]]:
    """Make a room in a folder, for as long as a with statement says."""
    return room_in


@pytest.fixture
def humble() -> tuple[str, ...]:
    """What to start a program through so that a missing permission stops it, even if we are root."""
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()


@contextmanager
def room_in(home: Path) -> Iterator[Room]:
    found = Room(home)
    found.machine()
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for a module's tests; what others asked for is none of theirs."""
    found = Browser(tmp_path_factory.mktemp("browser"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def whole_shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one file of a whole checkpoint of one rank, as Megatron-LM saves it; it fits any iteration."""
    path = tmp_path_factory.mktemp("shard") / "model_optim_rng.pt"
    state = "{'args': argparse.Namespace(a=1), 'model': {}, 'optimizer': {}}"
    script = f"import argparse, sys, torch; torch.save({state}, sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, path], check=True)
    return path


@pytest.fixture
def save_checkpoint(whole_shard: Path) -> Callable[..., Path]:
    """Save a checkpoint below a folder, as a training would; `whole` and `tracker` say how far it has come."""

    def save(checkpoints: Path, iteration: int, *, whole: bool = True, tracker: bool = True) -> Path:
        rank = checkpoints / f"iter_{iteration:07d}" / "mp_rank_00"
        rank.mkdir(parents=True, exist_ok=True)
        data = whole_shard.read_bytes()
        (rank / whole_shard.name).write_bytes(data if whole else data[:-100])
        if tracker:
            (checkpoints / "latest_checkpointed_iteration.txt").write_text(f"{iteration}\n")
        return rank.parent

    return save


@pytest.fixture
def wait() -> Callable[..., Any]:
    """Wait for something to be true."""
    return wait_until


@pytest.fixture
def make_ledger(tmp_path: Path) -> Callable[..., Ledger]:
    """Make a study on no disk yet, with the jobs given."""

    def make(*jobs: Job, machine: Machine | None = None, **plan: Any) -> Ledger:
        specs = tuple(job.spec for job in jobs)
        study = Study(
            dir=tmp_path / "experiments" / "demo",
            plan=Plan(study="demo", jobs=specs, **plan),
            machine=machine or Machine(name="bench", cpus=4, gpus=0),
            key="0000",
        )
        ledger = Ledger(study)
        for job in jobs:
            ledger.put(job)
        return ledger

    return make


@pytest.fixture
def make_spec() -> Callable[..., JobSpec]:
    """Make a job as planned: a shell command, unless more is said."""

    def make(name: str = "one", script: str = "true", **fields: Any) -> JobSpec:
        usual: dict[str, Any] = {"study": "demo", "stage": name, "argv": ("sh", "-c", script), "key": "0000"}
        return JobSpec(id=name, **{**usual, **fields})

    return make


HOOKS = {"cooldown_symlink": "", "convert_eval": "", "megatron_to_hf": "hf", "evaluate": "eval", "nccl_gate": ""}
"""Hooks by name, each with the folder it writes to."""

Plans = Callable[..., Planner]


def find_hook(name: str) -> HookInfo:
    if name not in HOOKS:
        raise AutoexpError(f"unknown hook {name!r}", why=f"there are {', '.join(HOOKS)}", fix="correct the name")
    return HookInfo(name=name, path=f"/hooks/{name}.py", output=HOOKS[name])


@pytest.fixture
def planner(tmp_path: Path) -> Plans:
    """Make a planner of a recipe's text, with KEY=VALUE overrides and what else the world holds."""

    def make(text: str, *overrides: str, **world: Any) -> Planner:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        machine = world.pop("machine", Machine(name="here", python="python"))
        known = World(**{"machine": machine, "root": "/root", "hooks": find_hook, "key": "k3y", **world})
        return Planner(recipes.load(path, overrides), known)

    return make


AT = 1_795_210_801.123456
"""2026-11-20T21:40:01.123456Z"""


@dataclass
class Scribe:
    """Writes a journal as one watcher after the other would."""

    folder: Path
    open: ExitStack

    def move(self, number: int = 0, **fields: Any) -> Transition:
        usual: dict[str, Any] = {"at": AT + number, "study": "demo", "job": f"job{number}", "attempt": 1}
        states = {"trigger": "conditions_met", "source": State.WAITING, "target": State.SUBMITTING}
        return Transition(**{**usual, **states, **fields})

    def begin(self, recalled: Recalled | None = None) -> Journal:
        """Read the journal as the next watcher does, and begin its next file."""
        read = recalled or recall(self.folder.parent)
        cut_torn_tails(read.history.segments)
        holder = {"host": "here", "pid": 1}
        journal = open_journal(
            self.folder, read.history.segments, read.standings, read.history.seq, holder=holder, at=AT
        )
        self.open.callback(journal.close)
        return journal

    def write(self, *counts: int) -> list[Transition]:
        """Write as many files as there are counts, each with so many moves; return these."""
        written = []
        for number, count in enumerate(counts):
            journal = self.begin()
            moves = [self.move(100 * number + n) for n in range(count)]
            journal.append(moves)
            written += moves
            journal.close()
        return written

    def read(self) -> list[dict[str, Any]]:
        return list(History(self.folder).records())

    def segments(self) -> list[Segment]:
        history = History(self.folder)
        list(history.records())
        return history.segments

    def seal(self) -> None:
        """Seal all but the newest file."""
        for _ in sealing.seal(self.folder, max(segment_files(self.folder))):
            pass

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def scribe(tmp_path: Path) -> Iterator[Scribe]:
    """A journal in a folder of its own."""
    with ExitStack() as stack:
        yield Scribe(tmp_path / "journal", stack)


@pytest.fixture
def damage() -> Callable[[Path, int, int], None]:
    """Change bits of one byte of a file."""

    def do(path: Path, at: int, mask: int) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= mask
        path.write_bytes(data)

    return do


@pytest.fixture
def load() -> Callable[[str], ModuleType]:
    """Load a hook the way autoexp does: by its file."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(
            f"hook_{name}", Path(__file__).parent.parent / "hooks" / f"{name}.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def two_items(tmp_path: Path) -> tuple[Path, int]:
    """A file of two of torch's items, as a distributed checkpoint has them, and where the second begins."""
    import torch  # noqa: PLC0415 - slow to load, and few tests need it

    items = []
    for value in ([{"iteration": 6}], {"w": 1}):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        items.append(buffer.getvalue())
    (tmp_path / "__0_0.distcp").write_bytes(b"".join(items))
    return tmp_path / "__0_0.distcp", len(items[0])
