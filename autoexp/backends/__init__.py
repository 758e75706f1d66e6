"""Training frameworks: one module each, found by its name. All pure text; none starts or reads anything.

To add one, add `autoexp/backends/<name>.py` with the functions of `Backend`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Protocol, cast

from autoexp.errors import AutoexpError
from autoexp.functions import spelled
from autoexp.logs import LogFacts, Seen
from autoexp.model import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a program is to be started."""

    python: str
    nodes: int = 1
    processes: int = 1
    """On each node."""
    program: str | None = None
    """A script's path or a module's name; None takes the framework's usual one."""
    checkpoints: str = ""
    """Where the job loads and saves."""
    inside: tuple[str, ...] = ()
    """What enters the container that it runs in, on each node."""
    launcher: tuple[str, ...] = ("srun",)
    """What starts it on each node, where there are several."""


class Backend(Protocol):
    """What a backend module offers."""

    @property
    def HINTS(self) -> tuple[str, ...]:  # noqa: N802 - a module's constant
        """Words, in ASCII: a line in which none of them stands tells `read` nothing."""

    @property
    def REPORT(self) -> "re.Pattern[bytes] | None":  # noqa: N802 - a module's constant
        """A report: it replaces all that the one before said, but the loss; of many, the first and the last are read.

        It is looked for in lines that have one of the hints, and not a second one.
        """

    def argv(self, args: Mapping[str, Any], launch: Launch) -> tuple[str, ...]:
        """Write the command line."""

    def read(self, facts: LogFacts, line: str) -> LogFacts:
        """Take one complete log line into account."""

    def finished(self, args: Mapping[str, Any], seen: Seen) -> Verdict:
        """Say whether an attempt that ended with exit code 0 did all its work."""


def torchrun(launch: Launch, *, always: bool = False) -> tuple[str, ...]:
    """Write what starts a Python program: torchrun where it takes several processes, once on each node by srun.

    Where the nodes meet is in the job's environment (PET_RDZV_ENDPOINT). A program that cannot do without torchrun's
    variables has it `always`.
    """
    python = (*launch.inside, launch.python)
    run = (*python, "-m", "torch.distributed.run")
    count = f"--nproc-per-node={launch.processes}"
    if launch.nodes > 1:
        srun = (*launch.launcher, f"--nodes={launch.nodes}", f"--ntasks={launch.nodes}", "--kill-on-bad-exit=1")
        return (*srun, *run, f"--nnodes={launch.nodes}", "--rdzv-backend=c10d", count)
    return (*run, "--standalone", count) if launch.processes > 1 or always else python


def program_words(program: str) -> tuple[str, ...]:
    """Write what Python is to run: a script by its path, a module by its name."""
    is_file = "/" in program or program.endswith(".py")
    return (program,) if is_file else ("-m", program)


def flags(args: Mapping[str, Any]) -> Iterator[str]:
    """Spell flags: true is the bare flag, false and null are none, a list is several words."""
    for name, value in args.items():
        if value is None or value is False:
            continue
        yield f"--{name}"
        items = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, Mapping | list | tuple) for item in items):
            fix = "write a text, or a list of words"
            raise AutoexpError(f"--{name} cannot be {value!r:.80}", why="a flag has words", fix=fix)
        if value is not True:
            yield from map(spelled, items)


def judged(wanted: int | None, seen: Seen, lacks: Mapping[str, bool]) -> Verdict:
    """Say whether a training came to the iteration it was to come to, and lacks nothing else; `lacks` says what."""
    log = seen.log
    if wanted is None:
        return Verdict(holds=False, reason="exit code 0, but neither its flags nor its log say how far it had to train")
    reached = max((number for number in (log.iteration, log.loaded) if number is not None), default=None)
    checks = {
        f"its log says: {log.cut_short}": bool(log.cut_short),
        f"its log ends at iteration {reached} of {wanted}": (reached or 0) < wanted,
        f"the save at iteration {log.saving} is not finished": log.saving is not None,
        "the loss is not a number": log.diverged,
        **lacks,
    }
    lacking = [what for what, holds in checks.items() if holds]
    if lacking:
        return Verdict(holds=False, reason=f"exit code 0, but {' and '.join(lacking)}")
    return Verdict(holds=True, reason=f"trained to iteration {wanted}")


def known() -> list[str]:
    """List the backends there are."""
    return sorted(module.name for module in iter_modules(__path__))


@cache
def find(name: str) -> Backend:
    """Return a backend by name.

    Raises:
        AutoexpError: there is none; the message lists those there are.
    """
    if name not in known():
        raise AutoexpError(
            f"unknown backend {name!r}",
            why=f"autoexp/backends/ holds {', '.join(known())}",
            fix=f"correct the name, or add autoexp/backends/{name}.py",
        )
    return cast(Backend, import_module(f"{__name__}.{name}"))
