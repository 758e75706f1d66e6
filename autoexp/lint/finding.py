"""A slip, and what a person is told of many of one kind. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from autoexp.model import JSON
from autoexp.places import KeyPath, Places

SHOWN = 3
"""How many of the jobs concerned a message names."""
_NUMBERS = re.compile(r"-?\d[\d.e+-]*")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is odd about one job, or without one about the recipe."""

    code: str
    what: str
    fix: str
    path: KeyPath
    job: str = ""


def told(findings: Iterable[Finding], places: Places) -> Iterator[Mapping[str, JSON]]:
    """Tell each kind once for each place: its code, a message, where, and the jobs concerned."""
    kinds: dict[tuple[str, KeyPath, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.code, finding.path, _NUMBERS.sub("", finding.what)), []).append(finding)
    for (code, path, _), alike in kinds.items():
        jobs: list[JSON] = [finding.job for finding in alike if finding.job]
        message = f"{_spelled(jobs)}{alike[0].what}; {alike[0].fix}"
        yield {"code": code, "message": message, "where": places.spell(path), "jobs": jobs}


def _spelled(jobs: Sequence[JSON]) -> str:
    if not jobs:
        return ""
    more = f" and {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else ""
    return f"{', '.join(map(str, jobs[:SHOWN]))}{more}: "
