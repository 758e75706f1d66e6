import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HOOK = Path(__file__).parent.parent.parent / "hooks" / "nccl_gate.py"

TABLE = """\
# nThread 1 nGpus 2 minBytes 1073741824 maxBytes 1073741824 step: 2(factor) warmup iters: 5 iters: 20
# Using devices
#  Rank  0 Group  0 Pid   4000 on node001 device  0 [0x07] GPU
#  Rank  1 Group  0 Pid   4000 on node001 device  1 [0x0b] GPU
#
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
  1073741824     268435456     float     sum      -1  10000.0  107.37  107.37      0  10100.0  106.31  106.31      0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 106.84
"""

Gate = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def gate(tmp_path: Path, environment: dict[str, str]) -> Gate:
    """Run the hook as a job would, with the test's own programs first on the PATH."""
    paths = {**environment, "PATH": f"{tmp_path}:{environment['PATH']}"}

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(HOOK), "--output", str(tmp_path / "gate.json"), *flags]
        return subprocess.run(command, env=paths, check=False, capture_output=True, text=True)

    return run


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], None]:
    """Put an all_reduce_perf on the PATH that does what a line of shell says."""

    def write(line: str) -> None:
        (tmp_path / "table").write_text(TABLE)
        path = tmp_path / "all_reduce_perf"
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    return write


def verdict(folder: Path) -> dict[str, object]:
    value = json.loads((folder / "gate.json").read_text())
    assert isinstance(value, dict)
    return value


def test_a_good_network_passes_and_the_verdict_is_written(
    gate: Gate, program: Callable[[str], None], tmp_path: Path
) -> None:
    program(f'echo "asked: $@"; cat {tmp_path}/table')

    done = gate("--ranks", "2", "--hosts", "1", "--threshold", "100")

    assert done.returncode == 0
    assert verdict(tmp_path) == {
        "verdict": "pass",
        "code": 0,
        "cause": "fast enough",
        "busbw_gbps": 106.31,
        "threshold_gbps": 100.0,
        "ranks": 2,
        "suspects": [],
    }
    assert "asked: -b 1G -e 8G -f 2 -g 2 -c 1 -n 20 -w 5" in done.stdout
    assert "Avg bus bandwidth" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == verdict(tmp_path)


@pytest.mark.parametrize(
    ("line", "flags", "code"),
    [
        pytest.param("cat {}/table", ("--threshold", "200"), 46, id="too slow"),
        pytest.param("cat {}/table; exit 3", (), 44, id="a good table and a bad end"),
        pytest.param("head -n 8 {}/table", (), 44, id="torn"),
        pytest.param("exit 0", (), 44, id="silent"),
        pytest.param("sed 's/31      0/31    512/' {}/table; exit 7", (), 45, id="wrong data"),
        pytest.param("cat {}/table", ("--ranks", "8"), 48, id="fewer ranks than asked for"),
        pytest.param("cat {0}/table {0}/table | sort", (), 48, id="two programs in one log"),
        pytest.param("kill -SEGV $$", (), 44, id="killed by a signal"),
        pytest.param("cat {}/table >&2", (), 0, id="all of it on the other stream"),
    ],
)
def test_the_exit_status_is_the_verdict(
    gate: Gate,
    program: Callable[[str], None],
    tmp_path: Path,
    *,
    line: str,
    flags: tuple[str, ...],
    code: int,
) -> None:
    program(line.format(tmp_path))

    assert gate(*flags).returncode == code

    assert verdict(tmp_path)["code"] == code


def test_a_tool_that_is_not_there_fails_and_says_so(gate: Gate, tmp_path: Path) -> None:
    assert gate().returncode == 44
    assert verdict(tmp_path)["cause"] == "all_reduce_perf cannot be run: No such file or directory"


def test_a_command_of_ones_own_is_split_into_words_and_no_shell_sees_it(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "my table").write_text(TABLE)

    assert gate("--command", f"cat '{tmp_path}/my table' ").returncode == 0
    assert gate("--command", f"cat '{tmp_path}/my table' | true").returncode == 44


@pytest.mark.parametrize("command", ["", " ", "'"])
def test_a_command_that_is_none_is_a_usage_error(gate: Gate, tmp_path: Path, command: str) -> None:
    assert gate("--command", command).returncode == 2
    assert not (tmp_path / "gate.json").exists()


@pytest.mark.parametrize("number", ["nan", "inf", "0", "-1", "x"])
def test_limits_that_let_everything_or_nothing_pass_are_usage_errors(gate: Gate, number: str) -> None:
    assert gate("--threshold", number).returncode == 2
    assert gate("--timeout", number).returncode == 2


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def child(folder: Path) -> int:
    """Wait for the number that a program's child leaves in a file."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if (folder / "child").exists() and (text := (folder / "child").read_text().strip()):
            return int(text)
        time.sleep(0.01)
    raise TimeoutError


def test_a_tool_that_hangs_is_ended_with_its_children(
    gate: Gate, program: Callable[[str], None], tmp_path: Path, wait: Callable[..., Any]
) -> None:
    program(f"cat {tmp_path}/table; sleep 60 & echo $! > {tmp_path}/child; wait")

    done = gate("--timeout", "1")

    assert done.returncode == 47
    assert "Avg bus bandwidth" in done.stdout
    pid = child(tmp_path)
    wait(lambda: not alive(pid))


def test_a_gate_that_is_ended_takes_its_tool_along(
    program: Callable[[str], None], tmp_path: Path, environment: dict[str, str], wait: Callable[..., Any]
) -> None:
    program(f"sleep 60 & echo $! > {tmp_path}/child; wait")
    paths = {**environment, "PATH": f"{tmp_path}:{environment['PATH']}"}
    process = subprocess.Popen([sys.executable, str(HOOK)], env=paths)
    pid = child(tmp_path)

    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=20) == 128 + signal.SIGTERM
    wait(lambda: not alive(pid))


def test_a_log_that_is_there_is_judged_without_running_anything(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(TABLE.encode() + b"\xff\xfe")

    assert gate("--parse", str(tmp_path / "log")).returncode == 0
    assert gate("--parse", str(tmp_path / "log"), "--threshold", "200").returncode == 46
    assert gate("--parse", str(tmp_path / "absent")).returncode == 44


def test_a_verdict_that_cannot_be_written_fails(gate: Gate, program: Callable[[str], None], tmp_path: Path) -> None:
    program(f"cat {tmp_path}/table")
    (tmp_path / "file").write_text("")

    done = gate("--output", os.devnull + "/gate.json")

    assert done.returncode == 44
    assert "cannot be written" in done.stderr
