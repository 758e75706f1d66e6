"""What a person sees while a study runs in the foreground: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autoexp.engine import Engine
from autoexp.model import OVER, Job, State, Transition
from autoexp.status import age, progress_of

SHORTEST_INTERVAL_S = 0.25
MOST_JOBS = 8
"""Running jobs shown one by one; more would scroll a small terminal."""
TROUBLE = (State.FAILED, State.STALLED, State.HELD, State.SKIPPED)
BEGUN = (State.RUNNING, State.GATING, State.STOPPING, State.STALLED)


@dataclass(slots=True)
class Display:
    """A live view of one study: attach an engine, and make `listen` its listener."""

    study: str
    console: Console = field(default_factory=Console)
    engine: Engine | None = None
    _live: Live | None = None
    _drawn_at: float = 0.0
    _began_at: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Self:
        self._live = Live(console=self.console, auto_refresh=False, transient=False)
        self._live.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._live is not None:
            self._draw()
            self._live.__exit__(None, None, None)

    def attach(self, engine: Engine) -> None:
        """Show what this engine does."""
        self.engine = engine

    def listen(self, _: list[Transition]) -> None:
        """Redraw, unless that was just done."""
        if time.monotonic() - self._drawn_at >= SHORTEST_INTERVAL_S:
            self._draw()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        if self._live is not None and self.engine is not None:
            self._live.update(self._picture(self.engine), refresh=True)

    def _picture(self, engine: Engine) -> RenderableType:
        ledger = engine.registry.ledgers.get(self.study)
        jobs = [job for job in ledger.jobs.values() if not job.retired] if ledger else []
        elapsed = age(time.monotonic() - self._began_at)
        title = Text.assemble((self.study, "bold"), f"  {elapsed}  ", (_counts(jobs), "dim"))
        return Group(title, _stages(jobs), _running(jobs, engine, self.study), *_trouble(jobs))


def _counts(jobs: list[Job]) -> str:
    done = sum(job.state is State.SUCCEEDED for job in jobs)
    return f"{done} of {len(jobs)} jobs succeeded so far"


def _stages(jobs: list[Job]) -> Table:
    table = Table.grid(padding=(0, 2))
    for stage in dict.fromkeys(job.spec.stage for job in jobs):
        members = [job for job in jobs if job.spec.stage == stage]
        over = sum(job.state in OVER for job in members)
        running = sum(job.state in BEGUN for job in members)
        bar = ProgressBar(total=len(members), completed=over, width=30)
        table.add_row(stage, bar, f"{over}/{len(members)}", f"{running} running" if running else "")
    return table


def _running(jobs: list[Job], engine: Engine, study: str) -> Table:
    table = Table.grid(padding=(0, 2))
    begun = [job for job in jobs if job.state in BEGUN]
    for job in begun[:MOST_JOBS]:
        training = engine.progress.jobs.get(f"{study}/{job.id}", {})
        table.add_row(Text(f"  {job.id}", style="cyan"), progress_of(job, training))
    if len(begun) > MOST_JOBS:
        table.add_row(f"  and {len(begun) - MOST_JOBS} more", "")
    return table


def _trouble(jobs: list[Job]) -> Iterator[Text]:
    for job in [job for job in jobs if job.state in TROUBLE][:MOST_JOBS]:
        yield Text(f"  {job.state} {job.id}: {job.reason}", style="red", overflow="ellipsis", no_wrap=True)
