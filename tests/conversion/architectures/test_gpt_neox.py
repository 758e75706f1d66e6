from collections.abc import Callable
from dataclasses import replace

from autoexp.conversion import architectures
from autoexp.conversion.architectures import gpt_neox
from autoexp.conversion.traits import Traits


def test_a_model_of_this_kind_is_known_and_another_is_not(traits_of_kind: Callable[[str], Traits]) -> None:
    chosen = architectures.choose(traits_of_kind("gpt_neox"))

    assert chosen.name == "gpt_neox"
    assert gpt_neox.config(traits_of_kind("gpt_neox"))["architectures"] == ["GPTNeoXForCausalLM"]
    assert "rotary positions" in str(gpt_neox.misfit(traits_of_kind("gpt2")))


def test_one_layer_comes_after_the_other(traits_of_kind: Callable[[str], Traits]) -> None:
    said = gpt_neox.config(traits_of_kind("gpt_neox"))

    assert {"use_parallel_residual": False, "rotary_pct": 0.5, "hidden_act": "gelu_new"}.items() <= dict(said).items()


def test_it_looks_back_over_no_window(traits_of_kind: Callable[[str], Traits]) -> None:
    windowed = replace(traits_of_kind("gpt_neox"), window=128)

    assert gpt_neox.misfit(windowed) == "it has no window; the checkpoint has a window"
