import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autoexp.logs import LONGEST_LINE_BYTES, MOST_SAVES, LogFacts, complete_lines, may_tell, symptom
from autoexp.model import EndingClass


@pytest.mark.parametrize(
    ("data", "lines", "used"),
    [
        pytest.param(b"", [], 0, id="nothing"),
        pytest.param(b"a", [], 0, id="half a line"),
        pytest.param(b"a\nb", [b"a"], 2, id="a line and a half"),
        pytest.param(b"a\r\nb\r\n", [b"a", b"b"], 6, id="two ends in one"),
        pytest.param(b"a\rb\rc\n", [b"a", b"b", b"c"], 6, id="a progress bar"),
        pytest.param(b"a\r", [], 0, id="an end that may go on"),
        pytest.param(b"a\nb\r", [b"a"], 2, id="a line and an end that may go on"),
        pytest.param(b"\n\n", [b"", b""], 2, id="blank lines"),
        pytest.param(b"\xff\xfe\n", [b"\xff\xfe"], 3, id="no text at all"),
    ],
)
def test_only_complete_lines_are_taken(data: bytes, lines: list[bytes], used: int) -> None:
    assert complete_lines(data) == (lines, used)


def test_a_line_without_end_is_cut_at_the_longest() -> None:
    data = b"x" * (LONGEST_LINE_BYTES + 1)

    assert complete_lines(data) == ([data], len(data))
    assert complete_lines(data[:-1]) == ([], 0)


LOGS = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\r\n", b"\xc3\xa9", b" "]), max_size=20).map(b"".join)


@given(LOGS, st.lists(st.integers(1, 7), min_size=1))
@example(b"a\r\nb\n", [2])
def test_however_a_log_grows_its_lines_are_the_same(log: bytes, steps: list[int]) -> None:
    offset, lines, size = 0, [], 0
    while size < len(log):
        size += steps[size % len(steps)]
        taken, used = complete_lines(log[offset:size])
        lines += taken
        offset += used

    assert (lines, offset) == complete_lines(log)
    settled = re.match(rb"(?s)(.*[\r\n])?", log.removesuffix(b"\r"))
    assert settled
    assert lines == settled[0].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", EndingClass.GPU_OOM),
        ("[rank3]: torch.cuda.OutOfMemoryError: CUDA out of memory.", EndingClass.GPU_OOM),
        ("torch.OutOfMemoryError: HIP out of memory. Tried to allocate 1.00 GiB", EndingClass.GPU_OOM),
        ("RuntimeError: CUDA error: out of memory", EndingClass.GPU_OOM),
        ("/usr/bin/python3.11: No module named megatron", EndingClass.CONFIG),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", EndingClass.GPU_OOM),
        (
            "jax.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.",
            EndingClass.GPU_OOM,
        ),
        ("MemoryError: host allocation failed", EndingClass.HOST_OOM),
        (
            "slurmstepd: error: *** JOB 7 ON n1 UNCORRECTABLE MEMORY ERROR AT 2026-03-01T10:00:00 ***",
            EndingClass.NODE_FAIL,
        ),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0", EndingClass.HOST_OOM),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.", EndingClass.HOST_OOM),
        ("srun: error: n1: task 0: Out Of Memory", EndingClass.HOST_OOM),
        ("slurmstepd: error: StepId=7.batch exceeded memory limit (4363 > 1048), being killed", EndingClass.HOST_OOM),
        ("slurmstepd: error: Exceeded job memory limit", EndingClass.HOST_OOM),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-03-01T10:00:00 ***", EndingClass.CANCELLED),
        ("FATAL:   could not open image /x.sif: failed to retrieve path for /x.sif: lstat /x.sif", EndingClass.LAUNCH),
        ("OSError: [Errno 12] Cannot allocate memory", EndingClass.HOST_OOM),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried", EndingClass.HOST_OOM),
        (
            "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-03-01T10:00:00 DUE TO TIME LIMIT ***",
            EndingClass.TIME_LIMIT,
        ),
        ("slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-03-01 DUE TO PREEMPTION ***", EndingClass.PREEMPTED),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-03-01 DUE TO JOB REQUEUE ***", EndingClass.PREEMPTED),
        (
            "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026 DUE TO NODE FAILURE, SEE SLURMCTLD LOG ***",
            EndingClass.NODE_FAIL,
        ),
        ("srun: error: Node failure on n1", EndingClass.NODE_FAIL),
        ("[rank0]:[E ProcessGroupNCCL.cpp:616] Watchdog caught collective operation timeout", EndingClass.NETWORK),
        ("torch.distributed.DistBackendError: NCCL error in: x.cpp:1, unhandled system error", EndingClass.NETWORK),
        ("RuntimeError: [1] ... Connection reset by peer", EndingClass.NETWORK),
        ("  exitcode  : -9 (pid: 4711)", EndingClass.CRASHED),
        ("  traceback : Signal 9 (SIGKILL) received by PID 4711", EndingClass.CRASHED),
        ("srun: error: n1: task 3: Killed", EndingClass.CRASHED),
        ("srun: error: n[1-2]: tasks 0-15,28-31: Killed", EndingClass.CRASHED),
        ("pretrain_gpt.py: error: unrecognized arguments: --nope", EndingClass.CONFIG),
        ("train.py: error: argument --lr: invalid float value: 'x'", EndingClass.CONFIG),
        ("train.py: error: the following arguments are required: --lr", EndingClass.CONFIG),
        ("ModuleNotFoundError: No module named 'megatron'", EndingClass.CONFIG),
        ("RuntimeError: The server socket has failed to listen: Address already in use", EndingClass.LAUNCH),
        ("srun: error: Unable to create step for job 7: Invalid", EndingClass.LAUNCH),
    ],
)
def test_an_error_line_points_at_a_class_of_ending(line: str, kind: EndingClass) -> None:
    assert symptom(line) is kind
    assert may_tell(line.encode())


@pytest.mark.parametrize(
    "line",
    [
        "",
        " iteration 100/3052 | lm loss: 6.5E+00 |",
        "NCCL INFO Bootstrap : Using eth0",
        "NCCL version 2.21.5+cuda12.4",
        "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-03-01T10:00:00 ***",
        "WARNING: memory usage 90 %",
        "Traceback (most recent call last):",
        "node7:1:1 [0] NCCL WARN Call to bind failed: Address already in use",
        "WARNING: No module named 'transformer_engine', falling back to torch",
        "[rank: 0] Received SIGTERM: 15",
        "srun: error: wrap_on_data: [scanner.example:13610] on_data returned rc: Incompatible versions",
        "torch.distributed.elastic: Unable to shutdown process 7 via SIGTERM, forcefully exiting via SIGKILL",
        "exitcode: -15 (pid: 7)",
        "UserWarning: error_if_nonfinite is False",
        "args.log_oom_warnings=False",
    ],
)
def test_an_ordinary_line_points_at_nothing(line: str) -> None:
    assert symptom(line) is None


def test_saves_without_end_are_remembered_only_so_far_back() -> None:
    facts = LogFacts()
    for number in range(5 * MOST_SAVES):
        facts = LogFacts(saves=facts.with_save(number))

    assert facts.saves == tuple(range(4 * MOST_SAVES, 5 * MOST_SAVES))
