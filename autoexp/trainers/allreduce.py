"""Measures all-reduce with torch.distributed, over NCCL on GPUs and Gloo on CPUs, and prints the table of nccl-tests.

It stands in where all_reduce_perf is not installed, with the very library training will use:

    torchrun --standalone --nproc-per-node 4 -m autoexp.trainers.allreduce

The reduction is in place, as torch's is, so the columns for out-of-place say N/A. A time is the slowest rank's. Results
are checked, on every rank. Format: https://github.com/NVIDIA/nccl-tests, src/util.cu.
"""

import argparse
import os
import socket
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from autoexp.trainers import ranks
from autoexp.trainers.ranks import World

MIB, GIB = 1 << 20, 1 << 30
PATTERN = 7
"""Element i of rank r holds (r + 1) * (i % PATTERN + 1): small integers, whose sums are exact in any order."""
CHUNK = 1 << 24
"""Elements checked at a time, so that checking needs little memory."""
HEADING = """\
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)"""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every size, and print on rank 0.

    Raises:
        SystemExit: this is a single process, which has nobody to talk to.
    """
    args = _parser(torch.cuda.is_available()).parse_args(argv)
    if ranks.processes() < 2:  # noqa: PLR2004 - one is none
        raise SystemExit("allreduce: a single process has nobody to talk to; start it with torchrun")
    world = ranks.join()
    sizes = list(_sizes(args.begin, args.end, args.factor))
    _say(world, *_header(args, sizes), *_devices(world), HEADING)
    busbw, wrong_sizes = [], 0
    for size in sizes:
        tensor = torch.zeros(size // 4, device=world.device)
        time_s, wrong = _time_s(world, tensor, args.warmup, args.iterations), _wrong(world, tensor)
        algbw = size / time_s / 1e9
        busbw.append(algbw * 2 * (world.size - 1) / world.size)
        wrong_sizes += wrong > 0
        _say(world, _row(size, time_s * 1e6, algbw, busbw[-1], wrong))
    _say(world, f"# Out of bounds values : {wrong_sizes} {'FAILED' if wrong_sizes else 'OK'}")
    _say(world, f"# Avg bus bandwidth    : {sum(busbw) / len(busbw):g} ", "#")
    ranks.leave(world)


def _parser(on_gpu: bool) -> argparse.ArgumentParser:  # noqa: FBT001 - the one thing it depends on
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("-b", dest="begin", type=_size, default=GIB if on_gpu else MIB, help="bytes of the smallest size")
    add("-e", dest="end", type=_size, default=8 * GIB if on_gpu else 16 * MIB, help="bytes of the largest size")
    add("-f", dest="factor", type=int, choices=range(2, 65), metavar="N", default=2, help="from one size to the next")
    add("-n", dest="iterations", type=int, choices=range(1, 1001), metavar="N", default=20, help="measured runs")
    add("-w", dest="warmup", type=int, choices=range(1001), metavar="N", default=5, help="runs before them")
    return parser


def _size(text: str) -> int:
    size = int(text)
    if size < 4 or size % 4:  # noqa: PLR2004 - the bytes of a float
        raise argparse.ArgumentTypeError(f"{size} bytes are no whole number of floats: give a multiple of 4")
    return size


def _sizes(size: int, last: int, factor: int) -> Iterator[int]:
    """List the sizes in bytes; the first is measured whatever the last is."""
    yield size
    while size * factor <= last:
        size *= factor
        yield size


def _say(world: World, *lines: str) -> None:
    if world.rank == 0:
        print(*lines, sep="\n", flush=True)


def _header(args: argparse.Namespace, sizes: Sequence[int]) -> Iterator[str]:
    yield f"# autoexp.trainers.allreduce, torch {torch.__version__}, {torch.distributed.get_backend()}"
    yield (
        f"# nThread 1 nGpus 1 minBytes {sizes[0]} maxBytes {sizes[-1]} step: {args.factor}(factor) "
        f"warmup iters: {args.warmup} iters: {args.iterations} agg iters: 1 validation: 1 graph: 0"
    )
    yield "#"


def _devices(world: World) -> Iterator[str]:
    """List all ranks; every rank must call this."""
    on_gpu = world.device.type == "cuda"
    name = torch.cuda.get_device_name(world.device) if on_gpu else "CPU"
    mine = f"Pid {os.getpid():6d} on {socket.gethostname():>10} device {world.device.index or 0:2d} [0x00] {name}"
    lines: list[str] = [""] * world.size
    torch.distributed.all_gather_object(lines, mine)
    return iter(["# Using devices", *(f"#  Rank {rank:2d} Group  0 {line}" for rank, line in enumerate(lines))])


def _time_s(world: World, tensor: Tensor, warmup: int, iterations: int) -> float:
    """Return the seconds of one all-reduce, on the slowest rank. Zeros stay zeros however often they are summed."""
    for _ in range(warmup):
        torch.distributed.all_reduce(tensor)
    _finish(world)
    torch.distributed.barrier()
    began = time.perf_counter()
    for _ in range(iterations):
        torch.distributed.all_reduce(tensor)
    _finish(world)
    slowest = torch.tensor((time.perf_counter() - began) / iterations, dtype=torch.float64, device=world.device)
    torch.distributed.all_reduce(slowest, torch.distributed.ReduceOp.MAX)
    return slowest.item()


def _finish(world: World) -> None:
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)


def _wrong(world: World, tensor: Tensor) -> int:
    """Sum a known pattern once more; return how many elements are wrong on all ranks together."""
    for part in _parts(tensor):
        part.copy_(_pattern(part)).mul_(world.rank + 1)
    torch.distributed.all_reduce(tensor)
    total = world.size * (world.size + 1) // 2
    wrong = sum(int(torch.count_nonzero(part - _pattern(part) * total)) for part in _parts(tensor))
    return int(ranks.total(world, [wrong])[0])


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    return (tensor[begin : begin + CHUNK] for begin in range(0, tensor.numel(), CHUNK))


def _pattern(part: Tensor) -> Tensor:
    return torch.arange(part.numel(), device=part.device).remainder_(PATTERN).add_(1).to(part.dtype)


def _row(size: int, time_us: float, algbw: float, busbw: float, wrong: int) -> str:
    start = f"{size:12d}  {size // 4:12d}     float     sum      -1"
    return f"{start}      N/A     N/A     N/A    N/A  {time_us:7.1f}  {algbw:6.2f}  {busbw:6.2f}  {wrong:5d}"


if __name__ == "__main__":
    main()
