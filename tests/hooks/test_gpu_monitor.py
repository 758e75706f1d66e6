import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoexp.report.gpus import read_gpus
from tests.conftest import processes_with, wait_until

if TYPE_CHECKING:
    from tests.conftest import Room

HOOK = Path(__file__).parents[2] / "hooks" / "gpu_monitor.py"
SMI = """\
#!/bin/sh
echo "$@" > {home}/asked
echo 'timestamp, index, uuid, utilization.gpu [%], memory.used [MiB], memory.total [MiB]'
while :; do echo "2025/12/05 10:24:00.343, 0, GPU-a, 80 %, 1024 MiB, 81920 MiB"; sleep 0.05; done
"""


@pytest.fixture
def with_gpu(room: "Room") -> "Room":
    """Put an nvidia-smi on the PATH of a room's jobs."""
    tool = room.write("bin/nvidia-smi", SMI.format(home=room.home))
    tool.chmod(0o755)
    room.variables = {"PATH": f"{tool.parent}:{os.environ['PATH']}"}
    return room


def monitor(room: "Room", **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(HOOK), "--output", str(room.home / "gate.json")]
    env = {**room.environment(), "AUTOEXP_ROOT": str(room.root), **variables}  # so that the room ends what samples
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True)


def nobody_samples(room: "Room") -> bool:
    return not list(processes_with(f"AUTOEXP_ROOT={room.root}".encode()))


def test_a_job_is_sampled_while_it_runs_and_no_longer(with_gpu: "Room") -> None:
    room = with_gpu
    look = "until [ $(cat attempts/001/gpus.*.csv | wc -l) -gt 3 ]; do sleep 0.05; done"
    room.plan(f"train:\n  command: '{look}'\n  gate: {{gpu_monitor: {{every: 1s}}}}\n")

    done = room.run("watch", room.root, "--until-done")

    assert done.returncode == 0, done.stderr
    found = read_gpus(room.job_dir("train"))
    assert (found.busy_percent, found.peak_bytes) == (80.0, (1 << 30,))
    assert "--loop-ms=1000" in (room.home / "asked").read_text()
    assert json.loads((room.attempt_dir("train") / "gate.json").read_text())["verdict"] == "pass"
    assert (room.attempt_dir("train") / "output.log").read_text() == "gpu_monitor: its GPUs are sampled every 1 s\n"
    wait_until(lambda: nobody_samples(room), "the end of what sampled")


def test_it_does_not_outlive_a_shell_that_is_killed(with_gpu: "Room") -> None:
    shell = f"{sys.executable} {HOOK} --every 1s --output {with_gpu.home}/gate.json; echo ready; read -r end"
    variables = {**with_gpu.environment(), "AUTOEXP_ROOT": str(with_gpu.root)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["bash", "-c", shell], env=variables, text=True, **pipes) as job:  # type: ignore[call-overload]
        assert [job.stdout.readline().partition(":")[0] for _ in range(2)] == ["gpu_monitor", "ready\n"]
        wait_until(lambda: list(with_gpu.home.glob("gpus.*.csv")), "samples")
        job.send_signal(signal.SIGKILL)
    wait_until(lambda: nobody_samples(with_gpu), "the end of what sampled")


def test_without_a_gpu_the_attempt_goes_on(room: "Room") -> None:
    done = monitor(room, PATH="/nowhere")

    assert done.stdout == "gpu_monitor: no GPU is sampled: there is no nvidia-smi on the PATH\n"
    assert json.loads((room.home / "gate.json").read_text())["code"] == 0


def test_a_disk_that_takes_nothing_does_not_cost_the_attempt(with_gpu: "Room") -> None:
    (with_gpu.home / "gate.json").mkdir()

    assert monitor(with_gpu).stdout.startswith("gpu_monitor: GPUs are not sampled, or nobody is told: ")


def test_only_the_gpus_of_the_job_are_sampled(with_gpu: "Room") -> None:
    monitor(with_gpu, CUDA_VISIBLE_DEVICES="2,3")

    asked = with_gpu.home / "asked"
    assert wait_until(lambda: asked.exists() and asked.read_text(), "nvidia-smi").endswith(" --id=2,3\n")


def test_on_several_nodes_each_samples_its_own(with_gpu: "Room") -> None:
    with_gpu.write("bin/srun", f'#!/bin/sh\necho "$@" > {with_gpu.home}/told\n').chmod(0o755)
    monitor(with_gpu, SLURM_JOB_NUM_NODES="3")

    told = with_gpu.home / "told"
    said = wait_until(lambda: told.exists() and told.read_text(), "srun")
    assert "--overlap --nodes=3 --ntasks=3" in said
    assert f"--output={with_gpu.home}/gpus.%N.csv" in said
