from collections.abc import Callable

from autoexp.conversion import architectures
from autoexp.conversion.architectures import mixtral
from autoexp.conversion.traits import Traits


def test_a_model_of_this_kind_is_known_and_another_is_not(traits_of_kind: Callable[[str], Traits]) -> None:
    chosen = architectures.choose(traits_of_kind("mixtral"))

    assert chosen.name == "mixtral"
    assert mixtral.config(traits_of_kind("mixtral"))["architectures"] == ["MixtralForCausalLM"]
    assert "it has experts" in str(mixtral.misfit(traits_of_kind("llama")))


def test_its_experts_are_told(traits_of_kind: Callable[[str], Traits]) -> None:
    said = mixtral.config(traits_of_kind("mixtral"))

    assert {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}.items() <= dict(said).items()
