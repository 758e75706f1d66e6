"""The command line: parse, dispatch, exit status. A command's module is imported only when it is asked for."""

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from autoexp import __version__
from autoexp.errors import AlreadyWatched, AutoexpError

DONE, FIXABLE, USAGE, BUG, TRY_LATER, INTERRUPTED = 0, 1, 2, 3, 75, 130

COMMANDS = {
    "plan": "turn a recipe into a study: directories, jobs, what waits for what",
    "watch": "carry the studies of a folder: submit, look, retry, until told to stop",
    "run": "plan a recipe, then watch until it is done",
    "status": "one line a job, what needs a person first",
    "why": "why a job is in its state, and what would move it",
    "events": "the journal: every move, oldest first",
    "mark": "drop a marker: hold, release, start, save, cancel, restart, retry, succeed, fail",
    "replay": "what the journal says of any moment, and whether it still adds up",
    "report": "tables and plots of a study",
    "demo": "a whole study on this computer in a few minutes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return DONE if words else USAGE
    if words[0] == "--version":
        print(f"autoexp {__version__}")
        return DONE
    if words[0] not in COMMANDS:
        near = get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else "autoexp --help lists the commands"
        print(f"autoexp: there is no command {words[0]!r}; {hint}", file=sys.stderr)
        return USAGE
    return _guarded(words[0], words[1:])


def _overview() -> str:
    listed = "\n".join(f"  {name:<9} {summary}" for name, summary in COMMANDS.items())
    return f"usage: autoexp COMMAND ...\n\n{listed}\n\nautoexp COMMAND --help says more. Version {__version__}."


def _guarded(name: str, words: list[str]) -> int:
    """Run a command and turn whatever goes wrong into an exit status."""
    try:
        status = _run(name, words)
        sys.stdout.flush()
    except AlreadyWatched as error:
        print(f"autoexp: {error}", file=sys.stderr)
        return TRY_LATER
    except AutoexpError as error:
        print(f"autoexp: {error}", file=sys.stderr)
        return FIXABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception:  # noqa: BLE001 - a bug of ours: keep what is needed to mend it
        print(_crash_report(name, words), file=sys.stderr)
        return BUG
    return status


def _run(name: str, words: list[str]) -> int:
    module = import_module(f"autoexp.commands.{name}")
    parser = argparse.ArgumentParser(
        prog=f"autoexp {name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-v", "--debug", action="store_true", help="say more on the terminal")
    module.add_arguments(parser)
    return int(module.run(parser.parse_intermixed_args(words)))


def _crash_report(name: str, words: list[str]) -> str:
    place = Path(tempfile.gettempdir()) / f"autoexp-crash-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
    words = [f"autoexp {__version__}, Python {sys.version}", f"command: {name} {' '.join(words)}", ""]
    place.write_text("\n".join((*words, traceback.format_exc())), encoding="utf-8")
    last = traceback.format_exc().strip().rpartition("\n")[2]
    return f"autoexp: this is a bug of ours: {last}\n  please report it with the file {place}"
