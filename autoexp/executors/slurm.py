"""Runs attempts as batch jobs of a Slurm cluster, by its own clients: sbatch, squeue, sacct, scontrol, scancel.

The job's run.sh is the batch script, and an attempt's token the name of its job. How little is believed, and when,
stands in `scheduling`; what the clients print is read in `slurmtext`.
"""

import math
import os
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import gmtime, strftime

from autoexp import hosts, slurmtext
from autoexp.clients import in_background
from autoexp.events import SubmitLost, SubmitRefused, Submitted
from autoexp.machine import Machine
from autoexp.model import Resources
from autoexp.orders import Order, environment_of
from autoexp.pace import Pace
from autoexp.scheduling import Scheduled
from autoexp.submissions import CLOCK_SLACK_S, Entry, Question
from autoexp.throttle import Throttle, limits_of

PATIENCE_S = 30.0
"""How long a client may take."""
NOT_STARTED = 1000
"""Stands for the exit status of a client that could not be started."""
NAMES_AT_ONCE = 500
"""Of how many names sacct is asked at once; the rest comes next time."""
FORGETFUL = ("accounting storage is disabled", "accounting_storage/none")
"""What sacct says where nothing is kept."""
LONG_AGO = "now-30days"
"""Since when sacct looks for jobs of which nobody knows when they were submitted."""
PASSED = ("SLURM_CONF", "SLURM_CLUSTERS")
"""Variables of Slurm's own that its clients need; those of an allocation we may be in would mislead sbatch."""


@dataclass(frozen=True, slots=True)
class Printed:
    """What a client came to."""

    code: int | None
    """Its exit status; None if it took too long and was ended."""
    output: str
    errors: str


@dataclass(slots=True)
class Slurm:
    """The scheduler, by its clients."""

    machine: Machine
    message_timeout_s: float = 60.0
    min_job_age_s: float = 300.0
    """How long the controller itself knows jobs that are over."""
    _is_forgetful: bool = False
    """There is no accounting to ask."""
    _knows_times: bool = False
    _load: Mapping[str, int] = field(default_factory=dict)
    _turn: int = 0
    """With whom sacct is asked to begin next, where they are too many for one question."""

    @property
    def remembers_s(self) -> float:
        """How long it can be asked how a job ended: without accounting soon not any more."""
        return self.min_job_age_s if self._is_forgetful else math.inf

    # Submitting

    def submit(self, order: Order, at: float) -> Submitted | SubmitRefused | SubmitLost:
        """Give run.sh to sbatch."""
        log = _plain(order.attempt_dir.relative_to(order.job_dir) / "output.log", order.job_dir)
        options = (f"--job-name={order.token}", f"--output={log}", "--open-mode=append", "--export=ALL")
        asked = order.resources.options.get("exclude") or self.machine.options.get("exclude")
        excluded = (f"--exclude={','.join(filter(None, (asked, *order.excluded)))}",) if order.excluded else ()
        behind = (f"--dependency=afterany:{order.after}",) if order.after else ()
        command = ("sbatch", "--parsable", *options, *excluded, *behind, order.script)
        printed = call(*command, folder=str(order.job_dir), variables=self._environment(order))
        words = slurmtext.complaint(printed.errors)
        if printed.code == 0 and (number := slurmtext.submitted(printed.output)):
            return Submitted(at=at, attempt=order.attempt, scheduler_id=number)
        if printed.code == NOT_STARTED:
            return SubmitRefused(at=at, attempt=order.attempt, reason=words, temporary=True)
        ended_early = printed.code is None or printed.code <= 0  # by us or a signal, or without an id
        if ended_early or slurmtext.submitted(printed.output) or slurmtext.is_in_doubt(printed.errors):
            how = "sbatch took too long" if printed.code is None else f"sbatch: {words}"
            return SubmitLost(at=at, attempt=order.attempt, reason=how)
        if order.excluded and slurmtext.is_for_want_of_nodes(printed.errors):
            return self.submit(replace(order, excluded=()), at)  # a node to be doubted is better than none
        temporary = slurmtext.is_temporary(printed.errors)
        advice = "" if temporary else slurmtext.fix(printed.errors)
        return SubmitRefused(
            at=at, attempt=order.attempt, reason=f"Slurm refused it: {words}", fix=advice, temporary=temporary
        )

    def _environment(self, order: Order) -> Mapping[str, str]:
        """Return what the job is to see; it gets its TMPDIR where it runs."""
        return {name: value for name, value in environment_of(order, self.machine).items() if name != "TMPDIR"}

    def is_quiet(self, name: str) -> bool:
        """Look for an sbatch that an earlier watcher left behind: what it does, it does soon."""
        return not any(hosts.carriers("AUTOEXP_TOKEN", name))

    # Asking

    def find(self, questions: Sequence[Question]) -> Mapping[str, Sequence[Entry]] | None:
        """Ask squeue for all of our jobs, and sacct, or the controller itself, for those that vanished from it."""
        self._learn()
        printed = call(
            *("squeue", f"--user={os.getuid()}", "--all", "--array", "--states=all", "--noheader"),
            f"--format={slurmtext.QUEUE_FORMAT}",
        )
        if printed.code != 0:
            return None
        there = slurmtext.queue(printed.output)
        self._load = slurmtext.load(printed.output, {question.name for question in questions})
        found: dict[str, Sequence[Entry]] = {q.name: there.get(q.name, []) for q in questions if q.over}
        found |= {question.name: there[question.name] for question in questions if question.name in there}
        vanished = [question for question in questions if question.name not in found]
        return {**found, **self._recall(self._in_turn(vanished))}

    def _in_turn(self, vanished: Sequence[Question]) -> Sequence[Question]:
        """Choose whom to ask about now; whoever stays unknown keeps no other from being asked about."""
        if len(vanished) <= NAMES_AT_ONCE:
            return vanished
        first = self._turn % len(vanished)
        self._turn = first + NAMES_AT_ONCE
        return [*vanished[first:], *vanished[:first]][:NAMES_AT_ONCE]

    def load(self) -> Mapping[str, int]:
        """Say how many of the user's jobs squeue listed that are not over, ours or not."""
        return self._load

    def _recall(self, vanished: Sequence[Question]) -> Mapping[str, Sequence[Entry]]:
        """Ask what became of jobs that the queue does not have."""
        if not vanished:
            return {}
        if not self._is_forgetful:
            printed = call(*_history_command(vanished))
            if printed.code == 0:
                there = slurmtext.history(printed.output)
                return {question.name: there.get(question.name, []) for question in vanished}
            self._is_forgetful = any(sign in printed.errors.lower() for sign in FORGETFUL)
        return dict(self._ask_controller(vanished)) if self._is_forgetful else {}

    def _ask_controller(self, vanished: Sequence[Question]) -> Iterator[tuple[str, Sequence[Entry]]]:
        """Without accounting, the controller's word that it knows no such id is all there is."""
        for question in vanished:
            if question.id is None:
                yield question.name, []
                continue
            printed = call("scontrol", "show", "job", question.id)
            is_another = printed.code == 0 and f"JobName={question.name}" not in printed.output.split()
            if is_another or "Invalid job id" in printed.errors:
                yield question.name, [slurmtext.gone(question.id, question.since)]

    def _learn(self) -> None:
        """Ask how long the controller may take over a message, how long it knows jobs, and who keeps accounts, once."""
        if self._knows_times:
            return
        said = slurmtext.settings(call("scontrol", "show", "config").output)
        if "MessageTimeout" in said:
            self._knows_times = True
            self.message_timeout_s = slurmtext.number(said["MessageTimeout"])
            self.min_job_age_s = slurmtext.number(said.get("MinJobAge", ""), self.min_job_age_s) or math.inf
            self._is_forgetful |= said.get("AccountingStorageType", "") in ("accounting_storage/none", "(null)")

    # Ending

    def end(self, name: str, ids: Collection[str], *, politely: bool) -> bool:
        """Signal the batch script, which passes it on, or end the job; only what has this name."""
        signal = ("--batch", "--signal=TERM") if politely else ()
        printed = call("scancel", f"--name={name}", *signal, *ids)
        return printed.code == 0 and not printed.errors.strip()


def call(
    *command: str,
    folder: str = "/",
    variables: Mapping[str, str] | None = None,
    script: bytes = b"",
    patience_s: float = PATIENCE_S,
) -> Printed:
    """Call a client of Slurm's; it reads `script`, and has few variables besides."""
    passed = {key: value for key, value in os.environ.items() if key in PASSED or key.startswith("SBATCH_")}
    environment = {"PATH": os.environ.get("PATH", os.defpath), **passed, **(variables or {"TZ": "UTC"})}
    try:
        client = subprocess.Popen(  # noqa: S603 - Slurm's own clients, no shell
            command,
            cwd=folder,
            env=environment,
            process_group=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        return Printed(NOT_STARTED, "", f"{command[0]}: error: {error}")
    with client:
        try:
            output, errors = client.communicate(script, patience_s)
        except subprocess.TimeoutExpired as late:
            os.killpg(client.pid, signal.SIGKILL)  # with whatever a site's wrapper has started
            return Printed(None, _text(late.stdout), _text(late.stderr))
    return Printed(client.returncode, _text(output), _text(errors))


def directives(machine: Machine, resources: Resources) -> tuple[str, ...]:
    """Write the #SBATCH lines of run.sh: all that does not change from one attempt to the next."""
    return slurmtext.directives(machine, resources)


def open_executor(machine: Machine) -> Scheduled:
    """Make the executor of a cluster."""
    return Scheduled(
        Slurm(machine),
        in_background,
        Pace(machine.query_interval_s),
        Throttle(limits_of(machine)),
        usual=machine.options,
        submit_interval_s=machine.submit_interval_s,
    )


def _text(printed: bytes | None) -> str:
    return (printed or b"").decode(errors="replace")


def _plain(path: Path, folder: Path) -> str:
    r"""Keep Slurm from replacing %j and the like in the folder of a path; a backslash anywhere tells it not to."""
    return f"{path.parent}/\\{path.name}" if "%" in str(folder) else str(path)


def _history_command(vanished: Sequence[Question]) -> tuple[str, ...]:
    """Ask sacct by name, from before the first submission on: its own window begins at midnight."""
    earliest = min((question.since for question in vanished if question.since), default=0.0)
    return (
        *("sacct", "--allocations", "--duplicates", "--noheader", "--parsable2"),
        f"--starttime={strftime('%Y-%m-%dT%H:%M:%S', gmtime(earliest - CLOCK_SLACK_S)) if earliest else LONG_AGO}",
        f"--name={','.join(question.name for question in vanished)}",
        f"--format={slurmtext.HISTORY_FORMAT}",
    )
