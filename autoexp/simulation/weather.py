"""What goes wrong on a cluster, how often, and until when; every draw comes from a seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal, TypeVar

T = TypeVar("T")

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S

Reply = Literal["taken", "refused", "lost", "lost but taken", "lost, and taken later"]
Answer = Literal["honest", "none", "empty", "partial", "stale", "over"]
Fate = Literal["node failure", "preemption", "crash", "time limit"]

REPLIES: dict[Reply, float] = {"refused": 0.05, "lost": 0.04, "lost but taken": 0.08, "lost, and taken later": 0.08}
ANSWERS: dict[Answer, float] = {"none": 0.05, "empty": 0.06, "partial": 0.03, "stale": 0.04, "over": 0.02}
FATES: dict[Fate, float] = {"node failure": 8 * DAY_S, "preemption": 6 * DAY_S, "crash": 12 * DAY_S}
"""How long a run lasts on average until that happens to it."""
OUTAGES = 6
LONGEST_OUTAGE_S = 12 * HOUR_S


@dataclass(slots=True)
class Weather:
    """Bad until `calm_at`."""

    seed: str
    began_at: float
    calm_at: float
    outages: list[tuple[float, float]] = field(init=False)
    """When the scheduler answers nothing at all."""
    _questions: Random = field(init=False)

    def __post_init__(self) -> None:
        chance = Random(f"{self.seed}/outages")
        begins = [chance.uniform(self.began_at, self.calm_at) for _ in range(OUTAGES)]
        ends = [min(at + chance.uniform(0, LONGEST_OUTAGE_S), self.calm_at) for at in begins]
        self.outages = [pair for pair in zip(begins, ends, strict=True) if pair[0] < pair[1]]
        self._questions = Random(f"{self.seed}/questions")

    def is_out(self, now: float) -> bool:
        """Say whether the scheduler is down."""
        return any(begin <= now < end for begin, end in self.outages)

    def reply(self, now: float, chance: Random) -> Reply:
        """Say what comes of a submission."""
        if self.is_out(now):
            return "refused" if chance.random() < 0.5 else "lost"  # noqa: PLR2004 - either
        return _drawn(REPLIES, "taken", chance) if now < self.calm_at else "taken"

    def answer(self, now: float) -> Answer:
        """Say how the scheduler answers a question."""
        if self.is_out(now):
            return "none"
        return _drawn(ANSWERS, "honest", self._questions) if now < self.calm_at else "honest"

    def fate(self, now: float, limit_s: float, chance: Random) -> tuple[Fate, float]:
        """Say what will end a run that does not end by itself, and after how long."""
        fates: list[tuple[float, Fate]] = [(limit_s, "time limit")]
        if now < self.calm_at:
            fates += [(chance.expovariate(1 / mean_s), fate) for fate, mean_s in FATES.items()]
        after_s, fate = min(fates)
        return fate, after_s


def _drawn(odds: Mapping[T, float], otherwise: T, chance: Random) -> T:
    drawn = chance.random()
    for what, share in odds.items():
        if drawn < share:
            return what
        drawn -= share
    return otherwise
