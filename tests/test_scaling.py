from hypothesis import given
from hypothesis import strategies as st

from autoexp.scaling import Shape, flops_per_token, parameters

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
