import pytest

from autoexp.conversion.names import canonical, is_of_model, is_weight, split_of


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("embedding.word_embeddings.weight", "embedding.weight"),
        ("module.language_model.embedding.position_embeddings.weight", "positions.weight"),
        ("decoder.final_norm.bias", "final_norm.bias"),
        ("language_model.encoder.final_layernorm.weight", "final_norm.weight"),
        ("decoder.layers.12.input_layernorm.weight", "layers.12.attention_norm.weight"),
        ("decoder.layers.self_attention.linear_qkv.layer_norm_bias", "layers.*.attention_norm.bias"),
        ("language_model.encoder.layers.3.post_attention_norm.weight", "layers.3.mlp_norm.weight"),
        ("transformer.layers.0.attention.query_key_value.bias", "layers.0.attention.qkv.bias"),
        ("encoder.layers.0.self_attention.dense.weight", "layers.0.attention.out.weight"),
        ("decoder.layers.0.self_attention.q_layernorm.weight", "layers.0.attention.q_norm.weight"),
        ("encoder.layers.0.mlp.dense_4h_to_h.bias", "layers.0.mlp.fc2.bias"),
        ("decoder.layers.1.mlp.experts.local_experts.7.linear_fc1.weight", "layers.1.experts.7.fc1.weight"),
        ("decoder.layers.1.mlp.experts.linear_fc2.weight11", "layers.1.experts.11.fc2.weight"),
        ("decoder.layers.mlp.experts.experts.linear_fc1.weight", "layers.*.experts.*.fc1.weight"),
        ("decoder.layers.2.mlp.experts.experts.linear_fc1.weight", "layers.2.experts.*.fc1.weight"),
        ("decoder.layers.mlp.router.weight", "layers.*.router.weight"),
        ("decoder.layers.0.mlp.router.expert_bias", "decoder.layers.0.mlp.router.expert_bias"),
        ("decoder.layers.0.mlp.experts.weight1", "decoder.layers.0.mlp.experts.weight1"),
    ],
)
def test_each_trees_names_become_ours_and_unknown_ones_stay(key: str, name: str) -> None:
    assert canonical(key) == name


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("embedding.weight", "rows"),
        ("layers.0.attention.qkv.bias", "rows"),
        ("layers.0.mlp.fc1.weight", "gated rows"),
        ("layers.0.experts.3.fc1.weight", "gated rows"),
        ("layers.0.attention.out.weight", "columns"),
        ("layers.0.mlp.fc2.weight", "columns"),
        ("layers.0.attention.out.bias", None),
        ("layers.0.mlp.fc2.bias", None),
        ("layers.0.attention.q_norm.weight", None),
        ("positions.weight", None),
    ],
)
def test_ranks_share_what_megatron_splits_and_have_the_rest_whole(name: str, split: str | None) -> None:
    assert split_of(name, gated=True) == split


def test_without_a_gate_the_rows_are_just_shared() -> None:
    assert split_of("layers.0.mlp.fc1.weight", gated=False) == "rows"


@pytest.mark.parametrize(
    "key",
    [
        "optimizer.state.exp_avg.decoder.layers.mlp.linear_fc1.weight",
        "chained_0.optimizer.state.fp32_param.output_layer.weight",
        "rng_state/shard_0.0_1.2",
        "common_state/shard_0_1",
        "rerun_state_machine_state/shard_0_1",
        "decoder.layers.self_attention.linear_qkv._extra_state/shard_0_2",
        "decoder.layers.0.mlp.experts.linear_fc1._extra_state3",
        "decoder.layers.0.self_attention.core_attention._extra_state",
        "language_model.rotary_pos_emb.inv_freq",
    ],
)
def test_what_is_no_weight_is_known(key: str) -> None:
    assert not (is_weight(key) and is_of_model(key))
    for weight in ("decoder.layers.mlp.linear_fc1.weight", "decoder.layers.mlp.pre_extra_state_proj.weight"):
        assert is_weight(weight)
        assert is_of_model(weight)
