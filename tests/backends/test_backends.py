import pytest

from autoexp import backends
from autoexp.errors import AutoexpError


def test_a_backend_is_found_by_its_file_s_name() -> None:
    assert backends.known() == ["command", "megatron"]
    assert all(backends.find(name).finished for name in backends.known())


@pytest.mark.parametrize("name", ["torchtitan", "", "../megatron", "__init__"])
def test_an_unknown_backend_lists_those_there_are_and_the_file_to_add(name: str) -> None:
    with pytest.raises(AutoexpError) as caught:
        backends.find(name)

    assert caught.value.what == f"unknown backend {name!r}"
    assert "command, megatron" in caught.value.why
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
