"""What a training was told, divided into what is read here, what must be at its plain value, and what changes no model.

Rule 1: an option that changes what a model computes, and is neither read nor plain, stops the conversion.
Rule 2: so does one that no Megatron-LM has, 0.8 to 0.20, if it is set at all: nobody here knows what it does.
Rule 3: what is read has to be the same in every rank, and so has whatever may change the model.
Rule 4: a person who knows that an option changes nothing can say so, by its name.
"""

import reprlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from autoexp.conversion.source import Source, refused
from autoexp.errors import AutoexpError
from autoexp.flags.megatron import FLAGS, VERSIONS

_PLAIN: dict[str, tuple[object, ...]] = {
    "mtp_num_layers": (None, 0),
    "multi_latent_attention": (False, None),
    "attention_output_gate": (False, None),
    "experimental_attention_variant": (None,),
    "linear_attention_freq": (None,),
    "is_hybrid_model": (False, None),
    "heterogeneous_layers_config_path": (None,),
    "heterogeneous_layers_config_encoded_json": (None,),
    "apply_residual_connection_post_layernorm": (False, None),
    "softmax_type": ("vanilla", None),
    "rope_type": ("rope", None),
    "rotary_interleaved": (False, None),
    "qk_l2_norm": (False, None),
    "no_rope_freq": (None,),
    "mrope_section": (None,),
    "window_attn_skip_freq": (None,),
    "squared_relu": (False, None),
    "quick_geglu": (False, None),
    "xielu": (False, None),
    "glu_linear_offset": (0.0, None),
    "activation_func_clamp_value": (None,),
    "moe_layer_freq": (1, None),
    "moe_shared_expert_intermediate_size": (None, 0),
    "moe_router_score_function": ("softmax", None),
    "moe_router_topk_scaling_factor": (None,),
    "moe_router_num_groups": (None,),
    "moe_router_pre_softmax": (False, None),
    "moe_router_enable_expert_bias": (False, None),
    "moe_latent_size": (None,),
    "moe_apply_probs_on_input": (False, None),
    "moe_router_load_balancing_type": ("aux_loss", "seq_aux_loss", "global_aux_loss", "none", None),
    "moe_expert_capacity_factor": (None, -1),  # tokens beyond it are dropped in inference too
    "moe_mlp_glu_interleave_size": (None,),
    "use_mup": (False, None),
    "spec": (None,),
    "hybrid_layer_pattern": (None,),
    "hybrid_override_pattern": (None,),
    "hybrid_attention_ratio": (0.0, None),
    "hybrid_mlp_ratio": (0.0, None),
    "enable_gpt_oss": (False, None),
    "enable_mhc_connections": (False, None),
    "enable_hyper_connections": (False, None),
    "retro_add_retriever": (False, None),
    "export_qk_l2_norm": (False, None),
    "export_moe_apply_probs_on_input": (False, None),
    "export_num_eagle_layers": (0, None),
    "export_num_medusa_heads": (0, None),
    "export_num_mtp": (0, None),
    "moe_router_force_load_balancing": (False, None),
    "moe_router_force_biased": (None,),
    "moe_router_topk_limited_devices": (None,),
    "moe_expert_rank_capacity_factor": (None, -1),
    "moe_shared_expert_gate": (False, None),
    "moe_token_dropping": (False, None),
}
"""Options that change what a model computes, and the values at which they do not.

Some may be a list, of one for each layer or of several at once.
"""

_READ = frozenset(
    """
add_bias_linear add_qkv_bias apply_layernorm_1p bias_gelu_fusion expert_model_parallel_size expert_tensor_parallel_size
ffn_hidden_size group_query_attention hidden_size kv_channels layernorm_epsilon layernorm_zero_centered_gamma
make_vocab_size_divisible_by max_position_embeddings moe_ffn_hidden_size moe_router_topk norm_epsilon normalization
num_attention_heads num_experts num_layers num_query_groups openai_gelu padded_vocab_size pipeline_model_parallel_size
position_embedding_type qk_layernorm rope_scaling_factor rotary_base rotary_percent rotary_seq_len_interpolation_factor
swiglu tensor_model_parallel_size untie_embeddings_and_output_weights use_legacy_models use_rope_scaling
use_rotary_position_embeddings use_te_activation_func use_transformer_engine_op_fuser window_size
""".split()  # noqa: SIM905 - a line for each would be a page
)
"""What the conversion goes by."""
_SET = frozenset(
    """
DDP_impl _is_global_batch_size_explicitly_specified _latest_batch_num_sequences _sequences_this_iteration_on_rank
add_position_embedding allow_transformer_engine
ammo_convert_te_to_local_spec ammo_load_classic_megatron_to_mcore ammo_quant_cfg apply_rope_fusion barrier_with_L1_time
bert_binary_head ckpt_fully_parallel_save_deprecated consumed_train_bins consumed_train_samples consumed_valid_samples
cpu_offloading cuda_graph_scope_deprecated curr_iteration data_impl data_parallel_size deprecated_use_mcore_models
disable_msc_deprecated dist_ckpt_format_deprecated do_test do_train do_valid embedding_weights_in_fp32
enable_gloo_process_groups enable_one_logger expert_gtp_weight_remat_size fp4 fp4_param fp8 fp8_e4m3 fp8_hybrid
grpo_samples_per_iteration gtp_weight_remat_size inference_dynamic_batching_enable_prefix_caching iteration
log_learning_rate_to_tensorboard logit_dtype metadata_path microbatch_group_size_per_vp_stage mmap_warmup model_type
muon_split_qkv nccl_ub no_contiguous_buffers_in_local_ddp no_query_key_layer_scaling
num_floating_point_operations_so_far offset_sampling_seed_by_dp_rank one_logger_entity overlap_p2p_comm
overlap_p2p_comm_warmup_flush params_dtype perform_initialization rank retro_bert_tokenizer_type retro_bert_vocab_file
retro_block_size retro_chunk_length retro_neighbor_dirs retro_return_doc_ids retro_split_preprocessing
retro_verify_neighbor_count retro_workdir rl_enforce_generation_order skipped_train_samples special_tokens to_test
torch_fsdp2_reshard_after_forward transformer_pipeline_model_parallel_size use_contiguous_buffers_in_local_ddp
use_dist_ckpt_deprecated use_gloo_process_groups use_layer_wise_distributed_optimizer use_mamba_mem_eff_path
variable_seq_lengths virtual_pipeline_model_parallel_size world_size
""".split()  # noqa: SIM905 - likewise
)
"""What Megatron-LM keeps under another name than its flag's, or sets itself (megatron/training/arguments.py)."""
_OF_OUR_TRAINER = frozenset(
    """
checkpoint_version cpu_offload metrics peak_tflops prefetch save_extra_steps shard_group_size sharding_strategy
""".split()  # noqa: SIM905 - likewise
)
_MOST_NAMED = 12


def check(args: Mapping[str, Any], differing: Mapping[str, str]) -> None:
    """Make sure that nothing is set that changes the model in a way not known here, in any rank.

    Raises:
        AutoexpError: something is; it is named.
    """
    for name, plain in _PLAIN.items():
        if not _is_plain(args.get(name, plain[0]), plain):
            what, why = f"{name} is {reprlib.repr(args[name])}", f"only {plain[0]!r} is converted"
            raise refused(what, why, f"convert it with another tool; if it changes nothing here: --ignore-arg {name}")
    unknown = sorted(name for name, value in args.items() if not _is_known(name) and _is_set(value))
    if unknown:
        said = ", ".join(f"{name} is {reprlib.repr(args[name])}" for name in unknown[:_MOST_NAMED])
        more = f", and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
        raise refused(
            f"{said}{more}",
            f"no Megatron-LM of {VERSIONS} has such options, and they may change the model",
            f"convert it with the fork's own tool; if they change nothing: --ignore-arg {' '.join(unknown)}",
        )
    for name, there in differing.items():
        if name in _READ or name in _PLAIN or not _is_known(name):
            what = f"{name} is {reprlib.repr(args.get(name))} in the first rank, and {there}"
            raise refused(what, "the ranks hold parts of different models", "take a save whose ranks agree")


def ignoring(source: Source, names: Collection[str]) -> Source:
    """Leave out the options that a person says change nothing.

    Raises:
        AutoexpError: the conversion goes by one of them.
    """
    if read := sorted(_READ.intersection(names)):
        why = "the conversion goes by it"
        raise AutoexpError(f"--ignore-arg {read[0]} is not possible", why=why, fix="leave it out")
    args = {name: value for name, value in source.args.items() if name not in names}
    differing = {name: value for name, value in source.differing.items() if name not in names}
    return replace(source, args=args, differing=differing)


def _is_plain(value: object, plain: tuple[object, ...]) -> bool:
    if isinstance(value, list | tuple) and value:
        return all(each in plain for each in value)
    return value in plain


_KNOWN = frozenset(_PLAIN) | _READ | _SET | _OF_OUR_TRAINER


def _is_known(name: str) -> bool:
    flag = name.replace("_", "-")
    return not FLAGS.isdisjoint((flag, f"no-{flag}", f"disable-{flag}")) or name in _KNOWN


def _is_set(value: object) -> bool:
    """Tell a value from what stands for none: None, False, 0, and what is empty."""
    return bool(value)
