from collections.abc import Callable

from autoexp.conversion import architectures
from autoexp.conversion.architectures import mistral
from autoexp.conversion.traits import Traits


def test_a_model_of_this_kind_is_known_and_another_is_not(traits_of_kind: Callable[[str], Traits]) -> None:
    chosen = architectures.choose(traits_of_kind("mistral"))

    assert chosen.name == "mistral"
    assert mistral.config(traits_of_kind("mistral"))["architectures"] == ["MistralForCausalLM"]
    assert "no biases" in str(mistral.misfit(traits_of_kind("llama biased")))


def test_the_window_is_told(traits_of_kind: Callable[[str], Traits]) -> None:
    said = mistral.config(traits_of_kind("mistral"))

    assert {"sliding_window": 7}.items() <= dict(said).items()
