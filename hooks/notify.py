"""Tells people something, by a command that reads it: mail, a webhook's curl, a script of yours.

Try it by hand:

    python hooks/notify.py --text "the loss jumped" --command 'mail -s autoexp me@example.org'

In a recipe, for the events of a stage:

    notify: {command: [mail, -s, autoexp, me@example.org]}
    events: {spike: {log: 'loss: nan', do: {notify: "{job} at {iteration}: {line}"}}}

The command gets the text as its standard input, and wherever a word says {text}. A string is a line for bash, which
has the text as $AUTOEXP_TEXT. Secrets belong into the watcher's environment, which the command has too. One that fails,
or takes longer than `timeout` seconds (30), is told in the journal, and not run again.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from autoexp.errors import HookRefused

TAKES = "command text timeout"
PATIENCE_S = 30.0
LONGEST_ANSWER = 500


def prepare(job_dir: Path, /, **values: object) -> dict[str, object]:
    """Run the `command` with the `text`, in the job's directory, for `timeout` seconds at most.

    Raises:
        HookRefused: it cannot be run, fails, or takes too long.
    """
    command, text, timeout = values.get("command"), str(values.get("text", "")), values.get("timeout", PATIENCE_S)
    if not isinstance(command, str | list | tuple) or not command:
        raise _refused(f"its command is {command!r}", "write notify: {command: [PROGRAM, WORD, ...]}")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0:
        raise _refused(f"its timeout is {timeout!r}", "write a number of seconds")
    words = (
        ["bash", "-c", command] if isinstance(command, str) else [str(word).replace("{text}", text) for word in command]
    )
    return tell(words, text, job_dir, float(timeout))


def tell(words: Sequence[str], text: str, folder: Path, timeout_s: float) -> dict[str, object]:
    """Run a command that tells people a text."""
    environment = {**os.environ, "AUTOEXP_TEXT": text}
    try:
        done = subprocess.run(  # noqa: S603 - what the recipe says
            words,
            input=f"{text}\n".encode(),
            cwd=folder,
            env=environment,
            timeout=timeout_s,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(
            f"{words[0]} took longer than {timeout_s:g} s", "see to it, or give it a longer timeout"
        ) from error
    except (OSError, ValueError) as error:
        raise _refused(f"{words[0]} cannot be run: {error}", "correct the command") from error
    said = done.stdout.decode(errors="replace").strip()[-LONGEST_ANSWER:]
    if done.returncode:
        raise _refused(f"{words[0]} ended with {done.returncode}{f': {said}' if said else ''}", "try it by hand")
    return {"said": said}


def main(argv: Sequence[str] | None = None) -> int:
    """Run by hand; print what the command said, as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--command", required=True, help="a line for bash")
    parser.add_argument("--text", required=True, help="what to tell")
    parser.add_argument("--timeout", type=float, default=PATIENCE_S, help="seconds that it may take (30)")
    asked: Mapping[str, object] = vars(parser.parse_args(argv))
    try:
        print(json.dumps(prepare(Path(), **asked)))
    except HookRefused as refusal:
        print(f"notify: {refusal}", file=sys.stderr)
        return 1
    return 0


def _refused(why: str, fix: str) -> HookRefused:
    return HookRefused("nobody was told", why=why, fix=fix, temporary=False)


if __name__ == "__main__":
    sys.exit(main())
