"""What a piece of a log adds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import backends
from autoexp.logs import BEGINS_AGAIN, LogFacts, complete_lines
from autoexp.skim import skim, take

MEGATRON = backends.find("megatron")
REPORT = " iteration {0:8d}/     900 | learning rate: 3.0E-0{0} | lm loss: {1} | number of nan iterations: {2:3d} |"
PIECES = [
    REPORT.format(1, "2.5E+00", 0),
    REPORT.format(2, "2.25E+00", 0),
    REPORT.format(3, "nan", 0),
    " iteration        4/     900 | number of skipped iterations:   1 | number of nan iterations:   0 |",
    "ä" + REPORT.format(5, "1", 0).strip(),
    REPORT.format(6, "1", 0) + " [after training is done]",
    "  successfully saved checkpoint from iteration 2 to x",
    "saving checkpoint at iteration       5 to x",
    " loading checkpoint from x at iteration 7",
    "WARNING: could not find the metadata file, will not load any checkpoints and will start from random",
    "[after training is done] datetime: 2026-11-20 10:00:00",
    "torch.OutOfMemoryError: CUDA out of memory.",
    "[rank1] Watchdog caught collective operation timeout",
    "slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-20T10:00:00 DUE TO TIME LIMIT ***",
    "srun: error: Node failure on n1",
    "slurmstepd: error: Detected 1 oom_kill event",
    BEGINS_AGAIN,
    " 40%|####      | 4/10 [00:04<00:06,  1.0it/s]",
    "{'loss': 2.5, 'learning_rate': 1e-05, 'epoch': 0.1}",
    "{'train_runtime': 5.0, 'train_loss': 2.0}",
    "\x1b[31m[titan] step:  3  loss:  7.25  memory:  1.0GiB\x1b[0m",
    "Training completed",
    "x | step: 3 | train loss avg: 2.5 | lr mean: tensor(6.0030e-07)",
    "Training epoch 0, iteration 3/9 | lr: 0.1 | reduced_train_loss: 2.5 | global_step: 3",
    "[gpu_memory_log - GPU 0] Peak = 100 MiB",
    "some other line",
    "x" * 8190 + " iteration",
    "",
]
LOGS = st.lists(
    st.tuples(st.sampled_from(PIECES), st.integers(1, 4), st.sampled_from(["\n", "\r\n", "\r"])), max_size=9
)


@given(LOGS, st.sampled_from(backends.known()))
def test_what_a_piece_says_is_what_its_lines_say_one_by_one(pieces: list[tuple[str, int, str]], name: str) -> None:
    data = "".join((line + end) * times for line, times, end in pieces).encode() + b"\n"
    backend, facts = backends.find(name), LogFacts()
    for line in complete_lines(data)[0]:
        facts = take(facts, line[:8192].decode(), backend)

    assert replace(skim(data, LogFacts(), backend), last_line="") == facts


@pytest.mark.parametrize("name", backends.known())
@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_a_line_without_any_of_a_backends_words_tells_it_nothing(name: str, line: str) -> None:
    backend = backends.find(name)
    known = LogFacts(iteration=3, train_iters=9, reports=2, saving=3)

    assert any(word in line for word in backend.HINTS) or backend.read(known, line) == known


def test_of_many_reports_only_the_first_and_the_last_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read, lines = MEGATRON.read, set[str]()

    def counting(facts: LogFacts, line: str) -> LogFacts:
        lines.add(line)
        return read(facts, line)

    monkeypatch.setattr(MEGATRON, "read", counting)
    data = "".join(REPORT.format(number, 2.5, 0) + "\n" for number in range(1, 9)).encode()

    facts = skim(data, LogFacts(), MEGATRON)

    assert (facts.reports, facts.iteration, facts.first_iteration, facts.first_lr) == (8, 8, 1, 0.3)
    assert len(lines) == 2
