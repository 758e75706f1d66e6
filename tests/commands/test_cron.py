import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Room

SLOW = "one: {command: 'until test -e go; do sleep 0.05; done; echo ran >> ran'}\n"
WORLD = """
set -e
mount -t tmpfs none /var/spool/cron/crontabs
chown root:crontab /var/spool/cron/crontabs; chmod 1730 /var/spool/cron/crontabs
mount -t tmpfs none /run
touch "$1"
exec sleep infinity
"""
"""Crontabs of its own: whatever the user's crontab holds is neither seen nor touched."""


@pytest.fixture
def cron(room: "Room") -> Iterator["Room"]:
    """A room whose commands, and whose cron daemon if a test starts it, have crontabs of their own."""
    ready = room.home / "ready"
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", WORLD, "world", str(ready)]) as world:
        try:
            room.wait_until(lambda: ready.exists() or world.poll() is not None)
            assert world.poll() is None
            room.prefix = ("nsenter", "--mount", f"--target={world.pid}", f"--wd={room.home}")
            yield room
        finally:
            world.kill()
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(lease(room)["pid"], signal.SIGKILL)


def lease(room: "Room") -> dict[str, int]:
    found: dict[str, int] = json.loads((room.root / ".autoexp" / "lease.json").read_bytes())
    return found


def crontab(room: "Room", *words: str, table: str = "") -> str:
    command = [*room.prefix, "crontab", *words]
    return subprocess.run(command, input=table, capture_output=True, text=True, check=True).stdout


def test_cron_starts_a_watcher_where_there_is_none_and_it_goes_on(cron: "Room") -> None:
    cron.plan(SLOW)
    killed = cron.watch()
    cron.wait_for({"one": "running"})
    assert cron.run("cron", cron.root, "--install").returncode == 0
    crontab(cron, "-", table=crontab(cron, "-l").replace("*/5", "*"))
    killed.kill()
    killed.wait()

    with subprocess.Popen([*cron.prefix, "cron", "-f"]) as daemon:
        try:
            cron.wait_until(lambda: lease(cron)["pid"] != killed.pid, "a watcher started by cron", within_s=150)
        finally:
            daemon.kill()
    (cron.job_dir("one") / "go").touch()
    cron.wait_for({"one": "succeeded"})

    assert (cron.job_dir("one") / "ran").read_text() == "ran\n"
    assert not (cron.var / "watch.out").read_text()


def test_a_line_is_printed_installed_once_and_removed_among_others(cron: "Room") -> None:
    cron.plan(SLOW)
    crontab(cron, "-", table="# mine\n0 1 * * * backup\n")
    line = cron.run("cron", cron.root).stdout

    installed, again = (cron.run("cron", cron.root, "--install") for _ in range(2))
    table = crontab(cron, "-l")
    removed, nothing = (cron.run("cron", cron.root, "--remove") for _ in range(2))

    assert table == f"# mine\n0 1 * * * backup\n{line}"
    assert crontab(cron, "-l") == "# mine\n0 1 * * * backup\n"
    assert [done.stdout.partition(";")[0] for done in (installed, again, removed, nothing)] == [
        f"cron keeps {cron.root} watched",
        f"cron keeps {cron.root} watched already",
        f"cron no longer starts watchers of {cron.root}",
        f"your crontab has no line for {cron.root}",
    ]


def test_the_first_line_of_a_user_without_a_crontab_is_ours(cron: "Room") -> None:
    cron.plan(SLOW)

    assert cron.run("cron", cron.root, "--install").returncode == 0

    assert crontab(cron, "-l") == cron.run("cron", cron.root).stdout


def test_a_line_for_a_root_that_is_gone_can_be_removed(cron: "Room") -> None:
    cron.plan(SLOW)
    cron.run("cron", cron.root, "--install")
    cron.root.rename(cron.home / "moved")

    assert cron.run("cron", cron.root, "--remove").returncode == 0

    assert crontab(cron, "-l") == ""


def test_a_root_that_is_not_there_gets_no_line(room: "Room") -> None:
    done = room.run("cron", "nowhere")

    assert (done.returncode, done.stdout) == (1, "")
    assert "nowhere is no experiments folder" in done.stderr


def test_the_command_needs_no_cron_to_print_the_line(room: "Room", tmp_path: Path) -> None:
    room.plan(SLOW)

    done = room.run("cron", room.root, env={**room.environment(), "PATH": str(tmp_path)})

    assert done.returncode == 0
    assert done.stdout.endswith(f"# autoexp watches {room.root}\n")
