"""Writes the configuration file of a program that is told by one what to do: yours, with a job's values in it.

Try it by hand; the file is written into the current folder:

    python hooks/write_config.py --from fsdp2.yaml --set settings.step_profile.sequence_length=512 --to config.yaml

In a recipe, before each submission:

    prepare: {write_config: {from: /configs/fsdp2.yaml, set: {settings.step_profile.sequence_length: "${seq_length}"}}}
    args: {config_file_path: "${dir}/config.yaml"}

Every name in `set` must stand in the file: one that nothing reads would make each run of a sweep the same. All else
stays as it is written, references of OmegaConf's included. What was written is told in the journal, with the SHA-256 of
its content whatever the order of its keys: two jobs of one hash did the same.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from autoexp.errors import HookRefused
from autoexp.files import read_regular, write_atomically

TAKES = "from set to"
USUAL = "config.yaml"


def prepare(job_dir: Path, /, **values: object) -> dict[str, object]:
    """Write `to` (config.yaml) in the job's directory: the file `from`, with the values of `set` in their places.

    Raises:
        HookRefused: the file cannot be read, or has no such place.
    """
    source, given, name = values.get("from"), values.get("set") or {}, values.get("to") or USUAL
    if not isinstance(source, str) or not isinstance(name, str) or not isinstance(given, Mapping):
        raise _refused(f"it is told {values}", "write from: FILE, set: {NAME: VALUE, ...}, and to: FILE if you like")
    text, content = render(Path(source), given)
    path = job_dir / name
    write_atomically(path, text)
    return {"config": str(path), "sha256": identity(content)}


def render(source: Path, given: Mapping[Any, Any]) -> tuple[str, Any]:
    """Return a file's text with these values in the places of the old ones, and what it says.

    Raises:
        HookRefused: it cannot be read, or has no such place.
    """
    from omegaconf import OmegaConf  # noqa: PLC0415 - slow to load
    from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415 - as above
    from yaml import YAMLError  # noqa: PLC0415 - as above

    try:
        config = OmegaConf.create(read_regular(source).decode())
        for name, value in given.items():
            if not _has(OmegaConf.to_container(config), str(name).split(".")):
                raise _refused(f"{source} has no {name}", "correct the name, or add it to the file")
            OmegaConf.update(config, str(name), value, merge=False)
        return OmegaConf.to_yaml(config), OmegaConf.to_container(config)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise _refused(f"{source} cannot be used: {error}", "correct it, or name another file") from error


def _has(content: Any, parts: Sequence[str]) -> bool:
    for part in parts:
        if isinstance(content, Mapping) and part in content:
            content = content[part]
        elif isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        else:
            return False
    return True


def identity(content: Any) -> str:
    """Name what a configuration says, whatever the order of its keys."""
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    """Run by hand; print what was written, as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--from", required=True, metavar="FILE", dest="source", help="the file to begin with")
    parser.add_argument(
        "--set", metavar="NAME=VALUE", nargs="*", action="extend", default=[], help="values, as YAML, by dotted names"
    )
    parser.add_argument("--to", metavar="FILE", default=USUAL, help="what to write (config.yaml)")
    asked = parser.parse_args(argv)
    from yaml import safe_load  # noqa: PLC0415 - only by hand

    pairs = (word.partition("=") for word in asked.set)
    given = {name: safe_load(value) for name, _, value in pairs}
    try:
        print(json.dumps(prepare(Path.cwd(), **{"from": asked.source, "set": given, "to": asked.to})))
    except HookRefused as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _refused(why: str, fix: str) -> HookRefused:
    return HookRefused("the configuration cannot be written", why=why, fix=fix)


if __name__ == "__main__":
    raise SystemExit(main())
