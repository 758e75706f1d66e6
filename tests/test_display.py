import io
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from autoexp import display, lease
from autoexp.display import Display
from autoexp.engine import Engine
from autoexp.model import Job, JobSpec, State
from autoexp.watching import until_done, watching

if TYPE_CHECKING:
    from tests.conftest import Room

Show = Callable[..., str]


@pytest.fixture
def engine(room: "Room") -> Iterator[Engine]:
    """An engine that watches a study of no importance."""
    room.plan("one: {start: {file_exists: {path: never}}, command: 'true'}\n")
    with watching(room.root, lease.var_of(room.root), None, logging.getLogger("test"), lambda _: None) as opened:
        yield opened


@pytest.fixture
def show(engine: Engine) -> Show:
    """Draw these jobs once, in place of the study's own, and return the picture."""

    def draw(*jobs: Job, width: int = 80) -> str:
        engine.registry.ledgers["demo"].jobs = {job.id: job for job in jobs}
        screen = io.StringIO()
        with Display("demo", console=Console(file=screen, width=width)) as live:
            live.attach(engine)
        return screen.getvalue()

    return draw


def test_stages_are_shown_with_how_many_are_over(show: Show, make_spec: Callable[..., JobSpec]) -> None:
    jobs = [
        Job(spec=make_spec("train-1", stage="train"), state=State.SUCCEEDED),
        Job(spec=make_spec("train-2", stage="train"), state=State.RUNNING),
        Job(spec=make_spec("score-1", stage="score"), state=State.WAITING),
    ]

    lines = show(*jobs).splitlines()

    assert lines[0].startswith("demo  0s  1 of 3 jobs succeeded so far")
    assert (lines[1].split()[0], lines[1].split()[-3:]) == ("train", ["1/2", "1", "running"])
    assert (lines[2].split()[0], lines[2].split()[-1]) == ("score", "0/1")


def test_a_running_job_is_shown_with_how_far_it_is(
    show: Show, engine: Engine, make_spec: Callable[..., JobSpec]
) -> None:
    engine.progress.jobs["demo/train-1"] = {"iteration": 7, "train_iters": 40, "loss": 3.5}

    picture = show(Job(spec=make_spec("train-1", stage="train"), state=State.RUNNING))

    assert "  train-1  7/40 loss 3.500" in picture


def test_more_running_jobs_than_a_small_terminal_holds_are_counted(
    show: Show, make_spec: Callable[..., JobSpec]
) -> None:
    jobs = [Job(spec=make_spec(f"train-{n}", stage="train"), state=State.RUNNING) for n in range(display.MOST_JOBS + 3)]

    picture = show(*jobs)

    assert "  and 3 more" in picture
    assert f"train-{display.MOST_JOBS}" not in picture


@pytest.mark.parametrize("state", display.TROUBLE)
def test_trouble_is_shown_with_its_reason_on_one_line(
    show: Show, make_spec: Callable[..., JobSpec], state: State
) -> None:
    reason = "exit code 3: [bold]no markup of ours[/bold] " + "and so on " * 20

    lines = show(Job(spec=make_spec("train-1", stage="train"), state=state, reason=reason)).splitlines()

    assert lines[-1].startswith(f"  {state} train-1: exit code 3: [bold]no markup of ours[/bold] and so on")
    assert len(lines[-1]) <= 80


def test_a_retired_job_is_not_counted(show: Show, make_spec: Callable[..., JobSpec]) -> None:
    picture = show(
        Job(spec=make_spec("old"), state=State.CANCELLED, retired=True),
        Job(spec=make_spec("new"), state=State.SUCCEEDED),
    )

    assert "1 of 1 jobs succeeded so far" in picture
    assert "old" not in picture


def test_a_study_that_is_not_there_yet_is_empty(engine: Engine) -> None:
    screen = io.StringIO()
    with Display("other", console=Console(file=screen, width=80)) as live:
        live.attach(engine)

    assert "0 of 0 jobs succeeded so far" in screen.getvalue()


def test_it_is_not_drawn_more_often_than_eyes_need(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    now = [100.0]
    monkeypatch.setattr("autoexp.display.time.monotonic", lambda: now[0])

    def picture(*_: object) -> str:
        drawn.append(now[0])
        return ""

    monkeypatch.setattr(Display, "_picture", picture)

    with Display("demo", console=Console(file=io.StringIO())) as live:
        live.listen([])
        assert drawn == []  # nothing to show yet
        live.attach(engine)
        for now[0] in (101.0, 101.1, 101.2, 101.3):
            live.listen([])
        assert drawn == [101.0, 101.3]

    assert drawn[-1] == 101.3  # and once more at the end
    assert len(drawn) == 3


def test_it_follows_a_study_to_its_end(room: "Room") -> None:
    room.plan("one: {command: 'true'}\ntwo: {needs: one, command: 'exit 3'}\n")
    screen = io.StringIO()
    with (
        Display("demo", console=Console(file=screen, width=80)) as live,
        watching(room.root, lease.var_of(room.root), None, logging.getLogger("test"), live.listen) as engine,
    ):
        live.attach(engine)
        engine.run(until_done())

    assert "1 of 2 jobs succeeded so far" in screen.getvalue()
    assert "  failed two: exit code 3" in screen.getvalue()
