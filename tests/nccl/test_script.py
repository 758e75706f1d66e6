from typing import Any

import pytest

from autoexp import nccl
from autoexp.nccl import Asked, Code

TABLE = """\
32KiB: 20
Environment:
- software: torch=2.7.0, cuda=12.8, nccl=(2, 26, 2)

The average bandwidth of all_reduce over 4 ranks (5 warmups / 20 trials):

| payload |    busbw   |    algbw   |
| ------: | ---------: | ---------: |
|   32KiB |   1.18GBps |   0.79GBps |
|  512MiB | 345.78GBps | 230.52GBps |
|   16GiB | 366.99GBps | 244.66GBps |
Legend: 1KiB = 2**10 Bytes, 1MiB = 2**20 Bytes, 1GiB = 2**30 Bytes
Elapsed time: 0:00:47
"""
SINGLE = """\
The average bandwidth of all_reduce with a 4.0GB payload (50 trials, 16 ranks):
 algbw: 239.742 GBps (1917.9 Gbps)
 busbw: 449.515 GBps (3596.1 Gbps)

"""


def judge(text: str, **asked: Any) -> nccl.Verdict:
    return nccl.judge(nccl.read(text), Asked(**{"threshold_gbps": 300.0, **asked}))


@pytest.mark.parametrize("label", ["", "[default0]:", "[node-1:0]:", "0: "])
def test_the_table_is_judged_at_its_largest_payload(label: str) -> None:
    verdict = judge("\n".join(label + line for line in TABLE.splitlines()), ranks=4)

    assert (verdict.code, verdict.busbw_gbps, verdict.ranks) == (Code.PASS, 366.99, 4)


def test_a_single_payload_is_judged_in_bytes_and_not_in_bits() -> None:
    assert judge(SINGLE, ranks=16).busbw_gbps == 449.515
    assert judge(SINGLE, threshold_gbps=1000.0).code is Code.SLOW


def test_a_table_quoted_alone_is_an_excerpt_whose_ranks_the_ratio_shows() -> None:
    text = TABLE.partition("trials):\n")[2].replace("iB |", "B |")

    assert judge(text).code is Code.UNREADABLE
    assert judge(text, excerpt=True).ranks == 4
    assert judge(text, excerpt=True).code is Code.PASS


def test_columns_of_newer_versions_do_not_matter() -> None:
    text = "\n".join(
        f"{line} latency median |    p99    | calls |" if "busbw  " in line else f"{line} 1.50us | 2.00us | 10 |"
        for line in TABLE.splitlines()
        if line.startswith("| ") and "--" not in line
    )

    assert judge(f"The average bandwidth and the per-call latency of all_reduce over 4 ranks (x):\n{text}").ranks == 4
    assert judge(text, excerpt=True).busbw_gbps == 366.99


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TABLE.partition("| payload")[0], id="no rows"),
        pytest.param(TABLE.partition("244.66")[0], id="a row cut"),
        pytest.param(TABLE.replace("366.99GBps", "   nanGBps"), id="nan"),
        pytest.param(TABLE.replace("366.99GBps", "   infGBps"), id="inf"),
        pytest.param(TABLE.replace("16GiB", "16Gi"), id="no size"),
        pytest.param(TABLE.replace("366.99GBps", "366.99Gbps"), id="bits"),
        pytest.param(TABLE.replace("366.99GBps", "366.99    "), id="no unit"),
        pytest.param(SINGLE.partition(" busbw")[0], id="one line of two"),
        pytest.param(SINGLE.replace("449.515", "nan"), id="a nan of two"),
    ],
)
def test_what_is_torn_or_no_number_is_unreadable(text: str) -> None:
    assert judge(text).code is Code.UNREADABLE


def test_other_ranks_than_asked_for_and_hosts_that_nobody_lists_fail() -> None:
    assert judge(TABLE, ranks=8).code is Code.TOPOLOGY
    assert judge(SINGLE, ranks=8).code is Code.TOPOLOGY
    assert judge(TABLE, ranks=4, hosts=1).code is Code.UNREADABLE


def test_bandwidths_that_do_not_fit_the_ranks_are_of_a_part_of_them() -> None:
    assert judge(TABLE.replace("over 4 ranks", "over 8 ranks")).code is Code.TOPOLOGY
