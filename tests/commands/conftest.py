"""Commands run in this process, in a room's own folder."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from autoexp import cli, lease
from autoexp.watching import until_done, watching

if TYPE_CHECKING:
    from tests.conftest import Room


class Said(NamedTuple):
    """What a command came to."""

    status: int
    out: str
    err: str


Say = Callable[..., Said]


@pytest.fixture
def here(room: "Room", monkeypatch: pytest.MonkeyPatch) -> "Room":
    """A room, entered."""
    monkeypatch.chdir(room.home)
    monkeypatch.setenv("HOME", str(room.home))
    for name in ("AUTOEXP_ROOT", "AUTOEXP_VAR", "AUTOEXP_LOG_LEVEL", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return room


@pytest.fixture
def say(here: "Room", capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command in the room, in this process."""
    assert here.home.is_dir()

    def run(*words: str | Path) -> Said:
        capsys.readouterr()
        status = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Said(status, out, err)

    return run


@pytest.fixture
def settle(here: "Room") -> Callable[[], None]:
    """Watch the room in this process until everything is over or held."""

    def run() -> None:
        var, log = lease.var_of(here.root), logging.getLogger("test")
        with watching(here.root, var, "inotify", log, lambda _: None) as engine:
            engine.run(until_done())
            here.wait_until(lambda: not here.processes())  # they are our children, and a moment behind their exit.json

    return run
