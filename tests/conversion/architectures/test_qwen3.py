from collections.abc import Callable

from autoexp.conversion import architectures
from autoexp.conversion.architectures import qwen3
from autoexp.conversion.traits import Traits


def test_a_model_of_this_kind_is_known_and_another_is_not(traits_of_kind: Callable[[str], Traits]) -> None:
    chosen = architectures.choose(traits_of_kind("qwen3"))

    assert chosen.name == "qwen3"
    assert qwen3.config(traits_of_kind("qwen3"))["architectures"] == ["Qwen3ForCausalLM"]
    assert "norms queries and keys" in str(qwen3.misfit(traits_of_kind("llama")))


def test_its_own_width_of_heads_is_told(traits_of_kind: Callable[[str], Traits]) -> None:
    said = qwen3.config(traits_of_kind("qwen3"))

    assert {"head_dim": 12, "rms_norm_eps": 1e-6, "attention_bias": False}.items() <= dict(said).items()
