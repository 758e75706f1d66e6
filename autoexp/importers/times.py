"""Slurm's time limits as durations. Pure."""

import re

_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def walltime(text: str) -> str:
    """Write a time limit as a duration: Slurm takes minutes, HOURS:MINUTES:SECONDS and DAYS-HOURS."""
    if not (found := _TIME.fullmatch(text)):
        return f"${{calc:'str({text}) + \"m\"'}}" if text.startswith("${") and text.count("${") == 1 else text
    days, first, second, third = (int(part or 0) for part in found.groups())
    if found[1]:
        minutes = (days * 24 + first) * 60 + second
    elif found[4]:
        minutes = first * 60 + second + (third > 0)
    else:
        minutes = first + (second > 0)
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"
