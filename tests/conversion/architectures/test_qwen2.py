from collections.abc import Callable

from autoexp.conversion import architectures
from autoexp.conversion.architectures import qwen2
from autoexp.conversion.traits import Traits


def test_a_model_of_this_kind_is_known_and_another_is_not(traits_of_kind: Callable[[str], Traits]) -> None:
    chosen = architectures.choose(traits_of_kind("qwen2"))

    assert chosen.name == "qwen2"
    assert qwen2.config(traits_of_kind("qwen2"))["architectures"] == ["Qwen2ForCausalLM"]
    assert "biases of queries" in str(qwen2.misfit(traits_of_kind("llama")))


def test_no_window_is_used(traits_of_kind: Callable[[str], Traits]) -> None:
    said = qwen2.config(traits_of_kind("qwen2"))

    assert {"use_sliding_window": False, "tie_word_embeddings": True}.items() <= dict(said).items()
