"""Run a command for each job of a study, one after the other, with the job's own values in it.

  autoexp each demo -- ls {job.dir}
  autoexp each demo --where 'state == "failed"' -- tail -n 3 {job.dir}/current.log
  autoexp each demo --where 'stage == "pretrain"' -- echo {job.id} trains with {lr}

`{job.dir} {job.id} {job.stage} {job.state} {job.attempt}`, and every axis and param by its name. It ends with 1 if one
of them fails.
"""

import argparse
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoexp import selection, targets
from autoexp.errors import AutoexpError
from autoexp.model import Job
from autoexp.view import view

_PLACE = re.compile(r"(?<!\$)\{([A-Za-z_][\w.-]*)\}")  # ${x} is a shell's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp each`."""
    parser.add_argument("target", metavar="JOB|STUDY", help="<study>[/<job>], or a directory")
    parser.add_argument("--root", metavar="DIR", help="the experiments folder")
    parser.add_argument("--where", metavar="EXPR", help="only these jobs: 'lr < 1e-3 and state == \"failed\"'")
    parser.add_argument("command", metavar="-- COMMAND", nargs="+", help="a program, and its words")


def run(arguments: argparse.Namespace) -> int:
    """Run it for each job; nothing is run if a name is unknown."""
    target = targets.find(arguments.target, arguments.root, study=True)
    seen = view(target.root)
    ledger = seen.registry.ledgers[target.study]
    jobs = [job for job in ledger.jobs.values() if target.job in ("", job.id)]
    if arguments.where:
        chosen = selection.read(arguments.where)
        chosen.check(jobs)
        jobs = [job for job in jobs if chosen.chooses(job)]
    commands = [(job, spelled(arguments.command, job, ledger.dir_of(job.id))) for job in jobs]
    failed = 0
    for job, words in commands:
        print(f"# {job.id}: {shlex.join(words)}", flush=True)
        try:
            failed += subprocess.run(words, check=False).returncode != 0  # noqa: S603 - it is the user's own command
        except OSError as error:
            fix = "correct it; a pipe or a redirection takes: -- sh -c '...'"
            raise AutoexpError(f"{words[0]} cannot be run", why=error.strerror or str(error), fix=fix) from error
    return 1 if failed else 0


def spelled(command: list[str], job: Job, folder: Path) -> list[str]:
    """Put a job's values into a command's words.

    Raises:
        AutoexpError: a name is none of the job's.
    """
    known = values_of(job, folder)

    def value(found: re.Match[str]) -> str:
        if found[1] not in known:
            fix = f"use one of {', '.join(sorted(known))}; choose jobs that have it by --where"
            raise AutoexpError(f"{found[0]} means nothing", why=f"{job.id} has no {found[1]}", fix=fix)
        return str(known[found[1]])

    return [_PLACE.sub(value, word) for word in command]


def values_of(job: Job, folder: Path) -> Mapping[str, Any]:
    """List what can stand in a command."""
    spec = job.spec
    own = {"id": spec.id, "dir": folder, "stage": spec.stage, "state": job.state, "attempt": job.attempt}
    return {**spec.params, **spec.values, **{f"job.{name}": value for name, value in own.items()}}
