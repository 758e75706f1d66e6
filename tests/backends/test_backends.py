"""What every backend keeps to, whatever stands in its log."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import backends
from autoexp.backends import Launch
from autoexp.errors import AutoexpError
from autoexp.logs import LogFacts, Seen, complete_lines

LINES = (
    " iteration 10/100 | elapsed time per iteration (ms): 9.5 | learning rate: 1.0E-03 | lm loss: 2.5E+00 |",
    "successfully saved checkpoint from iteration 20 to /ck",
    "[after training is done] datetime: 2026-03-01",
    " 33%|███▎      | 25/75 [00:50<01:40,  2.00s/it]",
    "{'loss': 2.5692, 'grad_norm': 3.15, 'learning_rate': 4.33e-05, 'epoch': 0.4}",
    "{'train_runtime': 125.2, 'train_samples_per_second': 11.9, 'train_loss': 0.7, 'epoch': 2.93}",
    "***** Running training *****  Total optimization steps = 75",
    "Saving model checkpoint to out/checkpoint-50",
    "[titan] 2026-03-01 10:00:00,123 - root - INFO - \x1b[31mstep: 30  \x1b[32mloss:  9.10000  \x1b[34mtps: 7,311",
    "[titan] - INFO - Trainer is initialized with total steps 30 (warmup 10)",
    "[titan] - INFO - Saving a full checkpoint at last step, step 30.",
    "[titan] - INFO - Last step checkpoint completed in 12.61s",
    "Training completed",
    "2025-09-25T16:41:03 | step: 5 | train samples/s: 4.3 | lr mean: tensor(6.0e-07) | train loss avg: 2.5 | ",
    '{"dataloader_tag":"train","num_train_steps_done":5,"losses":{"train loss avg":11.6}}',
    "main - INFO - Saving distributed model checkpoint to eid_1-seen_steps_20-seen_tokens_9-target_steps_40-target...",
    "main - INFO - Distributed checkpoint saved.",
    "Training done at 2025-09-25 16:41:03",
    "Training epoch 0, iteration 9/249 | lr: 1e-06 | global_step: 9 | reduced_train_loss: 1.663",
    "`Trainer.fit` stopped: `max_steps=250` reached.",
    "Successfully saved checkpoint from iteration      49 to /ck/step=49.ckpt",
    " Job finished",
)
PREFIXES = st.sampled_from(["", "0: ", "[rank3]:", "[default0]:", "[1,0]<stdout>:", "n-17: [rank3]: ", "\x1b[32m"])


def damaged(line: str) -> st.SearchStrategy[str]:
    """Cut a line, prefix it, or put something into it."""
    place = st.integers(0, len(line))
    cut = place.map(lambda end: line[:end])
    put = st.tuples(place, st.text(max_size=8)).map(lambda said: line[: said[0]] + said[1] + line[said[0] :])
    return st.tuples(PREFIXES, st.one_of(st.just(line), cut, put)).map("".join)


LOGS = st.lists(st.one_of(st.sampled_from(LINES).flatmap(damaged), st.text(max_size=60)), max_size=12)
BACKENDS = st.sampled_from(backends.known())


def read(name: str, lines: list[str]) -> LogFacts:
    facts = LogFacts()
    for line in lines:
        facts = backends.find(name).read(facts, line)
    return facts


def test_a_backend_is_found_by_its_file_s_name() -> None:
    assert backends.known() == ["command", "huggingface", "megatron", "modalities", "nemo", "torchtitan"]
    assert all(backends.find(name).finished for name in backends.known())


@pytest.mark.parametrize("name", ["nanotron", "", "../megatron", "__init__"])
def test_an_unknown_backend_lists_those_there_are_and_the_file_to_add(name: str) -> None:
    with pytest.raises(AutoexpError) as caught:
        backends.find(name)

    assert caught.value.what == f"unknown backend {name!r}"
    assert "command, huggingface, megatron, modalities, nemo, torchtitan" in caught.value.why
    assert caught.value.fix == f"correct the name, or add autoexp/backends/{name}.py"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, ["--x"]),
        (False, []),
        (None, []),
        (3, ["--x", "3"]),
        (0, ["--x", "0"]),
        (1e-05, ["--x", "1e-05"]),
        ("", ["--x", ""]),
        ("a b", ["--x", "a b"]),
        ([1, "b"], ["--x", "1", "b"]),
        ((1, 2), ["--x", "1", "2"]),
    ],
)
def test_a_flag_is_spelled_by_its_value(value: object, words: list[str]) -> None:
    assert list(backends.flags({"x": value})) == words


@given(BACKENDS, LOGS)
def test_no_line_stops_a_backend_and_no_iteration_is_made_up(name: str, lines: list[str]) -> None:
    facts = read(name, lines)

    said = {int(number) for line in lines for number in re.findall(r"\d+", line) if len(number) < 30}
    told = {facts.iteration, facts.train_iters, facts.loaded, facts.saving, *facts.saves} - {None}
    one_less = {number - 1 for number in said}  # NeMo's last of 250 steps is 249
    assert told <= said | one_less
    assert facts.loss is None or abs(facts.loss) < float("inf")
    assert isinstance(backends.find(name).finished({}, Seen(log=facts)).reason, str)


@given(BACKENDS, st.binary(max_size=400))
def test_bytes_of_any_kind_are_read(name: str, data: bytes) -> None:
    lines, _ = complete_lines(data + b"\n")

    assert read(name, [line.decode(errors="replace") for line in lines]).reports >= 0


@given(BACKENDS, LOGS, st.integers(1, 50), st.sampled_from(["\n", "\r", "\r\n"]))
def test_how_a_log_arrives_changes_nothing(name: str, lines: list[str], size: int, end: str) -> None:
    data = "".join(line.replace("\r", " ").replace("\n", " ") + end for line in lines).encode(errors="replace") + b"x\n"
    whole, facts, rest = complete_lines(data)[0], LogFacts(), b""
    for start in range(0, len(data), size):
        rest += data[start : start + size]
        taken, used = complete_lines(rest)
        rest = rest[used:]
        for line in taken:
            facts = backends.find(name).read(facts, line.decode(errors="replace"))

    assert facts == read(name, [line.decode(errors="replace") for line in whole])


@pytest.mark.parametrize("name", [name for name in backends.known() if name != "command"])
def test_an_empty_log_proves_nothing(name: str) -> None:
    verdict = backends.find(name).finished({}, Seen())

    assert not verdict.holds
    assert "how far it had to train" in verdict.reason


@pytest.mark.parametrize("name", ["huggingface", "torchtitan", "modalities", "nemo"])
def test_a_training_that_came_to_its_end_and_lacks_something_is_not_finished(name: str) -> None:
    whole = LogFacts(iteration=30, train_iters=30, done=True)

    def verdict(log: LogFacts) -> tuple[bool, str]:
        said = backends.find(name).finished({}, Seen(log=log))
        return said.holds, said.reason

    assert verdict(whole) == (True, "trained to iteration 30")
    assert verdict(replace(whole, iteration=None, loaded=30)) == (True, "trained to iteration 30")
    assert verdict(replace(whole, iteration=29)) == (False, "exit code 0, but its log ends at iteration 29 of 30")
    assert verdict(replace(whole, diverged=True)) == (False, "exit code 0, but the loss is not a number")
    assert verdict(replace(whole, saving=30)) == (False, "exit code 0, but the save at iteration 30 is not finished")
    assert verdict(replace(whole, cut_short="no data")) == (False, "exit code 0, but its log says: no data")


def test_a_container_stands_before_the_launcher() -> None:
    launch = Launch(python="python3", processes=2, program="train.py", inside=("apptainer", "exec", "i.sif"))

    for name in ("huggingface", "torchtitan", "modalities", "nemo"):
        assert backends.find(name).argv({}, launch)[:6] == (*launch.inside, "python3", "-m", "torch.distributed.run")
