import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Room

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
        "tries": 1,
        "command": "all_reduce_perf -b 1G -e 8G -f 2 -c 1 -n 20 -w 5 -g 2",
    }
    assert "asked: -b 1G -e 8G -f 2 -c 1 -n 20 -w 5 -g 2" in done.stdout
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


@pytest.mark.parametrize(
    ("line", "hosts", "suspects"),
    [
        pytest.param("for n in 1 2; do echo n$n: Test timeout x:1; done", "3", [], id="those who waited for a third"),
        pytest.param("for n in 1 2; do echo n$n: Test NCCL failure x:1; done", "2", [], id="all there are"),
        pytest.param("echo n2: Test CUDA failure x:1", "2", ["n2"], id="one of two"),
        pytest.param("echo n1: Test NCCL failure x:1 remote process exited", "3", [], id="one that lost another"),
        pytest.param(
            "for n in 1 3; do echo \"n$n: Test NCCL failure x:1 'closed by remote peer n2<9>'\"; done",
            "3",
            ["n2"],
            id="one that two have lost",
        ),
        pytest.param("echo n1: Test timeout x:1", "1", ["n1"], id="the only one"),
    ],
)
def test_no_host_is_suspected_by_guess(
    gate: Gate, program: Callable[[str], None], tmp_path: Path, *, line: str, hosts: str, suspects: list[str]
) -> None:
    program(line)

    gate("--ranks", "3", "--hosts", hosts, "--command", "all_reduce_perf")

    assert verdict(tmp_path)["suspects"] == suspects


def test_a_moment_s_trouble_is_gone_at_the_second_try(
    gate: Gate, program: Callable[[str], None], tmp_path: Path
) -> None:
    program(f"test -e {tmp_path}/again && cat {tmp_path}/table; touch {tmp_path}/again")

    assert gate("--threshold", "100").returncode == 0
    assert verdict(tmp_path)["tries"] == 2


@pytest.mark.parametrize(
    ("line", "code", "runs"),
    [
        pytest.param("cat {}/table", 46, 2, id="too slow: twice and no more"),
        pytest.param("sed 's/31      0/31    512/' {}/table", 45, 1, id="wrong data is not tried away"),
        pytest.param("cat {0}/table {0}/table | sort", 48, 1, id="the ranks will not change"),
    ],
)
def test_a_failure_is_tried_once_more_where_that_may_help(
    gate: Gate, program: Callable[[str], None], tmp_path: Path, *, line: str, code: int, runs: int
) -> None:
    program(f"echo run >> {tmp_path}/runs; {line.format(tmp_path)}")

    assert gate("--threshold", "200").returncode == code
    assert len((tmp_path / "runs").read_text().split()) == runs


def test_without_the_tool_our_own_measurement_runs_for_real(gate: Gate, tmp_path: Path) -> None:
    done = gate("--ranks", "2", "--hosts", "1", "--threshold", "1e-6")

    assert done.returncode == 0, done.stdout + done.stderr
    assert verdict(tmp_path)["ranks"] == 2
    assert "autoexp.trainers.allreduce" in str(verdict(tmp_path)["command"])
    assert "validation: 1" in done.stdout


def test_on_several_hosts_the_launcher_of_slurm_starts_it(
    gate: Gate, program: Callable[[str], None], tmp_path: Path
) -> None:
    (tmp_path / "srun").write_text(f'#!/bin/sh\necho "srun: $@"; cat {tmp_path}/table\n')
    (tmp_path / "srun").chmod(0o755)

    own = gate("--ranks", "2", "--hosts", "2")
    assert "srun: --nodes=2 --ntasks-per-node=1" in own.stdout
    assert "--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=" in own.stdout

    program("exit 1")
    assert (
        "srun: --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=1 all_reduce_perf"
        in gate("--ranks", "2", "--hosts", "2").stdout
    )


SRUN = """\
#!{python} -SE
# Stands in for srun and all_reduce_perf: each node sends over its link, and a node's own GPUs are fast.
import json, sys, time
from pathlib import Path
links = json.loads(Path("{folder}/links").read_text())
words = dict(word.lstrip("-").split("=") for word in sys.argv[1:] if word.startswith("--"))
nodes = words.get("nodelist", ",".join(links)).split(",")
ranks, slowest = int(words["ntasks"]), min(links[node] for node in nodes)
if len(nodes) > 1 and slowest == 0:
    time.sleep(60)
bus = min(450.0, slowest * (ranks - 1) / (len(nodes) - 1)) if len(nodes) > 1 else 450.0
print("# nThread 1 nGpus 1 minBytes 1073741824 maxBytes 1073741824 step: 2(factor) warmup iters: 5 iters: 20")
print("# Using devices")
for rank in range(ranks):
    print(f"#  Rank {{rank}} Group  0 Pid  {{rank}} on {{nodes[rank // (ranks // len(nodes))]}} device  0 [0x07] GPU")
alg = bus * ranks / (2 * (ranks - 1))
half = f"{{1073741824 / alg / 1000:.1f}} {{alg:.2f}} {{bus:.2f}} 0"
print("# size count type redop root time algbw busbw #wrong time algbw busbw #wrong")
print(f" 1073741824 268435456 float sum -1 {{half}} {{half}}")
print(f"# Out of bounds values : 0 OK\\n# Avg bus bandwidth    : {{bus:.2f}}")
"""


@pytest.mark.parametrize(
    "links",
    [
        pytest.param({"n1": 25, "n2": 25, "n3": 17, "n4": 25}, id="a link that is enough for a pair"),
        pytest.param({"n1": 25, "n2": 25, "n3": 0, "n4": 25}, id="a link that hangs"),
        pytest.param({"n1": 25, "n2": 25, "n3": 1, "n4": 25}, id="a link that is nearly dead"),
    ],
)
def test_the_slow_node_of_an_allocation_is_found(
    links: dict[str, int], program: Callable[[str], None], tmp_path: Path, environment: dict[str, str]
) -> None:
    """All four together have to reach 240 GB/s, which is 23 on each link; two reach that with 16."""
    program("exit 1")  # it is there, and started by srun
    (tmp_path / "links").write_text(json.dumps(links))
    (tmp_path / "srun").write_text(SRUN.format(python=sys.executable, folder=tmp_path))
    (tmp_path / "srun").chmod(0o755)
    there = {"PATH": f"{tmp_path}:{environment['PATH']}", "SLURM_JOB_NODELIST": "n[1-4]"}
    timeout = "8" if 0 in links.values() else "60"
    asked = ["--ranks", "32", "--hosts", "4", "--threshold", "240", "--timeout", timeout]

    command = [sys.executable, str(HOOK), "--output", str(tmp_path / "gate.json"), *asked]
    done = subprocess.run(command, env={**environment, **there}, check=False, capture_output=True, text=True)

    assert verdict(tmp_path)["suspects"] == ["n3"], done.stdout
    assert "n3 is slow" in str(verdict(tmp_path)["cause"])


def test_a_single_rank_needs_no_gate_and_is_told_so(gate: Gate, tmp_path: Path) -> None:
    assert gate("--ranks", "1").returncode == 48
    assert verdict(tmp_path)["cause"] == "a single rank has nobody to talk to: leave the gate out"


def test_a_program_that_is_not_there_fails_and_says_so(gate: Gate, tmp_path: Path) -> None:
    assert gate("--command", "no_such_program -b 1G").returncode == 44
    assert verdict(tmp_path)["cause"] == "no_such_program cannot be run: No such file or directory"


def test_a_command_of_ones_own_is_split_into_words_and_no_shell_sees_it(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "my table").write_text(TABLE)

    assert gate("--command", f"cat '{tmp_path}/my table' ").returncode == 0
    assert gate("--command", f"cat '{tmp_path}/my table' | true").returncode == 44


@pytest.mark.parametrize("command", ["", " ", "'"])
def test_a_command_that_is_none_is_a_usage_error(gate: Gate, tmp_path: Path, command: str) -> None:
    assert gate("--command", command).returncode == 2
    assert not (tmp_path / "gate.json").exists()


@pytest.mark.parametrize("number", ["nan", "inf", "1e300", "0", "-1", "x"])
def test_limits_that_let_everything_or_nothing_pass_are_usage_errors(gate: Gate, number: str) -> None:
    assert gate("--threshold", number).returncode == 2
    assert gate("--timeout", number).returncode == 2


@pytest.mark.parametrize("output", ["", ".", "/"])
def test_an_output_that_is_no_file_is_a_usage_error(gate: Gate, output: str) -> None:
    assert gate("--output", output).returncode == 2


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


def test_settings_of_the_test_end_with_it_and_never_reach_the_training(room: "Room") -> None:
    room.machine(environment=["PYTHONPATH"])  # so that the hook is tested with the sources beside it
    room.write("table", TABLE)
    command = f"env NCCL_ALGO=Tree sh -c 'echo measured with $NCCL_ALGO; cat {room.home}/table'"
    gate_of = f'gate: {{nccl_gate: {{command: "{command}", threshold: 100, ranks: 2, hosts: 1}}}}'
    room.plan(f"one: {{{gate_of}, command: 'echo training with ${{NCCL_ALGO:-nothing}}'}}\n".replace("${", "\\${"))

    room.run("watch", room.root, "--until-done")

    log = (room.attempt_dir("one") / "output.log").read_text()
    assert "measured with Tree" in log
    assert "training with nothing" in log


def test_a_verdict_that_cannot_be_written_fails(gate: Gate, program: Callable[[str], None], tmp_path: Path) -> None:
    program(f"cat {tmp_path}/table")
    (tmp_path / "file").write_text("")

    done = gate("--output", os.devnull + "/gate.json")

    assert done.returncode == 44
    assert "cannot be written" in done.stderr
