import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoexp import diagnostics

if TYPE_CHECKING:
    from tests.conftest import Room


@pytest.mark.parametrize(
    ("debug", "asked", "level"),
    [
        pytest.param(False, None, logging.WARNING, id="nothing"),
        pytest.param(False, "info", logging.INFO, id="the environment, in any case"),
        pytest.param(False, "ERROR", logging.ERROR, id="less than usual"),
        pytest.param(True, "ERROR", logging.DEBUG, id="the option first"),
        pytest.param(False, "loud", logging.WARNING, id="no level"),
        pytest.param(False, "", logging.WARNING, id="an empty one"),
        pytest.param(False, "getLogger", logging.WARNING, id="another name of the module"),
    ],
)
def test_the_level_is_the_one_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, level: int, *, debug: bool
) -> None:
    monkeypatch.delenv("AUTOEXP_LOG_LEVEL", raising=False)
    if asked is not None:
        monkeypatch.setenv("AUTOEXP_LOG_LEVEL", asked)

    assert diagnostics.level(debug=debug) == level


LOG = """
import sys
from pathlib import Path
from autoexp.diagnostics import set_up
log = set_up(Path("var"), debug=False)
log.debug("looked", study="demo", job="one")
log.warning("torn_tail_cut", bytes=13)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("odd")
"""


def logged(room: "Room", script: str = LOG) -> tuple[list[dict[str, Any]], str]:
    """Log in a process of its own; return the lines of the file, and what the terminal showed."""
    settings = room.settings(timeout=60)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, **settings)
    lines = (room.home / "var" / "watch.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], done.stderr


def test_the_file_has_everything_as_json_and_the_terminal_what_is_grave(room: "Room") -> None:
    lines, shown = logged(room)

    assert [line["event"] for line in lines] == ["looked", "torn_tail_cut", "odd"]
    assert {key: lines[0][key] for key in ("study", "job", "level")} == {
        "study": "demo",
        "job": "one",
        "level": "debug",
    }
    assert lines[0]["timestamp"].endswith("Z")
    assert "ZeroDivisionError: division by zero" in lines[2]["exception"]
    assert "torn_tail_cut" in shown
    assert "bytes=13" in shown
    assert "looked" not in shown
    assert "\x1b" not in shown


def test_the_terminal_has_what_was_asked_for(room: "Room") -> None:
    room.variables = {"AUTOEXP_LOG_LEVEL": "DEBUG"}

    assert "looked" in logged(room)[1]


def test_the_file_is_rotated_so_that_it_never_fills_a_disk(room: "Room") -> None:
    logged(
        room,
        "from pathlib import Path; from autoexp import diagnostics\n"
        "diagnostics.LARGEST_BYTES = 2000\n"
        "log = diagnostics.set_up(Path('var'), debug=False)\n"
        "for n in range(200): log.info('looked', n=n)\n",
    )

    files = sorted((room.home / "var").glob("watch.jsonl*"))
    assert [path.name for path in files] == ["watch.jsonl", *(f"watch.jsonl.{n}" for n in (1, 2, 3))]
    assert max(path.stat().st_size for path in files) <= 2000


def test_the_folder_is_its_owners_alone(room: "Room") -> None:
    logged(room)

    assert Path(room.home / "var").stat().st_mode & 0o777 == 0o700
