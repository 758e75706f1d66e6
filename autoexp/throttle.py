"""How many jobs a batch scheduler may have of ours at once, those counted that other programs and people submitted."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from autoexp.machine import Machine

ALL = ""
"""Stands for everywhere together."""
RUNNING = "running"
PLACES = ("partition", "qos")
"""What else may have a limit, by the names of their options; a place is one of them with its name."""


def places_of(options: Mapping[str, str], *, running: bool = True) -> tuple[str, ...]:
    """Name the places where a job with these options counts: of several partitions, in each.

    With `running` it counts among those that run too: what we have submitted may start at any moment.
    """
    named = ((kind, name.strip()) for kind in PLACES for name in options.get(kind, "").split(","))
    places = (ALL, *(f"{kind} {name}" for kind, name in named if name))
    return (*places, *map(running_in, places)) if running else places


def running_in(place: str) -> str:
    """Name the place of what runs in a place."""
    return f"{RUNNING} {place}".strip()


def limits_of(machine: Machine) -> dict[str, int]:
    """List the limits that a machine file has, by place."""
    limits: dict[str, int | None] = {ALL: machine.max_submitted, running_in(ALL): machine.max_running}
    for name, said in machine.partitions.items():
        place = f"partition {name}"
        limits |= {place: said.max_submitted, running_in(place): said.max_running}
    limits |= {f"qos {name}": most for name, most in machine.qos_max_submitted.items()}
    limits |= {running_in(f"qos {name}"): most for name, most in machine.qos_max_running.items()}
    return {place: most for place, most in limits.items() if most is not None}


@dataclass(slots=True)
class Throttle:
    """What a machine file allows, and what there is: by the scheduler's last answer, and what we did since."""

    limits: Mapping[str, int] = field(default_factory=dict)
    """The most jobs, by place; without any nothing is held back."""
    _load: Mapping[str, int] | None = None
    _since: Counter[str] = field(default_factory=Counter)
    _while_asking: Counter[str] = field(default_factory=Counter)
    """What was submitted since the question that is under way: its answer may know of it, or not."""

    def asking(self, under_way: Iterable[tuple[str, ...]]) -> None:
        """A question is asked, while submissions to these places are under way."""
        self._while_asking = Counter(place for places in under_way for place in places)

    def heard(self, load: Mapping[str, int]) -> None:
        """Take an answer: the user's jobs that are not over, by place."""
        self._load, self._since = load, self._while_asking.copy()

    def took(self, places: tuple[str, ...]) -> None:
        """One more was submitted."""
        for counts in (self._since, self._while_asking):
            counts.update(places)

    def left(self, places: tuple[str, ...]) -> None:
        """One of them is over."""
        self._since.subtract(places)

    def full(self, places: tuple[str, ...]) -> str:
        """Say why nothing that counts in these places may be submitted now; nothing if it may."""
        if not self.limits:
            return ""
        if self._load is None:
            return "the scheduler has not said yet how many jobs there are"
        for place in places:
            there, most = self._load.get(place, 0) + self._since[place], self.limits.get(place)
            if most is not None and there >= most:
                is_running, name = place.startswith(RUNNING), place.removeprefix(RUNNING).strip()
                may, key = ("run", "max_running") if is_running else ("be queued or run", "max_submitted")
                return f"{most} jobs may {may}{f' in {name}' if name else ''}, and there are as many ({key})"
        return ""
