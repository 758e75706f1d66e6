from pathlib import Path

import pytest

from autoexp import gates, nccl
from autoexp.machine import Network
from autoexp.nccl import Asked, Code

ROW = "  1073741824  268435456  float  sum  -1  10000.0  200.00  375.00  0  10100.0  199.00  373.12  0\n"
LOG = (
    "# nThread 1 nGpus 1 minBytes 1073741824 maxBytes 1073741824 step: 2(factor) warmup iters: 5\n"
    + "".join(f"#  Rank {rank:2d} Group  0 Pid 1 on n{rank // 8} device 0 [0x07] GPU\n" for rank in range(16))
    + ROW
    + "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 374.06\n"
)
H100 = Network(node="h100", link="ndr400")


def judge(network: Network, text: str = LOG, **asked: float) -> nccl.Verdict:
    return gates.judge(text, network, Asked(**{"threshold_gbps": 0.0, **asked}))  # type: ignore[arg-type]


def test_the_threshold_is_what_the_network_asks_of_the_ranks_and_hosts_listed() -> None:
    assert (judge(H100).code, judge(H100).threshold_gbps) == (Code.PASS, 337.5)
    assert judge(Network(node="b200", link="ndr400")).code is Code.SLOW


def test_a_threshold_that_is_given_wins() -> None:
    assert judge(H100, threshold_gbps=400.0).code is Code.SLOW


def test_a_network_that_does_not_tell_fails_and_says_what_to_do() -> None:
    verdict = judge(Network(node="h100"))

    assert (verdict.code, verdict.busbw_gbps) == (Code.UNREADABLE, 373.12)
    assert "give --threshold" in verdict.cause


def test_what_is_wrong_with_the_output_itself_comes_first() -> None:
    assert "torn" in judge(Network(node="h100"), LOG.partition("# Out")[0]).cause
    assert judge(Network(node="h100"), "").cause.startswith("no table")


def test_files_that_cannot_be_read_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log").write_bytes(LOG.encode() + b"\xff\xfe")
    asked = Asked(threshold_gbps=100.0)

    assert gates.judge_file(tmp_path / "log", Network(), asked).code is Code.PASS
    assert gates.judge_file(tmp_path, Network(), asked).cause.endswith("is no file")
    assert gates.judge_file(tmp_path / "absent", Network(), asked).cause.endswith("is not there")
    monkeypatch.setattr(gates, "LARGEST_LOG_BYTES", 10)
    assert "is larger than" in gates.judge_file(tmp_path / "log", Network(), asked).cause
