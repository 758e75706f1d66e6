from collections.abc import Callable

from autoexp.conversion import architectures
from autoexp.conversion.architectures import opensci
from autoexp.conversion.traits import Traits


def test_a_model_of_this_kind_is_known_and_another_is_not(traits_of_kind: Callable[[str], Traits]) -> None:
    chosen = architectures.choose(traits_of_kind("opensci"))

    assert chosen.name == "opensci"
    assert opensci.config(traits_of_kind("opensci"))["architectures"] == ["OpensciForCausalLM"]
    assert "biases everywhere" in str(opensci.misfit(traits_of_kind("qwen3")))


def test_which_modelling_file_it_needs_is_told(traits_of_kind: Callable[[str], Traits]) -> None:
    said = opensci.config(traits_of_kind("opensci"))

    assert {"qk_layernorm": True, "num_key_value_heads": 4, "auto_map": opensci.MODELLING}.items() <= dict(said).items()
