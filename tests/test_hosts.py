import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoexp import hosts
from autoexp.hosts import Process

TOKEN = f"a.{os.getpid()}"
"""Other tests beside these have sleepers too."""


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "60"], env={"AUTOEXP_TOKEN": TOKEN}, start_new_session=True) as program:
        yield program
        program.kill()


def described(pid: int) -> Process:
    began = hosts.start_time(pid)
    assert began is not None
    return replace(hosts.this_process(), pid=pid, start_time=began)


def test_we_are_alive() -> None:
    assert hosts.this_process().pid == os.getpid()
    assert hosts.is_alive(hosts.this_process())


def test_a_process_that_has_ended_is_dead_even_before_it_is_reaped(
    sleeper: "subprocess.Popen[bytes]", wait: Callable[..., Any]
) -> None:
    process = described(sleeper.pid)
    assert hosts.is_alive(process)

    sleeper.kill()
    wait(lambda: not hosts.is_alive(process), "its end")

    assert Path(f"/proc/{sleeper.pid}/stat").exists()
    sleeper.wait()
    assert not hosts.is_alive(process)


def test_another_process_with_the_same_pid_is_another_process(sleeper: "subprocess.Popen[bytes]") -> None:
    process = described(sleeper.pid)

    assert not hosts.is_alive(replace(process, start_time=process.start_time - 1))


@pytest.mark.parametrize("odd", [{"pid": None}, {"pid": "1\0"}, {"start_time": []}, {"host": None}, {"boot_id": {}}])
def test_what_is_no_description_of_a_process_is_of_one_that_nobody_sees(odd: dict[str, Any]) -> None:
    assert hosts.is_alive(Process.read({**hosts.this_process().to_record(), **odd})) is None


def test_a_process_of_an_earlier_boot_is_dead(sleeper: "subprocess.Popen[bytes]") -> None:
    assert not hosts.is_alive(replace(described(sleeper.pid), boot_id="an earlier one"))


def test_a_program_may_be_named_so_that_its_stat_line_misleads(tmp_path: Path) -> None:
    name = tmp_path / "x) Z 1 (y"
    shutil.copy(shutil.which("sleep") or "", name)
    with subprocess.Popen([name, "60"]) as program:
        alive = hosts.is_alive(described(program.pid))
        program.kill()

    assert alive


def test_a_group_is_listed_without_those_who_left_it_or_ended(wait: Callable[..., Any]) -> None:
    mine, other = f"sleep 1{os.getpid()}", f"sleep 2{os.getpid()}"
    script = f"{mine} & setsid {other} & (exit 0) & echo ready; wait"
    with subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE) as leader:
        assert leader.stdout is not None
        leader.stdout.readline()
        sleepers = wait(lambda: (found := _children(mine)) and (left := _children(other)) and [*found, *left])
        group = wait(lambda: len(members := set(hosts.group_of(leader.pid))) == 2 and members)
        for pid in (*sleepers, leader.pid):
            os.kill(pid, signal.SIGKILL)

    assert group == {leader.pid, sleepers[0]}


def _children(command: str) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cmdline").read_bytes() == command.replace(" ", "\0").encode() + b"\0":
                found.append(int(place.name))
        except OSError:
            continue
    return found


def test_processes_are_found_by_a_variable_they_began_with(
    sleeper: "subprocess.Popen[bytes]", wait: Callable[..., Any]
) -> None:
    wait(lambda: list(hosts.carriers("AUTOEXP_TOKEN", TOKEN)) == [sleeper.pid], "the kernel's word of its environment")
    assert list(hosts.carriers("AUTOEXP_TOKEN", "a.")) == []
    assert list(hosts.carriers("TOKEN", TOKEN)) == []


def test_a_dead_process_carries_nothing(sleeper: "subprocess.Popen[bytes]", wait: Callable[..., Any]) -> None:
    sleeper.kill()

    wait(lambda: not list(hosts.carriers("AUTOEXP_TOKEN", TOKEN)), "its end")


def test_signalling_a_process_that_is_gone_is_no_error(sleeper: "subprocess.Popen[bytes]") -> None:
    hosts.send(sleeper.pid, signal.SIGKILL)
    assert sleeper.wait() == -signal.SIGKILL

    hosts.send(sleeper.pid, signal.SIGKILL)


def test_signalling_another_users_process_is_no_error(humble: tuple[str, ...]) -> None:
    """What a job starts through sudo is not ours to end."""
    who: dict[str, Any] = {"user": 65534, "extra_groups": []} if humble else {}
    with subprocess.Popen(["sleep", "60"], cwd="/", **who) as other:
        pid = other.pid if who else 1
        script = f"import signal; from autoexp import hosts; hosts.send({pid}, signal.SIGTERM)"
        done = subprocess.run([*humble, sys.executable, "-c", script], check=False, capture_output=True)
        ended = other.poll()
        other.kill()

    assert done.stderr == b""
    assert ended is None


def test_the_host_is_known_by_its_name() -> None:
    assert hosts.hostname() == socket.gethostname()


def test_a_pid_that_nobody_has_is_dead() -> None:
    assert hosts.start_time(2**22 + 1) is None
