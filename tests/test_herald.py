"""Telling people, by a real server on this computer and by a command."""

import json
import logging
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from autoexp import herald as heralds
from autoexp import lease
from autoexp.engine import Engine
from autoexp.errors import AutoexpError
from autoexp.herald import ADDRESSES, COMMAND, Herald, sender, text_of
from autoexp.watching import until_done, watching

if TYPE_CHECKING:
    from tests.conftest import Room

SECRET = "hunter2-secret"
STAGES = """
bad: {command: 'exit 3'}
good: {command: 'true'}
each: {each: {job: good}, command: 'true'}
"""


class Server:
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.refuses = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = 500 if server.refuses else 200
                if server.refuses:
                    server.refuses -= 1
                else:
                    server.messages.append(message)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"json://user:{SECRET}@127.0.0.1:{self.http.server_address[1]}"

    def lines(self) -> list[list[str]]:
        return [message["message"].splitlines() for message in self.messages]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that people would be told through."""
    found = Server()
    thread = Thread(target=found.http.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.http.shutdown()
    found.http.server_close()
    thread.join()


@pytest.fixture
def herald(room: "Room") -> Iterator[Herald]:
    """A herald of a watcher that is not begun, with what it sends in `sent`."""
    room.plan(STAGES)
    var = lease.var_of(room.root)
    found: list[Herald] = []
    log = logging.getLogger("test")
    with watching(room.root, var, "inotify", log, lambda moves: found[0].listen(moves) if found else None) as engine:
        found.append(Herald(lambda _title, _text: None, engine, log))
        yield found[0]
        room.wait_until(lambda: not room.processes())


def play(engine: Engine) -> None:
    engine.run(until_done())


def test_a_watcher_tells_an_address_of_its_environment_and_writes_it_nowhere(room: "Room", server: Server) -> None:
    room.plan(STAGES)
    room.variables = {ADDRESSES: server.address}

    done = room.run("watch", room.root, "--until-done", "--debug")

    assert done.returncode == 1
    (message,) = server.messages
    assert message["title"] == f"autoexp: {room.root}"
    assert sorted(message["message"].splitlines()) == [
        "demo is finished: 1 failed, 2 succeeded",
        "demo/bad failed: exit code 3",
    ]
    assert SECRET not in done.stdout + done.stderr
    files = [path for path in room.home.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_a_command_is_told_the_same(room: "Room") -> None:
    room.plan(STAGES)
    room.variables = {COMMAND: '{ echo "$AUTOEXP_TITLE"; cat; } >> told.txt'}

    room.run("watch", room.root, "--until-done")

    lines = told(room).splitlines()
    assert lines[0] == f"autoexp: {room.root}"
    assert "demo/bad failed: exit code 3" in lines


def test_what_happens_within_a_moment_is_one_message_and_the_next_waits(herald: Herald, room: "Room") -> None:
    sent: list[str] = []
    herald.send = lambda _, text: sent.append(text)
    herald.gather_s, herald.interval_s = 0.2, 3600.0
    with herald:
        play(herald.engine)
        room.wait_until(lambda: sent)
        room.touch("bad", "retry")
        play(herald.engine)
        assert len(sent) == 1

    assert len(sent) == 2, "what is left is told at the end"
    assert sent[1].splitlines()[0] == "demo/bad failed: exit code 3"


class Noting:
    """Stands for the watcher's diagnostics."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def warning(self, *what: str, **more: str) -> None:
        self.noted += [*what, *more.values()]


def test_what_cannot_be_told_is_told_later_and_noted(
    herald: Herald, room: "Room", server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    send, noting = sender({ADDRESSES: server.address}), Noting()
    assert send is not None
    server.refuses = 1
    herald.send, herald.gather_s, herald.interval_s, herald.logger = send, 0.1, 0.1, noting
    with herald:
        play(herald.engine)
        room.wait_until(lambda: server.messages)

    assert [line for lines in server.lines() for line in lines].count("demo/bad failed: exit code 3") == 1
    assert noting.noted[0] == "nobody_was_told"
    assert SECRET not in caplog.text + str(noting.noted)


def told(room: "Room") -> str:
    """What the room's command was told so far."""
    file = room.home / "told.txt"
    return file.read_text() if file.exists() else ""


def test_a_stall_is_told(room: "Room") -> None:
    room.plan("slow: {command: 'sleep 600', stall: {no_progress: 1s}}\n")
    room.variables = {COMMAND: "cat >> told.txt"}
    room.watch()

    room.wait_until(lambda: "demo/slow gets no further" in told(room))


def test_a_budget_that_keeps_jobs_waiting_is_told_once(room: "Room") -> None:
    room.machine(gpus=2)
    room.write(
        "demo.yaml",
        "study: demo\nmachine: bench\nbudget: {gpu_hours: 1}\nstages:\n  small: {command: 'true'}\n"
        "  other: {needs: small, command: 'true'}\n"
        "  large: {command: 'true', resources: {gpus_per_node: 2, walltime: 1h}}\n",
    )
    assert room.run("plan", "demo.yaml", "--root", room.root).returncode == 0
    room.variables = {COMMAND: "cat >> told.txt"}
    watcher = room.watch()
    room.wait_for({"other": "succeeded"})
    room.wait_until(lambda: told(room).endswith("\n"))

    room.stop(watcher)

    assert told(room) == "demo has little left: of 1 GPU hours 0 are used\n"


def test_of_many_news_the_first_are_told_and_the_rest_counted() -> None:
    lines = text_of([f"demo/job{n} failed" for n in range(300)]).splitlines()

    assert len(lines) == 21
    assert lines[-1] == "and 280 more"


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({ADDRESSES: f"json://127.0.0.1 nonsense{SECRET}"}, "apprise cannot use address 2"),
        ({ADDRESSES: f"nosuch://{SECRET}"}, "apprise cannot use address 1"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_and_not_shown(variables: dict[str, str], why: str) -> None:
    with pytest.raises(AutoexpError) as refused:
        sender(variables)

    assert why in refused.value.why
    assert SECRET not in str(refused.value)


def test_without_apprise_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)

    with pytest.raises(AutoexpError, match=r"autoexp\[notify\]"):
        sender({ADDRESSES: "json://127.0.0.1"})


@pytest.mark.parametrize(("command", "why"), [("exit 3", "ended with 3"), ("sleep 60", "TimeoutExpired")])
def test_a_command_that_fails_or_hangs_is_told_without_its_words(
    monkeypatch: pytest.MonkeyPatch, command: str, why: str
) -> None:
    monkeypatch.setattr(heralds, "PATIENCE_S", 0.3)
    send = sender({COMMAND: f"{command} # {SECRET}"})
    assert send is not None

    with pytest.raises(AutoexpError) as refused:
        send("title", "text")

    assert why in refused.value.why
    assert SECRET not in str(refused.value)


def test_who_names_no_address_and_no_command_is_told_nothing() -> None:
    assert sender({ADDRESSES: " ", COMMAND: ""}) is None
