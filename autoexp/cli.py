"""The command line: parse, dispatch, exit status. A command's module is imported only when it is asked for."""

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from autoexp import __version__
from autoexp.errors import AlreadyWatched, AutoexpError

if TYPE_CHECKING:
    import argparse

DONE, FIXABLE, USAGE, BUG, TRY_LATER, INTERRUPTED = 0, 1, 2, 3, 75, 130

REFUSALS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "see to its permissions, or choose another place"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room, then do it again"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files (ulimit -n), then do it again"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "see to its file system, then do it again"),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP), "give another path"),
}
"""What the computer may refuse anywhere, and the fix."""

COMMANDS = {
    "plan": "turn a recipe into a study: directories, jobs, what waits for what",
    "simulate": "play a study in virtual time: how long, how many GPU hours, where it gets stuck",
    "watch": "carry the studies of a folder: submit, look, retry, until told to stop",
    "run": "plan a recipe, then watch until it is done",
    "status": "one line a job, what needs a person first",
    "why": "why a job is in its state, and what would move it",
    "inspect": "what autoexp makes of a log or a checkpoint: complete, convertible, resumable",
    "events": "the journal: every move, oldest first",
    "mark": "drop a marker: hold, release, start, save, cancel, restart, retry, succeed, fail",
    "each": "run a command for each job of a study",
    "replay": "what the journal says of any moment, and whether it still adds up",
    "gate": "judge a network: measure it, or read what all_reduce_perf printed",
    "cron": "keep a folder watched: a line for cron that starts a watcher whenever there is none",
    "machines": "list the machines there are files for, and say which one this is",
    "doctor": "check this installation and machine: what is wrong, and the fix",
    "convert": "make a Megatron-LM checkpoint a Hugging Face model, without Megatron or torch",
    "import": "make a recipe of another tool's experiment, and say what it got wrong",
    "report": "tables and plots of a study",
    "serve": "a live page of a folder's studies, for your browser",
    "completion": "what your shell completes after autoexp: commands, options, jobs",
    "demo": "a whole study on this computer in a few minutes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    if sys.stdout is None:  # it was closed before we began
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", closefd=False)
    status = _guarded(list(sys.argv[1:] if argv is None else argv))
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would fail by it once more
        if not isinstance(error, BrokenPipeError):
            return status or _refused(error)
    return status


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return DONE if words else USAGE
    if words[0] == "--version":
        print(f"autoexp {__version__}")
        return DONE
    if words[0] in COMMANDS:
        return _run(words[0], words[1:])
    from difflib import get_close_matches  # noqa: PLC0415 - few need it

    near = get_close_matches(words[0], COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else "autoexp --help lists the commands"
    print(f"autoexp: there is no command {words[0]!r}; {hint}", file=sys.stderr)
    return USAGE


def _overview() -> str:
    listed = "\n".join(f"  {name:<10} {summary}" for name, summary in COMMANDS.items())
    return f"usage: autoexp COMMAND ...\n\n{listed}\n\nautoexp COMMAND --help says more. Version {__version__}."


def _guarded(words: list[str]) -> int:
    """Run a command and turn whatever goes wrong into an exit status."""
    try:
        return _dispatch(words)
    except AlreadyWatched as error:
        print(f"autoexp: {error}", file=sys.stderr)
        return TRY_LATER
    except AutoexpError as error:
        print(f"autoexp: {error}", file=sys.stderr)
        return FIXABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        return DONE
    except Exception as error:  # noqa: BLE001 - a bug of ours, unless the computer is to blame
        return _unforeseen(error, words)


def _unforeseen(error: Exception, words: list[str]) -> int:
    """Tell what only people can mend; of a bug of ours, keep what is needed to mend it."""
    if isinstance(error, OSError) and error.errno in REFUSALS:
        return _refused(error)
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] != "autoexp":
        return _missing(error.name)
    from autoexp import crash  # noqa: PLC0415 - nobody should need it

    print(crash.report(words), file=sys.stderr)
    return BUG


def _missing(package: str) -> int:
    fix = f"activate the environment that autoexp was installed into, or: {sys.executable} -m pip install autoexp"
    told = AutoexpError(f"the package {package} is missing", why=f"{sys.executable} has none", fix=fix)
    print(f"autoexp: {told}", file=sys.stderr)
    return FIXABLE


def _refused(error: OSError) -> int:
    """Tell what the computer does not let us do."""
    what = f"{error.filename or 'a file, or the output,'} cannot be read or written"
    told = AutoexpError(
        what, why=f"{error.strerror}", fix=REFUSALS.get(error.errno or 0, "see to it, then do it again")
    )
    print(f"autoexp: {told}", file=sys.stderr)
    return FIXABLE


def _run(name: str, words: list[str]) -> int:
    import argparse  # noqa: PLC0415 - `autoexp --help` does without

    module = module_of(name)
    parser = argparse.ArgumentParser(
        prog=f"autoexp {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # what is short for one option today may be short for two tomorrow
    )
    declare(module, parser)
    return int(module.run(parser.parse_intermixed_args(words)))


def module_of(name: str) -> Any:
    """Load a command."""
    return import_module(f"autoexp.commands.{name}{'_' if iskeyword(name) else ''}")


def declare(module: Any, parser: "argparse.ArgumentParser") -> None:
    """Declare a command's options, and those that all have."""
    parser.add_argument("-v", "--debug", action="store_true", help="say more on the terminal")
    module.add_arguments(parser)
