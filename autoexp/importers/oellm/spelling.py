"""How Megatron-LM's settings are spelled as flags, where their names do not say so. Facts of its arguments.py. Pure."""

from autoexp.flags.megatron import FLAGS

ODD = {
    "override_opt_param_scheduler": "override-opt_param-scheduler",
    "use_checkpoint_opt_param_scheduler": "use-checkpoint-opt_param-scheduler",
    "fp4": "fp4-format",
    "fp4_param": "fp4-param-gather",
    "fp8": "fp8-format",
    "inference_max_batch_size": "inference-max-requests",
    "microbatch_group_size_per_vp_stage": "microbatch-group-size-per-virtual-pipeline-stage",
    "nccl_ub": "use-nccl-ub",
    "overlap_p2p_comm_warmup_flush": "overlap-p2p-communication-warmup-flush",
}
OF_TENSOR_PARALLELISM = ("bulk_dgrad", "bulk_wgrad", "overlap_ag", "overlap_rs", "split_ag", "split_rs")
ODDLY_OFF = {
    "add_bias_linear": "disable-bias-linear",
    "add_position_embedding": "no-position-embedding",
    "apply_rope_fusion": "no-rope-fusion",
    "barrier_with_L1_time": "no-barrier-with-level-1-timing",
    "bert_binary_head": "bert-no-binary-head",
    "ckpt_fully_parallel_save": "no-ckpt-fully-parallel-save",
    "enable_gloo_process_groups": "disable-gloo-process-groups",
    "enable_msc": "disable-msc",
    "enable_one_logger": "no-one-logger",
    "log_learning_rate_to_tensorboard": "no-log-learnig-rate-to-tensorboard",
    "overlap_p2p_comm": "no-overlap-p2p-communication",
    "perform_initialization": "no-initialization",
    "retro_verify_neighbor_count": "retro-no-verify-neighbor-count",
    **{f"tp_comm_{what}": f"disable-tp-comm-{what.replace('_', '-')}" for what in OF_TENSOR_PARALLELISM},
    "torch_fsdp2_reshard_after_forward": "torch-fsdp2-no-reshard-after-forward",
}


def flag_of(name: str) -> str:
    """Spell the flag that gives a setting its value, without dashes before it."""
    return ODD.get(name, name.replace("_", "-"))


def off_of(name: str) -> str | None:
    """Spell the flag that switches off what is taken for granted; None where only another flag switches it on."""
    plain = name.replace("_", "-")
    known = (f"{word}-{plain}" for word in ("no", "disable") if plain not in FLAGS)
    return ODDLY_OFF.get(name) or next((flag for flag in known if flag in FLAGS), None)


def false_of(name: str) -> str | None:
    """Spell the flag that says that a setting is false; None where leaving its flag out says so."""
    plain = f"no-{name.replace('_', '-')}"
    return off_of(name) or (plain if plain in FLAGS else None)
