"""A compact Llama-style GPT that wears Megatron-LM's names.

Its modules are called, fused and ordered as Megatron-Core's are (local spec), so its state dict *is* the
`model` of a Megatron checkpoint: nothing is renamed on the way to disk, and a converter for the one reads
the other. The fused tensors are `linear_qkv`, rows by query group (the group's queries, its key, its value,
each `kv_channels` rows), and `linear_fc1`, the gate above the up projection.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from autoexp.scaling import Shape

_TO_RESIDUAL = ("linear_proj.weight", "linear_fc2.weight")


class Linear(nn.Linear):
    """A matrix without bias; its empty `_extra_state` stands where Megatron's stands."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def get_extra_state(self) -> None:
        """Return nothing: the state dict gets the key, as real checkpoints have it."""

    def set_extra_state(self, state: object) -> None:
        """Take whatever a checkpoint holds there and forget it."""


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Scale `x` [..., width] to unit mean square, then by the weight."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class Rotary(nn.Module):
    """Rotary positions in the "rotate half" convention of Llama in HF and of Megatron (not interleaved)."""

    cos: Tensor
    sin: Tensor

    def __init__(self, channels: int, positions: int, base: float) -> None:
        super().__init__()
        inverse = base ** (-torch.arange(0, channels, 2, dtype=torch.float32) / channels)
        angles = torch.outer(torch.arange(positions, dtype=torch.float32), inverse)[:, None, None]
        self.register_buffer("cos", torch.cat((angles.cos(), angles.cos()), dim=-1), persistent=False)
        self.register_buffer("sin", torch.cat((-angles.sin(), angles.sin()), dim=-1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn `x` [batch, position, group, head, channel] by its position."""
        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        swapped = x.roll(x.shape[-1] // 2, dims=-1)  # the halves; `sin` carries the sign of the swap
        return (x * cos + swapped * sin).to(x.dtype)


class SelfAttention(nn.Module):
    """Causal attention; several query heads share a key and a value."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        heads, groups = shape.num_attention_heads, shape.num_query_groups
        self.grouped = (groups, heads // groups + 2, shape.kv_channels)
        self.linear_proj = Linear(heads * shape.kv_channels, shape.hidden_size)
        self.linear_qkv = Linear(shape.hidden_size, (heads + 2 * groups) * shape.kv_channels)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        """Mix `x` [batch, position, hidden] along its positions."""
        mixed = self.linear_qkv(x).unflatten(-1, self.grouped)
        turned = rotary(mixed[..., :-1, :])
        query = turned[..., :-1, :].flatten(2, 3).transpose(1, 2)
        key, value = turned[..., -1, :].transpose(1, 2), mixed[..., -1, :].transpose(1, 2)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        out: Tensor = self.linear_proj(seen.transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    """SwiGLU: silu(gate) times up, projected down."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.linear_fc1 = Linear(shape.hidden_size, 2 * shape.ffn_hidden_size)
        self.linear_fc2 = Linear(shape.ffn_hidden_size, shape.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Transform every position of `x` [..., hidden] by itself."""
        gate, up = self.linear_fc1(x).chunk(2, dim=-1)
        out: Tensor = self.linear_fc2(functional.silu(gate) * up)
        return out


class Layer(nn.Module):
    """Attention, then MLP, each behind its norm and beside a residual."""

    def __init__(self, shape: Shape, epsilon: float) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden_size, epsilon)
        self.self_attention = SelfAttention(shape)
        self.pre_mlp_layernorm = RMSNorm(shape.hidden_size, epsilon)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        """Return the residual stream `x` [batch, position, hidden] one layer on."""
        x = x + self.self_attention(self.input_layernorm(x), rotary)
        out: Tensor = x + self.mlp(self.pre_mlp_layernorm(x))
        return out


class Embedding(nn.Module):
    """The table of token vectors."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.padded_vocab_size, shape.hidden_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Look up `tokens` [batch, position]."""
        out: Tensor = self.word_embeddings(tokens)
        return out


class Decoder(nn.Module):
    """The layers and the final norm."""

    def __init__(self, shape: Shape, epsilon: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(shape, epsilon) for _ in range(shape.num_layers))
        self.final_layernorm = RMSNorm(shape.hidden_size, epsilon)
        self.recomputes = False
        """Whether a layer forgets what it computed, and computes it again in the backward pass."""

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        """Carry the residual stream `x` [batch, position, hidden] through all layers."""
        for layer in self.layers:
            x = checkpoint(layer, x, rotary, use_reentrant=False) if self.recomputes else layer(x, rotary)
        out: Tensor = self.final_layernorm(x)
        return out


class GPT(nn.Module):
    """The whole model, tokens to logits."""

    def __init__(self, shape: Shape, *, positions: int, rotary_base: float, epsilon: float) -> None:
        super().__init__()
        self.rotary = Rotary(shape.kv_channels, positions, rotary_base)
        self.embedding = Embedding(shape)
        self.decoder = Decoder(shape, epsilon)
        self.output_layer = None if shape.tied else Linear(shape.hidden_size, shape.padded_vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits [batch, position, vocabulary] that follow `tokens` [batch, position]."""
        x: Tensor = self.decoder(self.embedding(tokens), self.rotary)
        table = self.embedding.word_embeddings if self.output_layer is None else self.output_layer
        return functional.linear(x, table.weight)

    def initialise(self, seed: int, std: float) -> None:
        """Draw every matrix from N(0, std), and those that write to the residual stream from a narrower one.

        The narrower deviation is std / sqrt(2 * layers), as in Megatron-LM: it keeps the residual stream's
        variance at the start independent of depth. Norm weights stay at one. The draw depends on the seed and
        the shapes alone, never on the number of processes.
        """
        torch.manual_seed(seed)
        narrow = std / (2 * len(self.decoder.layers)) ** 0.5
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=narrow if name.endswith(_TO_RESIDUAL) else std)
