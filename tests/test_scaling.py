import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp import scaling
from autoexp.scaling import (
    Kind,
    Measured,
    Shape,
    efficiency,
    flops_per_token,
    kind,
    middle,
    parameters,
    serial_fraction,
    speedup,
    time_ratio,
)

MEASURED = Shape(
    num_layers=2,
    hidden_size=64,
    ffn_hidden_size=160,
    num_attention_heads=4,
    num_query_groups=2,
    kv_channels=16,
    padded_vocab_size=128,
    tied=False,
)

shapes = st.builds(
    Shape,
    num_layers=st.integers(1, 100),
    hidden_size=st.integers(1, 1 << 15),
    ffn_hidden_size=st.integers(1, 1 << 17),
    num_attention_heads=st.integers(1, 256),
    num_query_groups=st.integers(1, 256),
    kv_channels=st.integers(1, 256),
    padded_vocab_size=st.integers(1, 1 << 18),
    tied=st.booleans(),
)


def with_(shape: Shape, **changes: int) -> Shape:
    return Shape(**{name: changes.get(name, getattr(shape, name)) for name in Shape.__slots__})


def test_a_run_of_megatron_lm_counted_the_same_operations() -> None:
    assert flops_per_token(MEASURED, seq_length=32) == 589_824


def test_a_model_made_by_megatron_lm_has_as_many_parameters() -> None:
    assert parameters(MEASURED) == 102_720


@given(shapes)
def test_tying_saves_exactly_one_table(shape: Shape) -> None:
    table = shape.padded_vocab_size * shape.hidden_size
    assert parameters(with_(shape, tied=False)) - parameters(with_(shape, tied=True)) == table


@given(shapes, st.integers(1, 1 << 20))
def test_tying_saves_no_operation(shape: Shape, length: int) -> None:
    assert flops_per_token(with_(shape, tied=True), length) == flops_per_token(with_(shape, tied=False), length)


@given(shapes, st.integers(1, 1 << 20))
def test_a_longer_context_costs_only_attention_scores(shape: Shape, length: int) -> None:
    scores = 6 * shape.num_layers * shape.kv_channels * shape.num_attention_heads * length
    assert flops_per_token(shape, 2 * length) - flops_per_token(shape, length) == scores


@given(shapes, st.integers(1, 1 << 20))
def test_apart_from_scores_a_token_costs_six_operations_a_matrix_entry(shape: Shape, length: int) -> None:
    untied = with_(shape, tied=False)
    norms = (2 * shape.num_layers + 1) * shape.hidden_size
    look_up = shape.padded_vocab_size * shape.hidden_size
    scores = shape.num_layers * shape.kv_channels * shape.num_attention_heads * length
    assert flops_per_token(untied, length) == 6 * (parameters(untied) - norms - look_up + scores)


@given(shapes)
def test_fewer_key_value_heads_make_a_smaller_model(shape: Shape) -> None:
    one, two = with_(shape, num_query_groups=1), with_(shape, num_query_groups=2)
    assert parameters(two) - parameters(one) == 2 * shape.num_layers * shape.hidden_size * shape.kv_channels


# How well it scales

sizes = st.integers(1, 4096)
times = st.floats(1e-3, 1e3)
works = st.floats(1e6, 1e20)


def at(devices: int, step_s: float, operations: float) -> Measured:
    return Measured(devices=devices, step_s=step_s, operations=operations)


ONE = at(1, 8.0, 1e15)


def test_strong_scaling_by_hand() -> None:
    four = at(4, 2.5, 1e15)

    assert kind([ONE, four]) is Kind.STRONG
    assert speedup(ONE, four) == 3.2
    assert efficiency(ONE, four) == pytest.approx(0.8)
    assert serial_fraction(ONE, four) == pytest.approx((1 / 3.2 - 0.25) / 0.75)
    assert serial_fraction(ONE, ONE) is None


def test_weak_scaling_by_hand() -> None:
    four = at(4, 10.0, 4e15)

    assert kind([ONE, four]) is Kind.WEAK
    assert time_ratio(ONE, four) == pytest.approx(efficiency(ONE, four)) == pytest.approx(0.8)
    with pytest.raises(ValueError, match=r"a step's work is 4\.00 times what it was"):
        speedup(ONE, four)


LADDER = {2: 664, 4: 816, 8: 1118, 16: 1722}
"""The parameters, in millions, of a ladder whose layers grow with the devices and whose vocabulary does not."""


def test_a_ladder_whose_work_grows_otherwise_refuses_a_ratio_of_times() -> None:
    ladder = [at(devices, 1.0, 6e6 * size * 4096) for devices, size in LADDER.items()]

    assert kind(ladder) is Kind.MIXED
    for each in ladder[1:]:
        with pytest.raises(ValueError, match="a ratio of times does not tell"):
            time_ratio(ladder[0], each)
    assert [round(efficiency(ladder[0], each), 2) for each in ladder] == [1.0, 0.61, 0.42, 0.32]


def test_a_step_of_a_few_per_cent_more_work_is_still_the_same_work() -> None:
    assert kind([ONE, at(2, 4.0, 1.04e15)]) is Kind.STRONG
    assert kind([ONE, at(2, 4.0, 1.06e15)]) is Kind.MIXED


@given(base=st.builds(at, sizes, times, works), devices=sizes, step_s=times)
def test_the_general_form_is_both_special_ones_where_they_hold(base: Measured, devices: int, step_s: float) -> None:
    strong = at(devices, step_s, base.operations)
    weak = at(devices, step_s, base.operations / base.devices * devices)

    assert efficiency(base, strong) == pytest.approx(speedup(base, strong) * base.devices / devices)
    assert efficiency(base, weak) == pytest.approx(time_ratio(base, weak))


@given(fraction=st.floats(0, 1), devices=st.integers(2, 4096))
def test_the_serial_fraction_of_amdahls_law_is_found_again(fraction: float, devices: int) -> None:
    other = at(devices, 8.0 * (fraction + (1 - fraction) / devices), 1e15)

    found = serial_fraction(ONE, other)

    assert found is not None
    assert math.isclose(found, fraction, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("values", "expected"), [([3.0], (3.0, 0.0)), ([1.0, 2.0, 3.0, 4.0, 5.0], (3.0, 2.0)), ([1.0, 3.0], (2.0, 1.0))]
)
def test_the_middle_of_values_comes_with_their_spread(values: list[float], expected: tuple[float, float]) -> None:
    assert middle(values) == expected


@pytest.mark.parametrize(
    ("repeats", "quantile"), [(2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776), (10, 2.262), (31, 2.042), (121, 1.980)]
)
def test_the_interval_of_a_mean_is_students(repeats: int, quantile: float) -> None:
    values = [float(number % 3) for number in range(repeats)]

    mean, half = scaling.interval(values)

    assert mean == pytest.approx(statistics.fmean(values))
    assert half == pytest.approx(quantile * statistics.stdev(values) / math.sqrt(repeats), rel=5e-4)


def test_a_single_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two"):
        scaling.interval([1.0])
