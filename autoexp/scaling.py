"""The arithmetic of scaling studies: how large a model is, and what training on a token costs.

Everything counts one kind of model, the Llama-style decoder that `trainers.model` trains: RMSNorm, rotary
positions, grouped-query attention, a gated (SwiGLU) MLP, no biases. Pure functions of sizes.
"""

from dataclasses import dataclass

_GATED = 3  # matrices of a SwiGLU MLP: gate, up, down


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes that fix a decoder's parameters; names are Megatron-LM's."""

    num_layers: int
    hidden_size: int
    ffn_hidden_size: int
    num_attention_heads: int
    num_query_groups: int
    """Key/value heads; as many as attention heads means plain multi-head attention."""
    kv_channels: int
    """Width of one head; heads times this may differ from `hidden_size`."""
    padded_vocab_size: int
    """Rows of the embedding, padding included."""
    tied: bool
    """Whether the output layer is the embedding itself."""


def parameters(shape: Shape) -> int:
    """Return the number of trainable parameters, embeddings and norms included."""
    norms = (2 * shape.num_layers + 1) * shape.hidden_size
    tables = (1 if shape.tied else 2) * shape.padded_vocab_size * shape.hidden_size
    return shape.num_layers * _layer_weights(shape) + norms + tables


def flops_per_token(shape: Shape, seq_length: int) -> int:
    """Return the floating point operations that training spends on one token, forward and backward.

    The formula is Megatron-LM's (`num_floating_point_operations` in megatron/training/training.py, 0.12 and
    later): two operations a multiply-add, three passes (forward, and backward twice), the causal half of the
    attention scores, the output layer but no embedding look-up, no recomputation. Older Megatron-LM and PaLM
    count the whole square of scores, so their figures are not comparable.
    """
    scores = shape.num_layers * _query_width(shape) * seq_length
    output = shape.hidden_size * shape.padded_vocab_size
    return 6 * (shape.num_layers * _layer_weights(shape) + scores + output)


def _layer_weights(shape: Shape) -> int:
    """Count the matrix entries of one layer: query, key, value, projection, and the MLP."""
    query = _query_width(shape)
    key = shape.kv_channels * shape.num_query_groups
    attention = shape.hidden_size * (query + 2 * key) + query * shape.hidden_size
    return attention + _GATED * shape.hidden_size * shape.ffn_hidden_size


def _query_width(shape: Shape) -> int:
    return shape.kv_channels * shape.num_attention_heads
