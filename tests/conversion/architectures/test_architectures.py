from collections.abc import Callable

import pytest

from autoexp.conversion import architectures
from autoexp.conversion.traits import Traits
from autoexp.errors import AutoexpError


def test_of_several_that_fit_the_first_is_taken_and_the_others_are_named(
    traits_of_kind: Callable[[str], Traits],
) -> None:
    chosen = architectures.choose(traits_of_kind("llama"))

    assert (chosen.name, chosen.why) == ("llama", "the first of those that fit; mistral would do too (--arch)")
    assert architectures.choose(traits_of_kind("llama"), "mistral").name == "mistral"


def test_one_that_does_not_fit_is_refused_with_the_reason(traits_of_kind: Callable[[str], Traits]) -> None:
    with pytest.raises(AutoexpError, match="the checkpoint is no gpt2"):
        architectures.choose(traits_of_kind("llama"), "gpt2")


def test_an_unknown_one_is_refused_with_the_list() -> None:
    with pytest.raises(AutoexpError, match="there are llama, mistral, mixtral, qwen2, qwen3, opensci, gpt2, gpt_neox"):
        architectures.find("bert")


def test_refusals_of_near_relatives_name_what_tells_them_apart(traits_of_kind: Callable[[str], Traits]) -> None:
    for asked, kind, why in (
        ("gpt2", "gpt_neox", "gpt2: it has learned positions; the checkpoint has rotary positions"),
        ("gpt_neox", "gpt2", "gpt_neox: it has rotary positions; the checkpoint has learned positions"),
    ):
        with pytest.raises(AutoexpError) as told:
            architectures.choose(traits_of_kind(kind), asked)
        assert told.value.why == why
