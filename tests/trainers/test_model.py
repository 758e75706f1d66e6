from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from autoexp import scaling
from autoexp.scaling import Shape
from autoexp.trainers.model import GPT

SHAPE = Shape(
    num_layers=2,
    hidden_size=48,
    ffn_hidden_size=80,
    num_attention_heads=6,
    num_query_groups=2,
    kv_channels=16,  # not hidden size / heads
    padded_vocab_size=256,
    tied=False,
)


def gpt(shape: Shape, *, base: float = 1e4, std: float = 0.3) -> GPT:
    model = GPT(shape, positions=32, rotary_base=base, epsilon=1e-5)
    model.initialise(seed=7, std=std)  # wide, so that a wrong head or norm shows in the logits
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.uniform_(0.5, 1.5)
    return model


def llama(model: GPT, shape: Shape, base: float) -> LlamaForCausalLM:
    """The same model in HF's words, written from Megatron's layout and not from ours."""
    config = LlamaConfig(
        vocab_size=shape.padded_vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.ffn_hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_query_groups,
        head_dim=shape.kv_channels,
        max_position_embeddings=32,
        rms_norm_eps=1e-5,
        rope_theta=base,
        tie_word_embeddings=shape.tied,
        attention_bias=False,
        mlp_bias=False,
    )
    other = LlamaForCausalLM(config).eval()
    other.load_state_dict(converted(model.state_dict(), shape))
    return other


def converted(held: dict[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    out = {
        "model.embed_tokens.weight": held["embedding.word_embeddings.weight"],
        "model.norm.weight": held["decoder.final_layernorm.weight"],
        "lm_head.weight": held["embedding.word_embeddings.weight" if shape.tied else "output_layer.weight"],
    }
    groups, width, hidden = shape.num_query_groups, shape.kv_channels, shape.hidden_size
    for number in range(shape.num_layers):
        layer, theirs = f"decoder.layers.{number}.", f"model.layers.{number}."
        fused = held[layer + "self_attention.linear_qkv.weight"].view(groups, -1, width, hidden)
        gate, up = held[layer + "mlp.linear_fc1.weight"].chunk(2)
        out |= {
            theirs + "self_attn.q_proj.weight": fused[:, :-2].reshape(-1, hidden),
            theirs + "self_attn.k_proj.weight": fused[:, -2].reshape(-1, hidden),
            theirs + "self_attn.v_proj.weight": fused[:, -1].reshape(-1, hidden),
            theirs + "self_attn.o_proj.weight": held[layer + "self_attention.linear_proj.weight"],
            theirs + "mlp.gate_proj.weight": gate,
            theirs + "mlp.up_proj.weight": up,
            theirs + "mlp.down_proj.weight": held[layer + "mlp.linear_fc2.weight"],
            theirs + "input_layernorm.weight": held[layer + "input_layernorm.weight"],
            theirs + "post_attention_layernorm.weight": held[layer + "pre_mlp_layernorm.weight"],
        }
    return out


@pytest.mark.parametrize("base", [1e4, 5e5], ids="base{:g}".format)
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("groups", [1, 2, 6], ids="groups{}".format)
def test_the_logits_are_those_of_llama_in_transformers(groups: int, tied: bool, base: float) -> None:  # noqa: FBT001
    shape = replace(SHAPE, num_query_groups=groups, tied=tied)
    model = gpt(shape, base=base)
    tokens = torch.randint(256, (3, 32), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = model(tokens), llama(model, shape, base)(tokens).logits
    assert ours.std() > 1
    assert (ours - theirs).abs().max() < 1e-5 * ours.abs().max()


def test_the_state_dict_has_the_names_and_the_order_of_a_real_megatron_checkpoint() -> None:
    layer = [
        "input_layernorm.weight",
        "self_attention.linear_proj.weight",
        "self_attention.linear_proj._extra_state",
        "self_attention.linear_qkv.weight",
        "self_attention.linear_qkv._extra_state",
        "pre_mlp_layernorm.weight",
        "mlp.linear_fc1.weight",
        "mlp.linear_fc1._extra_state",
        "mlp.linear_fc2.weight",
        "mlp.linear_fc2._extra_state",
    ]
    assert list(gpt(SHAPE).state_dict()) == [
        "embedding.word_embeddings.weight",
        *(f"decoder.layers.{number}.{name}" for number in (0, 1) for name in layer),
        "decoder.final_layernorm.weight",
        "output_layer.weight",
        "output_layer._extra_state",
    ]


def test_a_state_dict_can_be_loaded_back() -> None:
    one, two = gpt(SHAPE), GPT(SHAPE, positions=32, rotary_base=1e4, epsilon=1e-5)
    two.load_state_dict(one.state_dict())
    tokens = torch.arange(32)[None]
    assert torch.equal(one(tokens), two(tokens))


def test_no_position_sees_a_later_one() -> None:
    model, tokens = gpt(SHAPE), torch.arange(32)[None]
    changed = tokens.clone()
    changed[0, 20:] = 99
    before, after = model(tokens), model(changed)
    assert torch.equal(before[0, :20], after[0, :20])
    assert not torch.equal(before[0, 20], after[0, 20])


def test_the_same_seed_draws_the_same_weights_and_another_draws_others() -> None:
    one, two, other = (GPT(SHAPE, positions=8, rotary_base=1e4, epsilon=1e-5) for _ in range(3))
    for model, seed in ((one, 1), (two, 1), (other, 2)):
        model.initialise(seed, 0.02)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(one.output_layer.weight, other.output_layer.weight)  # type: ignore[union-attr]


def test_what_writes_to_the_residual_stream_starts_narrower() -> None:
    model = GPT(replace(SHAPE, hidden_size=256), positions=8, rotary_base=1e4, epsilon=1e-5)
    model.initialise(1, 0.02)
    spread = {name: float(weight.detach().std()) for name, weight in model.named_parameters()}
    assert spread["decoder.layers.0.mlp.linear_fc1.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["decoder.layers.0.mlp.linear_fc2.weight"] == pytest.approx(0.01, rel=0.05)
    assert spread["decoder.layers.1.self_attention.linear_proj.weight"] == pytest.approx(0.01, rel=0.05)


@settings(max_examples=30)
@given(
    st.builds(
        Shape,
        num_layers=st.integers(1, 3),
        hidden_size=st.integers(1, 40),
        ffn_hidden_size=st.integers(1, 40),
        num_attention_heads=st.sampled_from([4, 8]),
        num_query_groups=st.sampled_from([1, 2, 4]),
        kv_channels=st.sampled_from([2, 6, 16]),
        padded_vocab_size=st.integers(1, 300),
        tied=st.booleans(),
    )
)
def test_the_model_has_as_many_parameters_as_its_shape_says(shape: Shape) -> None:
    model = GPT(shape, positions=4, rotary_base=1e4, epsilon=1e-5)
    assert sum(weight.numel() for weight in model.parameters()) == scaling.parameters(shape)
