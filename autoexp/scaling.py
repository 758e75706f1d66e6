"""The arithmetic of scaling studies: how large a model is, what a token costs it, and how well it scales. Pure.

Sizes are those of one kind of model, the Llama-style decoder that `trainers.model` trains: RMSNorm, rotary positions,
grouped-query attention, a gated (SwiGLU) MLP, no biases.

Let N devices take T(N) seconds for a step of F(N) floating point operations.

    speed-up            S = T(N0) / T(N)                                where F(N) = F(N0): strong scaling
    efficiency          E = [F(N) / (N T(N))] / [F(N0) / (N0 T(N0))]    always: the ratio of operations a device second
      strong scaling    E = S N0 / N                                    what that comes to where F(N) = F(N0)
      weak scaling      E = T(N0) / T(N)                                what that comes to where F(N) / N = F(N0) / N0
    serial fraction     e = (1/S - 1/p) / (1 - 1/p), p = N / N0         Karp and Flatt, CACM 33(5), 1990

A ratio of times says nothing where the work differs otherwise, so none is given there.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from statistics import fmean, median, quantiles, stdev

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


# How well it scales

TOLERANCE = 0.05
"""By how much work may differ and still count as the same."""


class Kind(StrEnum):
    """What stays the same while devices are added."""

    STRONG = auto()
    """The work of a step."""
    WEAK = auto()
    """The work of a step on each device."""
    MIXED = auto()
    """Neither: times cannot be compared, operations a second can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A training at a number of devices."""

    devices: int
    step_s: float
    """A usual step's: a median, say, without those at the start."""
    operations: float
    """Floating point operations of a step, on all devices; samples or tokens a step do where the model is the same."""


def kind(ladder: Sequence[Measured]) -> Kind:
    """Say what stays the same on a ladder; one of a single size is strong scaling."""
    if _is_flat(each.operations for each in ladder):
        return Kind.STRONG
    return Kind.WEAK if _is_flat(each.operations / each.devices for each in ladder) else Kind.MIXED


def _is_flat(values: Iterable[float]) -> bool:
    listed = list(values)
    return max(listed) <= min(listed) * (1 + TOLERANCE)


def efficiency(base: Measured, other: Measured) -> float:
    """Compare operations a device second: 1 is perfect."""
    return _rate(other) / _rate(base)


def _rate(measured: Measured) -> float:
    return measured.operations / (measured.devices * measured.step_s)


def speedup(base: Measured, other: Measured) -> float:
    """Compare the times of the same work.

    Raises:
        ValueError: it is not the same.
    """
    if kind((base, other)) is not Kind.STRONG:
        raise ValueError(_differs("a step's work", base.operations, other.operations))
    return base.step_s / other.step_s


def time_ratio(base: Measured, other: Measured) -> float:
    """Compare the times of the same work on each device: the efficiency of weak scaling.

    Raises:
        ValueError: it is not the same, so that the ratio would say how the work differs.
    """
    share, usual = other.operations / other.devices, base.operations / base.devices
    if not _is_flat((share, usual)):
        raise ValueError(_differs("a device's share of a step's work", usual, share))
    return base.step_s / other.step_s


def _differs(what: str, one: float, other: float) -> str:
    return f"{what} is {other / one:.2f} times what it was, so a ratio of times does not tell how well it scales"


def serial_fraction(base: Measured, other: Measured) -> float | None:
    """Estimate which part of a step does not get faster by more devices; None for as many devices as before.

    Raises:
        ValueError: the work of a step is not the same.
    """
    more = other.devices / base.devices
    if math.isclose(more, 1):
        return None
    return (1 / speedup(base, other) - 1 / more) / (1 - 1 / more)


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the mean, and how far on both sides of it the true one may be, by Student's t, at a level of confidence.

    Student, "The probable error of a mean", Biometrika 6 (1908): repeats are taken to be independent, and normal.

    Raises:
        ValueError: there are fewer than two.
    """
    return fmean(values), _quantile(level, len(values) - 1) * stdev(values) / math.sqrt(len(values))


def _quantile(level: float, freedom: int) -> float:
    """Return the t that |t| stays below with this probability: halving where that grows as t does."""
    low, high = 0.0, math.pi / 2  # angles, of which t is the tangent times the root of the freedom
    for _ in range(100):
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, freedom) < level else (low, angle)
    return math.tan(low) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """Return how probable |t| < tan(angle) sqrt(freedom) is.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 (odd) and 26.7.4 (even).
    """
    cosine, odd = math.cos(angle), freedom % 2
    total, term = 0.0, cosine if odd else 1.0
    for step in range(odd, freedom - 1, 2):
        total += term
        term *= cosine * cosine * (step + 1) / (step + 2)
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def middle(values: Sequence[float]) -> tuple[float, float]:
    """Return the median, and the distance between the quartiles (0 for a single value)."""
    if len(values) == 1:
        return values[0], 0.0
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return median(values), upper - lower
