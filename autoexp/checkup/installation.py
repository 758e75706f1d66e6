"""Checks of what is installed: Python, packages, and what this host allows a process."""

import os
import platform
import re
import resource
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from autoexp import __version__, hosts, watch
from autoexp.checkup import Check, Finding, Patient, fail, ok, warn
from autoexp.errors import AutoexpError

FEWEST_FILES = 1024
FEWEST_WATCHES = 8192
"""A watcher needs a few for each job."""
FOR_DEVELOPERS = ("all", "dev")
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[(\w+)\])?\s*(?:>=([\d.]+))?[^;]*(?:;.*extra == ['\"](\w+)['\"])?")
_INOTIFY = Path("/proc/sys/fs/inotify")


def python(patient: Patient) -> Iterator[Finding]:
    """Look at the interpreters: ours, and the one that jobs get."""
    yield ok("python", f"{platform.python_version()} ({sys.executable}), autoexp {__version__} on {hosts.hostname()}")
    theirs = patient.machine.python
    if theirs not in ("", sys.executable):
        if os.access(theirs, os.X_OK):
            yield ok("python of jobs", theirs)
        else:
            fix = f"correct python: in machines/{patient.machine.name}.yaml"
            yield fail("python of jobs", f"{theirs} cannot be run", fix)


def packages(_: Patient) -> Iterator[Finding]:
    """Hold what is installed against what autoexp asks for."""
    try:
        asked = metadata.requires("autoexp") or []
    except metadata.PackageNotFoundError:
        yield warn("packages", "autoexp is not installed, it runs from its sources", "pip install .")
        return
    lacking = list(lacking_of(asked, ""))
    if lacking:
        yield fail("packages", ", ".join(lacking), "install it again: pip install --upgrade autoexp")
    else:
        yield ok("packages", "all that watching needs")
    named = metadata.metadata("autoexp").get_all("Provides-Extra") or []
    extras = [extra for extra in named if extra not in FOR_DEVELOPERS]
    here = [extra for extra in extras if not list(lacking_of(asked, extra))]
    others = [extra for extra in extras if extra not in here]
    more = f"; pip install 'autoexp[{','.join(others)}]' adds {', '.join(others)}" if others else ""
    yield ok("extras", f"{', '.join(here) or 'none'}{more}")


def lacking_of(requirements: list[str], extra: str) -> Iterator[str]:
    """Say which of an extra's packages (or, without a name, of those always needed) are missing or too old.

    A requirement is a line of METADATA: `torch>=2.6; extra == "train"`; `autoexp[train]` means that extra's.
    """
    for line in requirements:
        found = _REQUIREMENT.match(line)
        if found is None or (found[4] or "") != extra:
            continue
        if found[1] == "autoexp":
            yield from lacking_of(requirements, found[2])
            continue
        try:
            version = metadata.version(found[1])
        except metadata.PackageNotFoundError:
            yield f"{found[1]} is missing"
            continue
        if _numbers(version) < _numbers(found[3] or "0"):
            yield f"{found[1]} is {version}, and {found[3]} is needed"


def _numbers(version: str) -> tuple[int, ...]:
    """Read a version as far as it is numbers: 2.4.0.dev3 is 2.4.0."""
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in leading[0].split(".")) if leading else ()


def open_files(_: Patient) -> Iterator[Finding]:
    """Look at how many files a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = "no limit" if soft == resource.RLIM_INFINITY else str(soft)
    if soft != resource.RLIM_INFINITY and soft < FEWEST_FILES:
        raised = FEWEST_FILES if hard == resource.RLIM_INFINITY else min(hard, FEWEST_FILES)
        yield warn("open files", f"at most {most}", f"allow more before you watch: ulimit -n {raised}")
    else:
        yield ok("open files", f"at most {most}")


def inotify(patient: Patient) -> Iterator[Finding]:
    """Try whether the kernel tells us of changes, and of how many folders."""
    if patient.machine.observer == "poll":
        yield ok("inotify", "not used: the machine file says observer: poll")
        return
    try:
        watch.observer(patient.machine, patient.root, "inotify").close()
    except AutoexpError as error:
        grade = fail if patient.machine.observer == "inotify" else warn
        fix = "raise fs.inotify.max_user_instances (sysctl), or say observer: poll in the machine file"
        yield grade("inotify", f"{error.why}: files are looked at every {patient.machine.poll_s:g} s", fix)
        return
    watches, instances = (int((_INOTIFY / f"max_user_{what}").read_text()) for what in ("watches", "instances"))
    limits = f"{watches} watches and {instances} instances for a user"
    if watches < FEWEST_WATCHES:
        fix = f"raise it: sysctl fs.inotify.max_user_watches={FEWEST_WATCHES}, or say observer: poll"
        yield warn("inotify", limits, fix)
    else:
        yield ok("inotify", limits)


CHECKS = (
    Check("python", python),
    Check("packages", packages),
    Check("open files", open_files),
    Check("inotify", inotify),
)
