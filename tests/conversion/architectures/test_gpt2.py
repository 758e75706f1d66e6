from collections.abc import Callable
from dataclasses import replace

from autoexp.conversion import architectures
from autoexp.conversion.architectures import gpt2
from autoexp.conversion.traits import Traits


def test_a_model_of_this_kind_is_known_and_another_is_not(traits_of_kind: Callable[[str], Traits]) -> None:
    chosen = architectures.choose(traits_of_kind("gpt2"))

    assert chosen.name == "gpt2"
    assert gpt2.config(traits_of_kind("gpt2"))["architectures"] == ["GPT2LMHeadModel"]
    assert "learned positions" in str(gpt2.misfit(traits_of_kind("gpt_neox")))


def test_its_activation_is_told(traits_of_kind: Callable[[str], Traits]) -> None:
    said = gpt2.config(traits_of_kind("gpt2"))

    assert {"activation_function": "gelu", "n_inner": 40, "tie_word_embeddings": True}.items() <= dict(said).items()


def test_it_looks_back_over_no_window(traits_of_kind: Callable[[str], Traits]) -> None:
    windowed = replace(traits_of_kind("gpt2"), window=128)

    assert gpt2.misfit(windowed) == "it has no window; the checkpoint has a window"
