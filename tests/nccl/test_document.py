import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import nccl
from autoexp.nccl import Asked, Code

GIB = 1 << 30
HALF = {"time": 1.0, "alg_bw": 60.0, "bus_bw": 90.0, "nwrong": 0.0}
CONFIG: dict[str, Any] = {
    "nthreads": 1,
    "ngpus": 1,
    "minimum_bytes": GIB,
    "maximum_bytes": 2 * GIB,
    "step_factor": 2,
    "devices": [{"rank": rank, "group": 0, "hostname": f"n{rank % 2}"} for rank in range(4)],
}


def document(**changes: Any) -> str:
    value = {
        "version": 3,
        "env": ["WANDB_API_KEY=secret"],
        "config": CONFIG,
        "results": [
            {"size": size, "root": "    -1", "out_of_place": HALF, "in_place": {**HALF, "nwrong": None}}
            for size in (GIB, 2 * GIB)
        ],
        "out_of_bounds": {"count": 0, "okay": "true"},
        "average_bus_bandwidth": {"bandwidth": 90.0, "okay": "unchecked"},
        "errors": [""],
    }
    return json.dumps(value | changes)


def judge(text: str, **asked: Any) -> nccl.Verdict:
    return nccl.judge(nccl.read(text), Asked(**{"threshold_gbps": 80.0, **asked}))


def test_the_json_that_the_tool_writes_is_judged_as_its_table_is() -> None:
    verdict = judge(document(), ranks=4, hosts=2)

    assert (verdict.code, verdict.busbw_gbps, verdict.ranks) == (Code.PASS, 90.0, 4)
    assert judge("\ufeff\n" + document().replace(",", ",\r\n")).code is Code.PASS


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"average_bus_bandwidth": {"bandwidth": 50.0}}, Code.UNREADABLE, id="rows lost"),
        pytest.param({"average_bus_bandwidth": {"bandwidth": "nan"}}, Code.UNREADABLE, id="nan is a string"),
        pytest.param({"average_bus_bandwidth": {"bandwidth": 90.0, "okay": "false"}}, Code.SLOW, id="own minimum"),
        pytest.param({"out_of_bounds": {"count": 2, "okay": "false"}}, Code.WRONG_DATA, id="out of bounds"),
        pytest.param({"out_of_bounds": {"count": 0, "okay": "false"}}, Code.WRONG_DATA, id="false is a string"),
        pytest.param({"errors": ["unhandled cuda error"]}, Code.UNREADABLE, id="an error"),
        pytest.param({"errors": [None]}, Code.PASS, id="no error"),
        pytest.param({"results": []}, Code.UNREADABLE, id="no results"),
        pytest.param({"results": None}, Code.UNREADABLE, id="results are null"),
        pytest.param({"version": 4}, Code.UNREADABLE, id="a version we do not know"),
        pytest.param({"version": "3"}, Code.UNREADABLE, id="a version that is text"),
        pytest.param({"config": {**CONFIG, "maximum_bytes": 8 * GIB}}, Code.UNREADABLE, id="sizes are missing"),
        pytest.param({"config": {**CONFIG, "ngpus": 10**15}}, Code.UNREADABLE, id="no such computer"),
    ],
)
def test_what_the_json_holds_decides(changes: dict[str, Any], expected: Code) -> None:
    assert judge(document(**changes)).code is expected


@pytest.mark.parametrize("key", ["config", "results", "out_of_bounds", "average_bus_bandwidth", "version"])
def test_a_document_that_lacks_a_part_is_unreadable(key: str) -> None:
    value = json.loads(document())
    del value[key]

    assert judge(json.dumps(value)).code is Code.UNREADABLE


def half(**changes: Any) -> dict[str, Any]:
    return {"results": [{"size": size, "out_of_place": {**HALF, **changes}} for size in (GIB, 2 * GIB)]}


def test_wrong_elements_are_wrong_data_and_unchecked_ones_are_none() -> None:
    assert judge(document(**half(nwrong=3.0))).code is Code.WRONG_DATA
    assert judge(document(**half(nwrong="nan"))).code is Code.WRONG_DATA
    assert judge(document(**half(nwrong="N/A"))).code is Code.PASS


def test_a_result_that_stands_there_twice_is_a_contradiction() -> None:
    results = json.loads(document())["results"]

    assert judge(document(results=[*results, results[-1]])).code is Code.UNREADABLE
    assert judge(document(results=results[-1:] * 2)).code is Code.UNREADABLE


def test_a_document_cut_or_with_a_bare_infinity_is_unreadable() -> None:
    assert judge(document()[:-1]).code is Code.UNREADABLE
    assert judge(document().replace("90.0", "inf", 1)).code is Code.UNREADABLE
    assert judge(document().replace("90.0", "Infinity")).code is Code.UNREADABLE
    assert judge(document(**half(bus_bw="inf"))).code is Code.UNREADABLE


def test_of_each_process_only_the_first_gpu_is_listed() -> None:
    devices = [{"rank": 0, "hostname": "n0"}, {"rank": 2, "hostname": "n1"}]

    assert judge(document(config={**CONFIG, "ngpus": 2, "devices": devices}), ranks=4, hosts=2).code is Code.PASS
    assert judge(document(config={**CONFIG, "devices": devices})).code is Code.UNREADABLE


def test_the_environment_with_its_secrets_is_not_repeated() -> None:
    assert "secret" not in json.dumps(judge(document(version=9)).as_json())


@given(share=st.floats(0, 1))
def test_no_cut_document_passes(share: float) -> None:
    text = document()

    assert judge(text[: int(share * (len(text) - 1))]).code is Code.UNREADABLE
