"""What Slurm's clients print, and what it means. Pure text; the formats are those of squeue(1), sacct(1) and sbatch(1).

States, reasons and messages are Slurm's own, 22.05 to 24.11. A state that is unknown here counts as live: it moves
nothing.
"""

import re
from calendar import timegm
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping
from time import strptime

from autoexp import nodelists
from autoexp.endings import BEFORE_THE_LIMIT, Said
from autoexp.machine import Machine
from autoexp.model import EndingClass, Resources
from autoexp.policies import gpus_of_gres
from autoexp.submissions import Entry
from autoexp.throttle import PLACES, places_of

QUEUE_FORMAT = "%A|%T|%V|%P|%q|%r|%N|%j"
"""For squeue: id, state, time of submission, partition, QOS, reason, nodes, name; in a name may stand anything."""
MIB = 1 << 20
HISTORY_FORMAT = "JobIDRaw,State,Submit,ExitCode,NodeList,JobName%255"
"""For sacct, with --parsable2."""

_OVER: Mapping[str, EndingClass | None] = {
    "COMPLETED": EndingClass.UNKNOWN,  # its exit file says more, and that is what counts
    "FAILED": EndingClass.CRASHED,
    "TIMEOUT": EndingClass.TIME_LIMIT,
    "DEADLINE": EndingClass.TIME_LIMIT,
    "PREEMPTED": EndingClass.PREEMPTED,
    "NODE_FAIL": EndingClass.NODE_FAIL,
    "BOOT_FAIL": EndingClass.NODE_FAIL,
    "OUT_OF_MEMORY": EndingClass.HOST_OOM,
    "CANCELLED": EndingClass.CANCELLED,
    "LAUNCH_FAILED": EndingClass.LAUNCH,
    "RECONFIG_FAIL": EndingClass.LAUNCH,
    "REVOKED": EndingClass.UNKNOWN,
}
_WAITING = ("PENDING", "SUSPENDED", "STOPPED", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT")


def queue(text: str) -> dict[str, list[Entry]]:
    """Read squeue's lines, by name; lines that are none of them are left out: absence proves nothing."""
    found = defaultdict(list)
    for number, state, submitted, _, _, reason, nodes, name in _queue_lines(text):
        if (at := seconds(submitted)) is not None:
            found[name].append(_entry(number, state, at, nodes, "" if reason == "None" else reason))
    return dict(found)


def load(text: str, ours: Container[str]) -> Counter[str]:
    """Count the jobs of squeue's lines that are not over: by partition, by QOS, and all.

    Those that run count by themselves too, and with them what is `ours`, by its name, and may run at any moment.
    """
    counts = Counter[str]()
    for _, state, _, partition, qos, _, _, name in _queue_lines(text):
        if _word(state) not in _OVER:
            named = dict(zip(PLACES, (partition, qos), strict=True))
            counts.update(places_of(named, running=_word(state) != "PENDING" or name in ours))
    return counts


def _queue_lines(text: str) -> Iterator[list[str]]:
    count = len(QUEUE_FORMAT.split("|"))
    lines = (line.split("|", count - 1) for line in text.splitlines())
    return (fields for fields in lines if len(fields) == count and fields[0].isdecimal())


def _word(state: str) -> str:
    return state.split(" ", maxsplit=1)[0].rstrip("+")


def history(text: str) -> dict[str, list[Entry]]:
    """Read sacct's lines, by name; of one id that was queued again, the last run counts."""
    found: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
    for line in text.splitlines():
        fields = line.split("|", 5)
        if len(fields) == len(HISTORY_FORMAT.split(",")) and fields[0].isdecimal():
            number, state, submitted, code, nodes, name = fields
            if (at := seconds(submitted)) is not None:
                entry = _entry(number, state, at, nodes, "" if code in ("", "0:0") else f"exit code {code}")
                before = found[name].get(number)
                if before is None or (entry.submitted_at, entry.live) >= (before.submitted_at, before.live):
                    found[name][number] = entry
    return {name: list(entries.values()) for name, entries in found.items()}


def _entry(number: str, state: str, submitted_at: float, nodes: str, why: str) -> Entry:
    word = _word(state)
    ending = _OVER.get(word)
    words = f"Slurm says {state}{f' ({why})' if why else ''}"
    hosts = tuple(nodelists.spelled_out(nodes))
    said = Said(ending=ending, words=words, hosts=hosts, waits=word in _WAITING)
    return Entry(id=number, submitted_at=submitted_at, live=word not in _OVER, said=said)


def gone(number: str, submitted_at: float) -> Entry:
    """Describe a job that the controller, which answers, knows no more."""
    return Entry(id=number, submitted_at=submitted_at, live=False, said=Said(words="Slurm no longer knows it"))


def settings(text: str) -> dict[str, str]:
    """Read what `scontrol show config` prints: NAME = VALUE."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, sign, value in pairs if sign}


def number(text: str, otherwise: float = 60.0) -> float:
    """Read the number of a setting such as `300 sec`."""
    found = re.match(r"\d+", text)
    return float(found[0]) if found else otherwise


def seconds(text: str) -> float | None:
    """Read a time of Slurm's, which was asked to speak UTC, as seconds since the epoch."""
    try:
        return float(timegm(strptime(text, "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return None


# The batch script


def directives(machine: Machine, resources: Resources) -> tuple[str, ...]:
    """Write a job's #SBATCH lines. Its program starts once a node, with all of its cores; srun may start more."""
    options: dict[str, str] = {
        **machine.options,
        "nodes": str(resources.nodes),
        "ntasks-per-node": "1",
        "cpus-per-task": str(resources.cpus),
        "open-mode": "append",
        "requeue" if resources.requeue else "no-requeue": "",
    }
    if resources.memory_bytes is not None:
        options["mem"] = f"{-(-resources.memory_bytes // MIB)}M"
    if resources.walltime_s is not None:
        lead_s = min(int(machine.save_grace_s), resources.walltime_s // 5)
        options["time"] = _time(resources.walltime_s)
        options["signal"] = f"B:{BEFORE_THE_LIMIT}@{max(lead_s, 1)}"
    own = resources.options.get("gres", "")
    gpus = f"gpu:{resources.gpus_per_node}" if resources.gpus_per_node and not gpus_of_gres(own) else ""
    gres = ",".join(filter(None, (machine.options.get("gres"), gpus, own)))
    options |= {**resources.options, **({"gres": gres} if gres else {})}
    return tuple(f"#SBATCH --{name}{_value(text)}" for name, text in options.items())


def _time(seconds_: int) -> str:
    """Spell a time limit; Slurm counts whole minutes, and rounds up."""
    minutes, rest = divmod(seconds_, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24}-{hours % 24:02d}:{minutes:02d}:{rest:02d}"


def _value(text: str) -> str:
    """Quote a value as sbatch reads it: in double quotes, where a backslash keeps the next sign as it is."""
    if re.fullmatch(r"[\w@%+:,./\[\]-]+", text):
        return f"={text}"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'="{escaped}"' if text else ""


# What sbatch says

_ID = re.compile(r"(?:Submitted batch job )?(\d+)(?:;\S+| on cluster \S+)?")
_SILENCE = re.compile(
    "timed out|nable to contact|Zero Bytes|onnection|ransport|uthenticat|Unexpected message|Message (?:receive|send)"
    "|temporarily unavailable|Broken pipe|No route|message length|Header length|Incomplete|backup controller|standby",
)
_ERROR = re.compile("error: |fatal: |sbatch: (?:unrecognized|invalid|ambiguous) option|option .* requires an argument")
_REFUSAL = re.compile(
    "processors requested|[Dd]ependency|Only batch jobs|DOWN state|submissions disabled|Invalid|invalid"
    "|Requested|not permitted|not available|denied|violates|xceed"
    "|Unspecified error|nrecognized|specif"
    "|satisfied|too long|not configured|Unable to open|must |equire|not allowed|not supported|Unknown|No such|Duplicate"
    "|mutually exclusive|sbatch: fatal:|AccountNotAllowed|Max[A-Z]|temporarily unable to accept|too many"
)
_TEMPORARY = re.compile(
    r"(?:QOS|Assoc|MaxJob)\w*Submit\w*|temporarily unable to accept|[Jj]ob (?:count )?limit exceeded|[Tt]oo many jobs"
    r"|inactive or drain|being reconfigured|[Rr]ate limit|DOWN state|submissions disabled"
)
_SHORTER = "shorten walltime: in the stage's resources, or choose a partition with a longer limit (sinfo -s)"
_FIXES = {
    "invalid account": "correct account: in the stage's resources or the machine file (sacctmgr show assoc user=$USER)",
    "partition name": "correct partition: in the stage's resources or in the machine file; sinfo -s lists them",
    "qos specification": "correct qos: in the stage's resources; sacctmgr show assoc user=$USER format=qos lists yours",
    "wall": _SHORTER,
    "time limit": _SHORTER,
    "node configuration": "ask for less in the stage's resources, or for another partition (sinfo -N -l)",
    "memory": "ask for less memory: in the stage's resources",
    "generic resource": "correct gpus_per_node: in the stage's resources; sinfo -o '%P %G' lists what there is",
}


def submitted(text: str) -> str | None:
    """Read the id that sbatch printed, with --parsable or without; None if it did not."""
    lines = (_ID.fullmatch(line.strip()) for line in text.splitlines())
    return next((found[1] for found in lines if found), None)


def is_in_doubt(words: str) -> bool:
    """Say whether an error of sbatch leaves open whether the job was queued: all but what is surely a refusal.

    A site's banner, and what its plugins tell in passing, is no error.
    """
    errors = "\n".join(line for line in words.splitlines() if _ERROR.search(line))
    return _SILENCE.search(words) is not None or _REFUSAL.search(errors) is None


def is_temporary(words: str) -> bool:
    """Say whether a refusal may pass by itself."""
    return _TEMPORARY.search(words) is not None


def is_for_want_of_nodes(words: str) -> bool:
    """Say whether a refusal may be due to the nodes that were excluded: too few are left, or one is gone for good."""
    return "node configuration is not available" in words or "Invalid node name" in words


def fix(words: str) -> str:
    """Say what to do about a refusal that does not pass by itself."""
    lower = words.lower()
    found = [advice for sign, advice in _FIXES.items() if sign in lower]
    return found[0] if found else "mend what it says, then: autoexp mark JOB retry"


def complaint(text: str) -> str:
    """Shorten what a client of Slurm complained about to one line."""
    lines = [re.sub(r"^\w+: (?:error:\s*)?", "", line.strip()) for line in text.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line)) or "it says nothing"
