import pytest

from autoexp.backends import Launch, command
from autoexp.errors import AutoexpError
from autoexp.logs import LogFacts, Seen


def test_a_program_starts_with_its_args_as_flags() -> None:
    assert command.argv({"lr": 0.1, "fast": True}, Launch(python="py", program="./train")) == (
        *("./train", "--lr", "0.1", "--fast"),
    )


def test_without_a_program_there_is_nothing_to_start() -> None:
    with pytest.raises(AutoexpError) as caught:
        command.argv({}, Launch(python="py"))

    assert caught.value.fix == "add params: {program: PATH}, or write the stage with command: instead"


def test_a_program_we_know_nothing_of_says_nothing_and_its_exit_code_is_trusted() -> None:
    assert command.read(LogFacts(iteration=3), " iteration 5/9 | lm loss: 1.0 |") == LogFacts(iteration=3)
    assert command.finished({}, Seen()).holds
