"""Samples what the GPUs of a job do while it runs, into attempts/NNN/gpus.<host>.csv; the report reads that.

Try it by hand, where there is a GPU; it goes on until the shell that started it ends:

    python hooks/gpu_monitor.py --every 1s --output gate.json

In a recipe, `gate: gpu_monitor`: gates begin each attempt inside its allocation, and this one lets everything pass,
GPUs or not. What samples is nvidia-smi itself, on several nodes one on each by `srun --overlap`. A process of ours
waits for the end of the job's own shell, however that comes, and ends it.
"""

import argparse
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from autoexp import files, hosts, nccl
from autoexp.quantities import duration_s

TAKES = "every"
TOOL = "nvidia-smi"
FIELDS = "timestamp,index,uuid,utilization.gpu,memory.used,memory.total"
EVERY_S = 5.0
LOOK_S = 0.5
"""How often we look whether the job is still there."""
GRACE_S = 2.0
"""How long nvidia-smi, or srun, may take to end when asked to."""
PR_SET_PDEATHSIG = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Begin to sample, and let the attempt go on; the exit status is 0 whatever comes of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=duration_s, default=EVERY_S, metavar="TIME", help="5s")
    parser.add_argument(
        "--output", type=Path, required=True, help="where the verdict of a gate goes; samples beside it"
    )
    asked = parser.parse_args(argv)
    try:
        said = begin(asked.output.absolute().parent, asked.every)
        verdict = nccl.Verdict(code=nccl.Code.PASS, cause=said, threshold_gbps=0.0)
        files.write_json(asked.output, verdict.as_json(), indent=1)
    except OSError as error:  # a training is worth more than its samples
        said = f"GPUs are not sampled, or nobody is told: {error}"
    print(f"gpu_monitor: {said}", flush=True)
    return 0


def begin(folder: Path, every_s: float) -> str:
    """Leave a process behind that samples until our parent ends; say so."""
    if shutil.which(TOOL) is None:
        return f"no GPU is sampled: there is no {TOOL} on the PATH"
    job = os.getppid()
    began = hosts.start_time(job)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            guard(job, began, folder, every_s)
        os._exit(0)
    return f"its GPUs are sampled every {every_s:g} s"


def guard(job: int, began: int | None, folder: Path, every_s: float) -> None:
    """Let nvidia-smi sample until the job's shell ends, or it gives up itself; silent, for the log is the job's."""
    try:
        with Path(os.devnull).open("r+b") as nothing:
            for stream in (0, 1, 2):
                os.dup2(nothing.fileno(), stream)
        nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
        sampler = sample_all(nodes, folder, every_s) if nodes > 1 else sample(folder, every_s)
        while began is not None and hosts.start_time(job) == began and sampler.poll() is None:
            time.sleep(LOOK_S)
        end(sampler)
    finally:
        os._exit(0)


def host() -> str:
    """Name this node as Slurm does."""
    return os.environ.get("SLURMD_NODENAME") or os.uname().nodename.partition(".")[0]


def sample(folder: Path, every_s: float) -> "subprocess.Popen[bytes]":
    """Sample on this node."""
    with (folder / f"gpus.{host()}.csv").open("ab") as samples:
        return started(command_of(every_s), samples)


def sample_all(nodes: int, folder: Path, every_s: float) -> "subprocess.Popen[bytes]":
    """Sample on each node of an allocation, beside the training and with its GPUs."""
    srun = ["srun", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--cpus-per-task=1"]
    return started([*srun, "--mem=0", "--quiet", f"--output={folder}/gpus.%N.csv", *command_of(every_s)], None)


def command_of(every_s: float) -> list[str]:
    """Write what samples on one node: only the GPUs that are the job's, where it was told which."""
    words = [TOOL, f"--query-gpu={FIELDS}", "--format=csv", f"--loop-ms={max(1, round(1000 * every_s))}"]
    return ["sh", "-c", f'exec {shlex.join(words)} ${{CUDA_VISIBLE_DEVICES:+"--id=$CUDA_VISIBLE_DEVICES"}}']


def started(command: list[str], output: IO[bytes] | None) -> "subprocess.Popen[bytes]":
    """Start what samples; it ends with us, however we end."""
    # The command is ours, and there is one thread.
    return subprocess.Popen(command, stdout=output, preexec_fn=die_with_parent)  # noqa: PLW1509, S603


def die_with_parent() -> None:
    """See to it that nvidia-smi does not outlive the one who is to end it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end(sampler: "subprocess.Popen[bytes]") -> None:
    """End it, asking first."""
    sampler.terminate()
    with suppress(subprocess.TimeoutExpired):
        sampler.wait(GRACE_S)
    sampler.kill()


if __name__ == "__main__":
    sys.exit(main())
