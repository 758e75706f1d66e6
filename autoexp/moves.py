"""The journal's moves as lines for people. Pure."""

from collections.abc import Mapping
from typing import Any


def line(record: Mapping[str, Any]) -> str:
    """Spell one move for people."""
    source, target = record["from"], record["to"]
    moved = target if source is None else f"{source} -> {target}" if source != target else f"still {target}"
    evidence = {k: v for k, v in record["evidence"].items() if k not in ("inode", "ctime_ns", "offset")}
    said = " ".join(f"{key}={value}" for key, value in evidence.items())
    deeds = f" [{'; '.join(record['actions'])}]" if record["actions"] else ""
    who = f"{record['study']}/{record['job']}"
    return f"{record['at'][:23]}Z {who} {record['trigger']}: {moved} {said}".rstrip() + deeds
