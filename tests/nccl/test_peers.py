"""Who is blamed for what hosts say of themselves and of each other."""

import pytest

from autoexp.nccl.peers import Reports

GONE = "remote process exited or there was a network error"


def failure(host: str, text: str) -> str:
    return f"{host}: Test NCCL failure common.cu:1303 '{text}'\n .. {host} pid 7: Test failure common.cu:1161"


def lost(host: str, peer: str) -> str:
    return failure(host, f"{GONE} / socketProgress: Connection closed by remote peer {peer}<45678>")


def warning(host: str, peer: str) -> str:
    return f"{host}:12:34 [0] misc/socket.cc:50 NCCL WARN socketProgress: Connection closed by remote peer {peer}<4567>"


def suspects(*texts: str) -> tuple[str, ...]:
    reports = Reports()
    for line in "\n".join(texts).splitlines():
        reports.take(line.strip())
    assert reports.is_unclear() is not bool(reports.suspects())
    return reports.suspects()


def test_one_host_that_lost_a_peer_blames_neither_itself_nor_the_peer() -> None:
    assert suspects(lost("n1", "n2")) == ()
    assert suspects(warning("n1", "n2")) == ()
    assert suspects(failure("n1", GONE)) == ()


def test_a_silent_host_that_two_have_lost_is_to_blame() -> None:
    assert suspects(lost("n1", "n2"), lost("n3", "n2.cluster.example.org")) == ("n2",)
    assert suspects(warning("n1", "10.0.0.2"), warning("n3", "10.0.0.2")) == ("10.0.0.2",)


def test_the_only_host_there_is_has_failed_itself() -> None:
    reports = Reports()
    reports.take(failure("n1", GONE).partition("\n")[0])

    assert (reports.suspects(hosts=1), reports.is_unclear(hosts=1)) == (("n1",), False)
    assert reports.suspects(hosts=2) == ()


def test_one_host_s_many_processes_are_one_witness() -> None:
    assert suspects(*[lost("n1", "n2")] * 8, warning("n1", "n2")) == ()


def test_the_neighbours_of_neighbours_lost_hosts_that_were_well() -> None:
    assert suspects(lost("n1", "n2"), lost("n3", "n2"), lost("n4", "n3"), lost("n5", "n1")) == ("n2",)


def test_where_all_have_lost_somebody_nobody_is_to_blame() -> None:
    assert suspects(lost("n1", "n2"), lost("n2", "n1")) == ()
    assert suspects(*(failure(f"n{number}", GONE) for number in range(4))) == ()


def test_where_several_are_silent_the_launcher_may_have_ended_some() -> None:
    assert suspects(lost("n1", "n2"), lost("n3", "n2"), lost("n4", "n5"), lost("n6", "n5")) == ()


def test_the_gpu_that_failed_is_to_blame_whatever_the_others_lost() -> None:
    assert suspects(lost("n1", "n2"), lost("n3", "n1"), failure("n2", "unhandled cuda error")) == ("n2",)
    assert suspects(lost("n1", "n9"), "n1: Test CUDA failure common.cu:892 'uncorrectable ECC error'") == ("n1",)
    assert suspects("n1: Test HIP failure common.cu:892 'hipErrorNoDevice'") == ("n1",)


@pytest.mark.parametrize("text", ["internal error - please report", "unhandled system error (run with NCCL_DEBUG)"])
def test_an_error_that_may_come_from_a_peer_is_blamed_on_its_host_only_if_another_one_lost_it(text: str) -> None:
    assert suspects(failure("n1", text)) == ()
    assert suspects(failure("n1", text), failure("n2", text)) == ()
    assert suspects(failure("n1", text), lost("n2", "n1")) == ("n1",)
    assert suspects(warning("n1", "n2"), failure("n1", text), lost("n2", "n1")) == ()


def test_a_host_that_lost_a_thread_of_its_own_has_lost_nobody() -> None:
    assert suspects(warning("n1", "n1.cluster.example.org"), failure("n1", "internal error"), lost("n2", "n1")) == (
        "n1",
    )


@pytest.mark.parametrize(
    "text",
    [
        "Net : Call to recv from n2<58355> failed : Connection reset by peer",
        "socketStartConnect: Connect to n2<37123> failed : Connection refused",
        "NET/IB : Got completion from peer n2<49189> with error 12, opcode 0, len 0, vendor err 129",
    ],
)
def test_every_way_in_which_nccl_names_a_peer_is_known(text: str) -> None:
    assert suspects(failure("n1", f"unhandled system error / {text}"), f"n3:1:2 [5] NCCL WARN {text}") == ("n2",)


def test_a_trace_and_a_failure_of_nobody_tell_nothing() -> None:
    reports = Reports()
    for line in (".. n1 pid 7: Test failure common.cu:1161", "Test NCCL failure a:1 'x'", "n1:1:2 [0] NCCL INFO x"):
        reports.take(line)

    assert (reports.suspects(), reports.is_unclear()) == ((), False)
