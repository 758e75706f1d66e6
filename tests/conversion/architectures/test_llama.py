from collections.abc import Callable
from dataclasses import replace

from autoexp.conversion import architectures
from autoexp.conversion.architectures import llama
from autoexp.conversion.traits import Traits


def test_a_model_of_this_kind_is_known_and_another_is_not(traits_of_kind: Callable[[str], Traits]) -> None:
    chosen = architectures.choose(traits_of_kind("llama"))

    assert chosen.name == "llama"
    assert llama.config(traits_of_kind("llama"))["architectures"] == ["LlamaForCausalLM"]
    assert "no norm of queries and keys" in str(llama.misfit(traits_of_kind("qwen3")))


def test_biases_are_told(traits_of_kind: Callable[[str], Traits]) -> None:
    said = llama.config(traits_of_kind("llama biased"))

    assert {"attention_bias": True, "mlp_bias": True, "model_type": "llama"}.items() <= dict(said).items()


def test_a_width_that_transformers_refuses_for_a_llama_makes_a_mistral(traits_of_kind: Callable[[str], Traits]) -> None:
    odd = replace(traits_of_kind("llama"), heads=5, groups=5, head=6)

    assert architectures.choose(odd).name == "mistral"
    assert "a multiple" in str(llama.misfit(odd))
