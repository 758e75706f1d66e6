import io
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from autoexp.errors import HookRefused

ROOT = Path(__file__).parent.parent.parent
HOOK = ROOT / "hooks" / "megatron_to_hf.py"


@pytest.fixture
def hook(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("megatron_to_hf")


def pretrained(folder: Path) -> Any:
    """Load a folder as a user would, and see that no weight was missing or left over."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # transformers' own, at its import
        from transformers import LlamaForCausalLM  # noqa: PLC0415 - seconds, needed by few tests

    model, info = LlamaForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    return model


SHAPES: list[Any] = [
    pytest.param({}, id="grouped queries, untied"),
    pytest.param({"tied": True}, id="tied"),
    pytest.param({"groups": 4}, id="one key a head, num_query_groups stored as 1"),
    pytest.param({"groups": 1}, id="one key for all"),
    pytest.param({"fused_names": True, "layers": 3}, id="Transformer Engine's names"),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_computes_the_logits_of_the_formulas(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any], shape: dict[str, Any]
) -> None:
    source = megatron(**shape)
    hook.convert(source.save(tmp_path / "checkpoints"), tmp_path / "hf")
    ids = torch.randint(0, 256, (2, 40), generator=torch.Generator().manual_seed(1))

    with torch.no_grad():
        got = pretrained(tmp_path / "hf")(ids).logits

    want = source.logits(ids)
    assert want.abs().max() > 1
    assert (got - want).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_number_keeps_its_bits(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any], dtype: torch.dtype
) -> None:
    source = megatron(dtype=dtype)
    hook.convert(source.save(tmp_path / "checkpoints"), tmp_path / "hf")

    made, weights = load_file(tmp_path / "hf" / "model.safetensors"), source.weights()

    s = source.shape
    mixed = weights["decoder.layers.1.self_attention.linear_qkv.weight"].view(
        s.groups, s.heads // s.groups + 2, s.head_dim, s.hidden
    )
    start = "model.layers.1."
    assert torch.equal(made[start + "self_attn.q_proj.weight"], mixed[:, :-2].reshape(-1, s.hidden))
    assert torch.equal(made[start + "self_attn.k_proj.weight"], mixed[:, -2].reshape(-1, s.hidden))
    assert torch.equal(made[start + "self_attn.v_proj.weight"], mixed[:, -1].reshape(-1, s.hidden))
    gate, up = weights["decoder.layers.1.mlp.linear_fc1.weight"].chunk(2)
    assert torch.equal(made[start + "mlp.gate_proj.weight"], gate)
    assert torch.equal(made[start + "mlp.up_proj.weight"], up)
    assert {tensor.dtype for tensor in made.values()} == {dtype}
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert (config["torch_dtype"], config["dtype"]) == (str(dtype)[6:], str(dtype)[6:])


def test_the_configuration_says_what_the_training_said(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any]
) -> None:
    hook.convert(megatron(tied=True).save(tmp_path / "checkpoints"), tmp_path / "hf")

    config = json.loads((tmp_path / "hf" / "config.json").read_text())

    assert {key: config[key] for key in config if not key.endswith("dtype")} == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "vocab_size": 256,
        "max_position_embeddings": 64,
        "rms_norm_eps": 3e-4,
        "rope_theta": 50000.0,
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    made = pretrained(tmp_path / "hf")
    assert made.config.rope_parameters["rope_theta"] == 50000.0
    assert made.generation_config.eos_token_id is None


def test_the_older_name_of_the_epsilon_is_read_too(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any]
) -> None:
    source = megatron().save(tmp_path / "checkpoints", arguments={"norm_epsilon": 7e-6}, without=("layernorm_epsilon",))
    hook.convert(source, tmp_path / "hf")

    assert json.loads((tmp_path / "hf" / "config.json").read_text())["rms_norm_eps"] == 7e-6


def test_classes_that_only_megatron_has_are_passed_over(
    tmp_path: Path, megatron: Callable[..., Any], foreign_enum: object, environment: dict[str, str]
) -> None:
    extra = {"decoder.layers.0.mlp.linear_fc1._extra_state": io.BytesIO(b"scales")}
    checkpoint = megatron().save(tmp_path / "checkpoints", arguments={"model_type": foreign_enum}, model=extra)
    flags = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "hf")]

    subprocess.run([sys.executable, str(HOOK), *flags], env=environment, check=True)

    assert (tmp_path / "hf" / "model.safetensors").is_file()


# What is refused, by name.

REFUSALS: list[Any] = [
    pytest.param({"arguments": {"tensor_model_parallel_size": 2}}, "mp_rank_01", id="two tensor ranks"),
    pytest.param({"arguments": {"normalization": "LayerNorm"}}, "normalization", id="LayerNorm"),
    pytest.param({"without": ("normalization",)}, "normalization", id="an unsaid norm"),
    pytest.param({"arguments": {"add_bias_linear": True}}, "add_bias_linear", id="biases"),
    pytest.param({"arguments": {"add_qkv_bias": True}}, "add_qkv_bias", id="biases of qkv"),
    pytest.param({"arguments": {"qk_layernorm": True}}, "qk_layernorm", id="norms of queries and keys"),
    pytest.param({"arguments": {"swiglu": False}}, "swiglu", id="no gate"),
    pytest.param({"arguments": {"num_experts": 8}}, "num_experts", id="experts"),
    pytest.param(
        {"arguments": {"position_embedding_type": "learned_absolute"}},
        "position_embedding_type",
        id="positions",
    ),
    pytest.param({"arguments": {"rotary_percent": 0.5}}, "rotary_percent", id="half a rotation"),
    pytest.param({"arguments": {"rotary_interleaved": True}}, "rotary_interleaved", id="another rotation"),
    pytest.param({"arguments": {"use_rope_scaling": True}}, "use_rope_scaling", id="scaled positions"),
    pytest.param({"arguments": {"window_size": (128, 0)}}, "window_size", id="a window"),
    pytest.param({"arguments": {"apply_layernorm_1p": True}}, "apply_layernorm_1p", id="gammas around zero"),
    pytest.param({"arguments": {"norm_epsilon": 1e-9}}, "epsilon", id="two epsilons"),
    pytest.param({"without": ("layernorm_epsilon",)}, "epsilon", id="no epsilon"),
    pytest.param({"arguments": {"padded_vocab_size": 512}}, "padded_vocab_size", id="another vocabulary"),
    pytest.param({"arguments": {"kv_channels": 8}}, "linear_qkv.weight", id="heads of another size"),
    pytest.param({"arguments": {"num_layers": 3}}, "decoder.layers.2.input_layernorm.weight", id="a layer more"),
    pytest.param({"arguments": {"num_layers": 1}}, "decoder.layers.1", id="a layer less"),
    pytest.param({"arguments": {"hidden_size": "32"}}, "hidden_size", id="a size that is no number"),
    pytest.param({"without": ("kv_channels",)}, "kv_channels", id="a size unsaid"),
    pytest.param({"without": ("rotary_base",)}, "rotary_base", id="a base unsaid"),
    pytest.param({"without": ("output_layer.weight",)}, "output_layer.weight", id="a head missing"),
    pytest.param(
        {"arguments": {"untie_embeddings_and_output_weights": False}},
        "output_layer.weight",
        id="a head left over",
    ),
    pytest.param(
        {"model": {"decoder.layers.0.mlp.linear_fc1.bias": torch.zeros(80)}},
        "linear_fc1.bias",
        id="a bias left over",
    ),
    pytest.param(
        {"model": {"decoder.layers.0.self_attention.linear_qkv.layer_norm_weight": torch.ones(32)}},
        "linear_qkv.layer_norm_weight",
        id="the same norm under both names",
    ),
    pytest.param(
        {"model": {"decoder.layers.0.mlp.linear_fc2.weight": torch.zeros(40, 32)}},
        "linear_fc2",
        id="transposed",
    ),
    pytest.param(
        {"model": {"decoder.layers.0.mlp.linear_fc2.weight": torch.zeros(40, 32).T}},
        "linear_fc2",
        id="in columns",
    ),
    pytest.param({"model": {"decoder.final_layernorm.weight": None}}, "final_layernorm", id="nothing there"),
    pytest.param(
        {"model": {"decoder.final_layernorm.weight": torch.zeros(32).to(torch.float8_e4m3fn)}},
        "final_layernorm",
        id="eight bits",
    ),
    pytest.param({"checkpoint_version": 1.0}, "checkpoint_version", id="the old order of rows"),
    pytest.param({"without": ("checkpoint_version",)}, "checkpoint_version", id="no version"),
    pytest.param({"model0": {}, "without": ("model",)}, "chunks", id="a virtual pipeline"),
    pytest.param({"without": ("args",)}, "no args", id="no arguments"),
]


@pytest.mark.parametrize(("change", "name"), REFUSALS)
def test_what_a_llama_does_not_have_is_refused_by_its_name(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any], change: dict[str, Any], name: str
) -> None:
    checkpoint = megatron().save(tmp_path / "checkpoints", **change)

    with pytest.raises(HookRefused) as refusal:
        hook.convert(checkpoint, tmp_path / "hf")

    assert name in f"{refusal.value.what} {refusal.value.why}"
    assert not (tmp_path / "hf").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoints"]


def test_ranks_of_a_pipeline_are_refused(hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any]) -> None:
    checkpoint = megatron().save(tmp_path / "checkpoints", arguments={"pipeline_model_parallel_size": 2})
    shutil.copytree(checkpoint / "mp_rank_00", checkpoint / "mp_rank_00_001")
    (checkpoint / "mp_rank_00").rename(checkpoint / "mp_rank_00_000")

    with pytest.raises(HookRefused, match=r"has no mp_rank_00/model_optim_rng\.pt"):
        hook.convert(checkpoint, tmp_path / "hf")


def test_nothing_in_a_hostile_checkpoint_runs(hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    checkpoint = megatron().save(tmp_path / "checkpoints", arguments={"hidden_size": Trap()}, rng_state=Trap())

    with pytest.raises(HookRefused, match="hidden_size"):
        hook.convert(checkpoint, tmp_path / "hf")

    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_still_being_written_is_refused(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any]
) -> None:
    checkpoint = megatron().save(tmp_path / "checkpoints")
    shard = checkpoint / "mp_rank_00" / "model_optim_rng.pt"
    shard.write_bytes(shard.read_bytes()[:-1])

    with pytest.raises(HookRefused, match="not a whole zip"):
        hook.convert(checkpoint, tmp_path / "hf")


# The plan alone.


@given(
    heads=st.integers(1, 4),
    groups=st.integers(1, 4),
    head=st.integers(1, 5),
    layers=st.integers(1, 3),
    tied=st.booleans(),
)
def test_every_row_of_the_source_is_used_exactly_once(
    heads: int, groups: int, head: int, layers: int, *, tied: bool
) -> None:
    hook = module()
    llama = hook.Llama(
        hidden_size=7,
        intermediate_size=11,
        num_hidden_layers=layers,
        num_attention_heads=heads * groups,
        num_key_value_heads=groups,
        head_dim=head,
        vocab_size=13,
        max_position_embeddings=5,
        rms_norm_eps=1e-5,
        rope_theta=1e4,
        tie_word_embeddings=tied,
    )
    found = {sources[0]: shape for _, sources, shape, _ in hook._rules(llama)}

    used: dict[str, list[int]] = {}
    for cut in hook.plan(llama, found):
        used.setdefault(cut.source, []).extend(row for rows in cut.rows for row in rows)

    assert {source: sorted(rows) for source, rows in used.items()} == {
        source: list(range(shape[0])) for source, shape in found.items()
    }


def module() -> Any:
    sys.path.insert(0, str(HOOK.parent))
    try:
        import megatron_to_hf  # type: ignore[import-not-found]  # noqa: PLC0415
    finally:
        sys.path.remove(str(HOOK.parent))
    return megatron_to_hf


# The output folder.


def test_the_manifest_tells_what_was_made_of_what(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any]
) -> None:
    checkpoint = megatron().save(tmp_path / "checkpoints", 40)
    hook.convert(checkpoint, tmp_path / "hf")

    manifest = json.loads((tmp_path / "hf" / "conversion.json").read_text())

    assert (manifest["source"], manifest["iteration"]) == (str(checkpoint), 40)
    assert manifest["parameters"] == sum(t.numel() for t in load_file(tmp_path / "hf" / "model.safetensors").values())
    files = {entry.name for entry in (tmp_path / "hf").iterdir()} - {"conversion.json"}
    assert files == manifest["outputs"].keys() == {"model.safetensors", "config.json", "generation_config.json"}
    for name, made in manifest["outputs"].items():
        data = (tmp_path / "hf" / name).read_bytes()
        assert made == {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    shard = checkpoint / "mp_rank_00" / "model_optim_rng.pt"
    assert manifest["inputs"]["mp_rank_00/model_optim_rng.pt"]["bytes"] == shard.stat().st_size


def snapshot(folder: Path) -> Mapping[str, tuple[int, int]]:
    return {e.name: (e.stat().st_ino, e.stat().st_mtime_ns) for e in (folder, *folder.iterdir())}


def test_a_finished_output_is_left_alone_even_when_the_checkpoint_is_gone(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any]
) -> None:
    checkpoint = megatron().save(tmp_path / "checkpoints")
    hook.convert(checkpoint, tmp_path / "hf")
    before = snapshot(tmp_path / "hf")

    assert "already" in hook.convert(checkpoint, tmp_path / "hf")
    shutil.rmtree(checkpoint)
    assert "already" in hook.convert(checkpoint, tmp_path / "hf")

    assert snapshot(tmp_path / "hf") == before


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda hf: (hf / "conversion.json").unlink(), id="somebody else's folder"),
        pytest.param(lambda hf: (hf / "conversion.json").write_text("[]"), id="another manifest"),
        pytest.param(lambda hf: os.truncate(hf / "model.safetensors", 99), id="cut weights"),
        pytest.param(lambda hf: (hf / "config.json").unlink(), id="a file missing"),
    ],
)
def test_what_is_no_finished_output_is_never_overwritten(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any], harm: Callable[[Path], object]
) -> None:
    checkpoint = megatron().save(tmp_path / "checkpoints")
    hook.convert(checkpoint, tmp_path / "hf")
    harm(tmp_path / "hf")
    before = snapshot(tmp_path / "hf")

    with pytest.raises(HookRefused, match="in the way"):
        hook.convert(checkpoint, tmp_path / "hf")

    assert snapshot(tmp_path / "hf") == before


def test_the_output_of_another_checkpoint_is_never_taken_for_this_one(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any]
) -> None:
    hook.convert(megatron().save(tmp_path / "checkpoints", 1), tmp_path / "hf")

    with pytest.raises(HookRefused, match="another checkpoint"):
        hook.convert(megatron(seed=1).save(tmp_path / "checkpoints", 2), tmp_path / "hf")


def test_an_empty_output_folder_is_filled(hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any]) -> None:
    (tmp_path / "hf").mkdir()

    hook.convert(megatron().save(tmp_path / "checkpoints"), tmp_path / "hf")

    assert (tmp_path / "hf" / "model.safetensors").is_file()


def test_a_save_over_the_checkpoint_meanwhile_is_noticed(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = megatron().save(tmp_path / "checkpoints")
    write = hook._write_files

    def write_slowly(*args: object) -> object:
        os.utime(checkpoint / "mp_rank_00" / "model_optim_rng.pt")
        return write(*args)

    monkeypatch.setattr(hook, "_write_files", write_slowly)

    with pytest.raises(HookRefused, match="changed while it was read"):
        hook.convert(checkpoint, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def test_a_shard_cut_while_it_is_read_is_noticed(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = megatron().save(tmp_path / "checkpoints")
    plan = hook.plan

    def plan_and_cut(*args: object) -> object:
        os.truncate(checkpoint / hook.SHARD, 50_000)
        return plan(*args)

    monkeypatch.setattr(hook, "plan", plan_and_cut)

    with pytest.raises(HookRefused, match="was cut while it was read"):
        hook.convert(checkpoint, tmp_path / "hf")
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoints"]


KILL = f"""
import os, sys
count = int(sys.argv.pop(1))
def mortal(call):
    def die(*args, **kwargs):
        global count
        count -= 1
        if count == 0: os._exit(9)
        return call(*args, **kwargs)
    return die
sys.path.insert(0, {str(HOOK.parent)!r})
import megatron_to_hf
for name in ("mkdir", "open", "fsync", "rename", "replace", "unlink"):
    setattr(os, name, mortal(getattr(os, name)))
raise SystemExit(megatron_to_hf.main(sys.argv[1:]))
"""


def test_killed_anywhere_it_leaves_no_output_or_a_whole_one_and_the_next_run_finishes(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any], environment: dict[str, str]
) -> None:
    flags = [
        "--checkpoint",
        str(megatron(layers=1).save(tmp_path / "checkpoints")),
        "--output",
        str(tmp_path / "hf"),
    ]
    for count in range(1, 100):
        shutil.rmtree(tmp_path / "hf", ignore_errors=True)
        killed = subprocess.run(
            [sys.executable, "-c", KILL, str(count), *flags],
            env=environment,
            check=False,
            capture_output=True,
        )
        if killed.returncode == 0:
            break
        assert not (tmp_path / "hf").exists() or "already" in hook.convert(Path(flags[1]), tmp_path / "hf")
        assert hook.main(flags) == 0
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoints", "hf"]
    assert count > 8


def test_two_copies_at_once_leave_one_whole_output(
    hook: ModuleType, tmp_path: Path, megatron: Callable[..., Any], environment: dict[str, str]
) -> None:
    flags = ["--checkpoint", str(megatron().save(tmp_path / "checkpoints")), "--output", str(tmp_path / "hf")]
    for _ in range(3):
        shutil.rmtree(tmp_path / "hf", ignore_errors=True)
        copies = [
            subprocess.Popen([sys.executable, str(HOOK), *flags], env=environment, stderr=subprocess.PIPE)
            for _ in range(5)
        ]
        for copy in copies:
            copy.communicate()

        assert 0 in [copy.returncode for copy in copies]
        assert "already" in hook.convert(Path(flags[1]), tmp_path / "hf")
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoints", "hf"]


def test_as_a_job_it_needs_neither_torch_nor_numpy_and_a_refusal_is_three_lines(
    tmp_path: Path, megatron: Callable[..., Any], environment: dict[str, str]
) -> None:
    checkpoint = megatron().save(tmp_path / "checkpoints")
    for name in ("torch", "numpy", "safetensors", "transformers"):
        (tmp_path / "poison" / name).mkdir(parents=True)
        (tmp_path / "poison" / name / "__init__.py").write_text("raise SystemExit('imported')")
    poisoned = {**environment, "PYTHONPATH": f"{tmp_path / 'poison'}:{ROOT}"}

    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(HOOK), "--checkpoint", str(folder), "--output", str(tmp_path / "hf")]
        return subprocess.run(command, env=poisoned, check=False, capture_output=True, text=True)

    refused, done = run(tmp_path / "absent"), run(checkpoint)

    assert refused.returncode == 1
    assert [line.split(":")[0].strip() for line in refused.stderr.splitlines()] == [
        "megatron_to_hf",
        "why",
        "fix",
    ]
    assert (done.returncode, done.stderr) == (0, "")
    assert load_file(tmp_path / "hf" / "model.safetensors")
