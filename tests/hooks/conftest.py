import argparse
import enum
import math
import os
import random
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn import functional

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """What a program started by a test sees."""
    return {
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONWARNINGS": "error",
        "HF_HUB_OFFLINE": "1",
    }


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a tiny Llama, chosen so that no two of them agree by accident."""

    hidden: int = 32
    layers: int = 2
    heads: int = 4
    groups: int = 2
    head_dim: int = 12
    ffn: int = 40
    vocab: int = 256
    rotary_base: int = 50_000
    eps: float = 3e-4
    tied: bool = False
    dtype: torch.dtype = torch.float32
    fused_names: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Megatron:
    """Writes checkpoints as Megatron-LM lays them out, and computes their logits in plain torch."""

    shape: Shape = field(default_factory=Shape)

    def arguments(self) -> dict[str, object]:
        """Return what training would have kept of its command line, as far as it matters here."""
        s = self.shape
        return {
            "tensor_model_parallel_size": 1,
            "pipeline_model_parallel_size": 1,
            "expert_model_parallel_size": 1,
            "num_layers": s.layers,
            "hidden_size": s.hidden,
            "num_attention_heads": s.heads,
            "group_query_attention": s.groups != s.heads,
            "num_query_groups": s.groups if s.groups != s.heads else 1,  # as old checkpoints of MHA store it
            "kv_channels": s.head_dim,
            "ffn_hidden_size": s.ffn,
            "max_position_embeddings": 64,
            "padded_vocab_size": s.vocab,
            "vocab_size": None,
            "layernorm_epsilon": s.eps,
            "normalization": "RMSNorm",
            "swiglu": True,
            "position_embedding_type": "rope",
            "rotary_base": s.rotary_base,
            "rotary_percent": 1.0,
            "add_bias_linear": False,
            "add_qkv_bias": False,
            "untie_embeddings_and_output_weights": not s.tied,
            "use_distributed_optimizer": False,
            "no_save_optim": None,
            "iteration": 0,  # stale in real ones too
        }

    def weights(self) -> dict[str, torch.Tensor | None]:
        """Return the model's entries, random but for the sizes of what they are."""
        s, generator = self.shape, torch.Generator().manual_seed(self.shape.seed)

        def normal(*size: int) -> torch.Tensor:
            return (torch.randn(*size, generator=generator) / math.sqrt(size[-1])).to(s.dtype)

        def norm() -> torch.Tensor:
            return (1 + 0.3 * torch.randn(s.hidden, generator=generator)).to(s.dtype)

        entries: dict[str, torch.Tensor | None] = {"embedding.word_embeddings.weight": normal(s.vocab, s.hidden)}
        for layer in range(s.layers):
            start = f"decoder.layers.{layer}."
            first, second = ("input_layernorm.weight", "pre_mlp_layernorm.weight")
            if s.fused_names:
                first = "self_attention.linear_qkv.layer_norm_weight"
                second = "mlp.linear_fc1.layer_norm_weight"
            entries[start + first] = norm()
            entries[start + "self_attention.linear_proj.weight"] = normal(s.hidden, s.heads * s.head_dim)
            entries[start + "self_attention.linear_proj._extra_state"] = None
            entries[start + "self_attention.linear_qkv.weight"] = normal(
                (s.heads + 2 * s.groups) * s.head_dim, s.hidden
            )
            entries[start + "self_attention.linear_qkv._extra_state"] = torch.empty(0, dtype=torch.uint8)
            entries[start + second] = norm()
            entries[start + "mlp.linear_fc1.weight"] = normal(2 * s.ffn, s.hidden)
            entries[start + "mlp.linear_fc2.weight"] = normal(s.hidden, s.ffn)
        entries["decoder.final_layernorm.weight"] = norm()
        if not s.tied:
            entries["output_layer.weight"] = normal(s.vocab, s.hidden)
        return entries

    def save(
        self,
        root: Path,
        iteration: int = 6,
        *,
        arguments: Mapping[str, object] | None = None,
        model: Mapping[str, object] | None = None,
        without: tuple[str, ...] = (),
        **state: object,
    ) -> Path:
        """Write root/iter_N and its tracker, changed where a test asks for it; return root/iter_N."""
        args = {**self.arguments(), **(arguments or {})}
        content = {
            "args": argparse.Namespace(**{k: v for k, v in args.items() if k not in without}),
            "checkpoint_version": 3.0,
            "iteration": iteration,
            "model": OrderedDict((k, v) for k, v in {**self.weights(), **(model or {})}.items() if k not in without),
            "optimizer": {"state": {}},
            "rng_state": [{"random_rng_state": random.getstate(), "torch_rng_state": torch.get_rng_state()}],
            **state,
        }
        folder = root / f"iter_{iteration:07d}"
        (folder / "mp_rank_00").mkdir(parents=True)
        content = {key: value for key, value in content.items() if key not in without}
        torch.save(content, folder / "mp_rank_00" / "model_optim_rng.pt")
        (root / "latest_checkpointed_iteration.txt").write_text(str(iteration))
        return folder

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """Return [batch, length, vocab] in fp64, from the formulas and not from any library's model."""
        s = self.shape
        w = {key: value.double() for key, value in self.weights().items() if value is not None}
        x = w["embedding.word_embeddings.weight"][ids]
        for layer in range(s.layers):
            here = {k.removeprefix(f"decoder.layers.{layer}."): v for k, v in w.items()}
            first = here.get("input_layernorm.weight", here.get("self_attention.linear_qkv.layer_norm_weight"))
            second = here.get("pre_mlp_layernorm.weight", here.get("mlp.linear_fc1.layer_norm_weight"))
            assert first is not None
            assert second is not None
            x = x + self._attention(self._norm(x, first), here)
            gate, up = (self._norm(x, second) @ here["mlp.linear_fc1.weight"].T).chunk(2, dim=-1)
            x = x + (functional.silu(gate) * up) @ here["mlp.linear_fc2.weight"].T
        out = w.get("output_layer.weight", w["embedding.word_embeddings.weight"])
        return self._norm(x, w["decoder.final_layernorm.weight"]) @ out.T

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.shape.eps) * weight

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        """Turn the two halves of each head, [batch, length, heads, head_dim], by position."""
        half = self.shape.head_dim // 2
        rates = self.shape.rotary_base ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = (torch.arange(x.shape[1], dtype=torch.float64)[:, None] * rates)[None, :, None]
        a, b = x[..., :half], x[..., half:]
        return torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), dim=-1)

    def _attention(self, x: torch.Tensor, here: Mapping[str, torch.Tensor]) -> torch.Tensor:
        s, (batch, length, _) = self.shape, x.shape
        each = s.heads // s.groups
        mixed = (x @ here["self_attention.linear_qkv.weight"].T).view(batch, length, s.groups, each + 2, -1)
        q = self._rotate(mixed[..., :each, :].reshape(batch, length, s.heads, -1))
        k = self._rotate(mixed[..., each, :]).repeat_interleave(each, dim=2)
        v = mixed[..., each + 1, :].repeat_interleave(each, dim=2)
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(s.head_dim)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        attended = scores.masked_fill(future, -math.inf).softmax(-1)
        mixed = torch.einsum("bhqk,bkhd->bqhd", attended, v).reshape(batch, length, -1)
        return mixed @ here["self_attention.linear_proj.weight"].T


@pytest.fixture
def megatron() -> Callable[..., Megatron]:
    """Return a maker of tiny models: megatron(tied=True).save(folder)."""
    return lambda **shape: Megatron(shape=Shape(**shape))


@pytest.fixture
def foreign_enum() -> Iterator[enum.Enum]:
    """Give a value whose class can be pickled now, and imported by nobody afterwards."""
    module = ModuleType("megatron.core.enums")

    class ModelType(enum.Enum):
        encoder_or_decoder = 1

    ModelType.__module__, ModelType.__qualname__ = module.__name__, "ModelType"
    module.ModelType = ModelType  # type: ignore[attr-defined]
    packages = {name: ModuleType(name) for name in ("megatron", "megatron.core")} | {module.__name__: module}
    sys.modules.update(packages)
    yield ModelType.encoder_or_decoder
    for name in packages:
        del sys.modules[name]
