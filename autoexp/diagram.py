"""The lifecycle as a picture: Mermaid text, generated from `lifecycle.TABLE`. Print it with `make diagram`.

What people ask by markers is left out, it would hide the rest; docs/markers.md has it as a table. So is what is found
on disk where the journal was lost: it may lead from anywhere to a new attempt. Moves that every state of a group
shares are drawn once, from the group.
"""

from collections import defaultdict
from collections.abc import Iterator

from autoexp.events import AttemptFound
from autoexp.lifecycle import ATTEMPTED, LIVE, SENT, TABLE, UNBORN
from autoexp.model import OVER, State, Verb

GROUPS: dict[str, tuple[State, ...]] = {"attempt": ATTEMPTED, "sent": SENT, "live": LIVE}
"""Composite states, the widest first."""


def mermaid() -> str:
    """Draw the table."""
    lines = [
        "stateDiagram-v2",
        "  direction LR",
        "  state attempt {",
        *_members("sent", indent=4),
        *_members("live", indent=4),
        f"    {State.STOPPING}",
        "  }",
        *sorted(f"  {source} --> {target}: {' | '.join(triggers)}" for source, target, triggers in _edges()),
        *sorted(f"  {state} --> [*]" for state in OVER),
    ]
    return "\n".join(lines)


def _members(group: str, indent: int) -> Iterator[str]:
    yield f"{' ' * indent}state {group} {{"
    yield from (f"{' ' * (indent + 2)}{state}" for state in GROUPS[group])
    yield f"{' ' * indent}}}"


def _edges() -> Iterator[tuple[str, str, list[str]]]:
    """Yield each arrow with its triggers, those of a whole group from the group."""
    left_out = {AttemptFound.trigger_name, *(verb.trigger for verb in Verb)}
    sources: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in TABLE:
        if row.target is not None and row.trigger not in left_out:
            sources[row.trigger, str(row.target)] |= {str(source) for source in row.sources}
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (trigger, target), states in sources.items():
        for name in _grouped(states):
            arrows[name, target].append(trigger)
    yield from (("[*]" if name == UNBORN else name, target, triggers) for (name, target), triggers in arrows.items())


def _grouped(states: set[str]) -> Iterator[str]:
    left = set(states)
    for name, members in GROUPS.items():
        inside = {str(member) for member in members}
        if inside <= left:
            left -= inside
            yield name
    yield from sorted(left)


if __name__ == "__main__":
    print(mermaid())  # noqa: T201 - this is a program too
