"""Print what lets your shell complete commands, options, files, and the names of studies and jobs.

eval "$(autoexp completion bash)"                                       in ~/.bashrc
autoexp completion zsh > ~/.zfunc/_autoexp                              with ~/.zfunc in your fpath, before compinit
autoexp completion fish > ~/.config/fish/completions/autoexp.fish
"""

import argparse

from autoexp import cli, targets
from autoexp.model import Verb

SHELLS = ("bash", "zsh", "fish")
NAMES = ("jobs", "studies")
"""What the scripts ask us for."""
FILES = ("RECIPE", "FILE", "PATH", "LOG")
FOLDERS = ("ROOT", "DIR", "CHECKPOINT", "OUT")
KEPT_WHOLE = 'COMP_WORDBREAKS="${COMP_WORDBREAKS//@/}"  # names of jobs have it\n'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp completion`."""
    words = "bash, zsh or fish; or what their scripts ask for: jobs, studies"
    parser.add_argument("what", metavar="SHELL", choices=(*SHELLS, *NAMES), help=words)


def run(arguments: argparse.Namespace) -> int:
    """Print a script, or the names that it asks for."""
    if arguments.what in NAMES:
        print("\n".join(targets.names(targets.default_root(None), jobs=arguments.what == "jobs")))
        return 0
    import shtab  # noqa: PLC0415 - what is asked at each press of a key does without

    print(shtab.complete(_parser(), arguments.what, preamble=KEPT_WHOLE if arguments.what == "bash" else ""))
    return 0


def _parser() -> argparse.ArgumentParser:
    """Gather all commands, each argument with what may stand there, which its placeholder says."""
    import shtab  # noqa: PLC0415 - as above

    jobs, some = shtab.cmd("autoexp completion jobs"), shtab.cmd("autoexp completion studies")
    kinds = {**dict.fromkeys(FILES, shtab.FILE), **dict.fromkeys(FOLDERS, shtab.DIRECTORY)}
    kinds |= {"JOB": jobs, "JOB|STUDY": jobs, "STUDY": some}
    whole = argparse.ArgumentParser(prog="autoexp")
    commands = whole.add_subparsers()
    for name, summary in cli.COMMANDS.items():
        parser = commands.add_parser(name, help=summary)
        cli.declare(cli.module_of(name), parser)
        for action in parser._actions:  # noqa: SLF001 - shtab reads them there, too
            placeholder = str(action.metavar)
            if placeholder in kinds:
                action.complete = kinds[placeholder]  # type: ignore[attr-defined]
            if placeholder == "VERB":
                action.choices = tuple(Verb)
    return whole
