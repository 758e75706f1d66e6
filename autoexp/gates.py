"""Judges a benchmark's output by a machine's network: a kept log, or what was just measured."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from autoexp import fabrics, nccl
from autoexp.machine import Network
from autoexp.nccl.found import Log

LARGEST_LOG_BYTES = 1 << 28
"""NCCL_DEBUG=TRACE writes much; more than this is not read into memory."""


def judge_file(path: Path, network: Network, asked: nccl.Asked) -> nccl.Verdict:
    """Judge an output that was kept; one that cannot be read fails."""
    try:
        if not path.is_file():
            return unreadable(f"{path} is no file" if path.exists() else f"{path} is not there", asked)
        if path.stat().st_size > LARGEST_LOG_BYTES:
            return unreadable(f"{path} is larger than {LARGEST_LOG_BYTES >> 20} MiB: keep the tables only", asked)
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return unreadable(f"{path} cannot be read: {error.strerror}", asked)
    return judge(text, network, asked)


def judge(text: str, network: Network, asked: nccl.Asked) -> nccl.Verdict:
    """Judge an output; a threshold of 0 stands for what the machine's network asks of the ranks and hosts there are."""
    log = nccl.read(text)
    if asked.threshold_gbps:
        return nccl.judge(log, asked)
    threshold = _least(log, network, asked)
    verdict = nccl.judge(log, replace(asked, threshold_gbps=threshold or 0.0))
    if threshold:
        return verdict
    if verdict.code is nccl.Code.PASS:
        ranks, hosts = verdict.ranks or "unknown", asked.hosts or "unknown"
        cause = f"the machine's network: does not tell how fast it must be (ranks: {ranks}, hosts: {hosts})"
        return replace(unreadable(f"{cause}; give --threshold GBPS", asked), busbw_gbps=verdict.busbw_gbps)
    return replace(verdict, threshold_gbps=fabrics.DEFAULT_GBPS)


def unreadable(cause: str, asked: nccl.Asked) -> nccl.Verdict:
    """Fail for want of anything to judge."""
    threshold = asked.threshold_gbps or fabrics.DEFAULT_GBPS
    return nccl.Verdict(code=nccl.Code.UNREADABLE, cause=cause, threshold_gbps=threshold)


def _least(log: Log, network: Network, asked: nccl.Asked) -> float | None:
    ranks = asked.ranks or _most(log.ranks(run) for run in log.runs)
    hosts = asked.hosts or _most(len(log.hosts(run)) for run in log.runs)
    return fabrics.threshold_gbps(network, ranks, hosts)


def _most(counts: Iterable[int | None]) -> int | None:
    return max((count for count in counts if count), default=None)
