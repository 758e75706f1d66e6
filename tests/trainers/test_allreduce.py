import subprocess
import sys

import pytest
import torch

from autoexp import nccl
from autoexp.nccl import Asked, Code
from autoexp.trainers import allreduce, ranks

LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def measured(processes: int, *flags: str) -> str:
    command = (*LAUNCH, str(processes), "-m", "autoexp.trainers.allreduce", *flags)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_it_prints_is_judged_as_the_output_of_nccl_tests() -> None:
    log = nccl.read(measured(3, "-b", "4096", "-e", "65536", "-f", "4", "-n", "2", "-w", "0"))

    assert nccl.judge(log, Asked(threshold_gbps=1e-9, ranks=3, hosts=1)).code is Code.PASS
    assert [row.size_bytes for row in log.runs[0].rows] == [4096, 16384, 65536]


def test_a_single_process_has_nobody_to_talk_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    with pytest.raises(SystemExit, match="start it with torchrun"):
        allreduce.main([])


@pytest.mark.parametrize("flags", [("-b", "3"), ("-b", "0"), ("-f", "1"), ("-n", "0"), ("-b", "x")])
def test_sizes_and_counts_that_measure_nothing_are_usage_errors(flags: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        allreduce.main(flags)


def test_an_element_that_arrives_wrong_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def lossy(tensor: torch.Tensor) -> None:
        tensor.mul_(3)  # what two ranks, of which we are the first, sum to
        tensor[5] += 1
        tensor[-1] = torch.nan

    monkeypatch.setattr(torch.distributed, "all_reduce", lossy)
    monkeypatch.setattr(allreduce, "CHUNK", 4)
    world = ranks.World(rank=0, size=2, device=torch.device("cpu"))
    monkeypatch.setattr(ranks, "total", lambda _, values: values)

    assert allreduce._wrong(world, torch.zeros(10)) == 2
