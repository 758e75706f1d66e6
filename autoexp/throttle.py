"""How many jobs a batch scheduler may have of ours at once, those counted that other programs and people submitted."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ALL = ""
"""Stands for all partitions together."""


@dataclass(slots=True)
class Throttle:
    """What a machine file allows, and what there is: by the scheduler's last answer, and what we did since."""

    limits: Mapping[str, int] = field(default_factory=dict)
    """The most jobs, by partition and for `ALL`; without any nothing is held back."""
    _load: Mapping[str, int] | None = None
    _since: Counter[str] = field(default_factory=Counter)
    _while_asking: Counter[str] = field(default_factory=Counter)
    """What was submitted since the question that is under way: its answer may know of it, or not."""

    def asking(self, under_way: Iterable[str]) -> None:
        """A question is asked, while submissions to these partitions are under way."""
        self._while_asking = Counter()
        for partition in under_way:
            self._while_asking.update(_places(partition))

    def heard(self, load: Mapping[str, int]) -> None:
        """Take an answer: the user's jobs that are not over, by partition and for `ALL`."""
        self._load, self._since = load, self._while_asking.copy()

    def took(self, partition: str) -> None:
        """One more was submitted."""
        for counts in (self._since, self._while_asking):
            counts.update(_places(partition))

    def left(self, partition: str) -> None:
        """One of them is over."""
        self._since.subtract(_places(partition))

    def full(self, partition: str) -> str:
        """Say why nothing may be submitted to a partition now; nothing if it may."""
        if not self.limits:
            return ""
        if self._load is None:
            return "the scheduler has not said yet how many jobs there are"
        for name in (ALL, partition):
            there, most = self._load.get(name, 0) + self._since[name], self.limits.get(name)
            if most is not None and there >= most:
                where = f" in partition {name}" if name else ""
                return f"{most} jobs may be queued or run{where}, and there are as many (max_submitted)"
        return ""


def _places(partition: str) -> tuple[str, ...]:
    return (ALL, partition) if partition else (ALL,)
