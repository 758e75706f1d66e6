from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autoexp.functions import FUNCTIONS, gpt_params, spelled, tokens_to_iters, wsd_branch
from autoexp.scaling import Shape, parameters


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("exp", [0], 1.0), ("log", [1], 0.0), ("log10", [1000], 3.0), ("bool", [0], False), ("sum", [[1, 2]], 3),
        ("prod", [[2, 3]], 6), ("any", [[0, 1]], True), ("all", [[0, 1]], False), ("range", [1, 4], [1, 2, 3]),
        ("lower", ["A"], "a"), ("upper", ["a"], "A"), ("strip", [" a "], "a"), ("replace", ["a.b", ".", "_"], "a_b"),
        ("split", ["a,b", ","], ["a", "b"]), ("join", ["x", [1, "a"]], "1xa"), ("startswith", ["ab", "a"], True),
        ("endswith", ["ab", "a"], False), ("pad", [200], "0000200"), ("pad", [7, 2], "07"),
        ("format", [0.001, ".1e"], "1.0e-03"), ("format", [61036, ","], "61,036"), ("format", ["a", ">3"], "  a"),
        ("quantity", ["100M"], 100_000_000), ("quantity", ["4GiB"], 4 << 30), ("quantity", ["1h30m"], 5400),
    ],
)  # fmt: skip
def test_a_function_does_what_its_name_says(name: str, arguments: list[Any], value: object) -> None:
    assert FUNCTIONS[name](*arguments) == value


def test_true_false_and_null_are_those_of_yaml_in_lists_and_mappings_too() -> None:
    assert spelled([True, None, 1e-3, ["a", (False,)]]) == "[true, null, 0.001, ['a', [false]]]"
    assert spelled({"a": None, "b": [True]}) == "{'a': null, 'b': [true]}"
    assert (spelled("True"), spelled(None), spelled(2)) == ("True", "null", "2")


@pytest.mark.parametrize("spec", ["9999d", ".999f", "%Y", "{}"])
def test_a_format_that_nobody_can_want_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="is no format"):
        FUNCTIONS["format"](1, spec)


def test_more_zeros_than_anybody_can_want_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pad\(NUMBER, WIDTH\) has a width of 0 to 100, not 10000000000"):
        FUNCTIONS["pad"](3, 10**10)


def test_a_list_that_nobody_can_want_is_refused() -> None:
    with pytest.raises(ValueError, match="1,000,000,000 numbers is too long"):
        FUNCTIONS["range"](10**9)


@pytest.mark.parametrize(("layers", "hidden"), [(5, 160), (9, 288), (12, 384)])
def test_a_model_is_as_large_as_the_rule_of_thumb_says(layers: int, hidden: int) -> None:
    assert gpt_params(layers, hidden, 50304) == 12 * layers * hidden**2 + hidden * 50304


@pytest.mark.parametrize("tied", [False, True])
def test_a_gated_model_lacks_only_the_norms_of_the_exact_count(tied: bool) -> None:  # noqa: FBT001 - a parameter
    shape = Shape(
        num_layers=4, hidden_size=64, ffn_hidden_size=172, num_attention_heads=4, num_query_groups=4, kv_channels=16,
        padded_vocab_size=512, tied=tied,
    )  # fmt: skip
    norms = (2 * 4 + 1) * 64

    assert gpt_params(4, 64, 512, ffn_hidden_size=172, gated=True, tied=tied) == parameters(shape) - norms


@pytest.mark.parametrize(
    ("tokens", "batch", "iterations"), [(100e6, 16, 3052), (2e9, 16, 61036), (2e9, 64, 15259), (2e9, 128, 7630)]
)
def test_iterations_see_at_least_so_many_tokens(tokens: float, batch: int, iterations: int) -> None:
    """The figures are those of a study that people have run."""
    assert tokens_to_iters(tokens, 2048, batch) == iterations


@pytest.mark.parametrize(
    ("iterations", "branch"),
    [(3052, 2000), (6104, 4000), (12208, 10000), (30518, 26000), (61036, 54000), (763, 0), (3815, 2000)],
)
def test_a_cooldown_branches_at_the_last_checkpoint_before_its_decay(iterations: int, branch: int) -> None:
    """The figures are those of that study too."""
    assert wsd_branch(iterations, 0.1, 2000) == branch


@given(
    iterations=st.integers(10**3, 10**6),
    decay=st.one_of(st.floats(0, 0.99), st.integers(1, 10**5)),
    save=st.integers(1, 10**4),
)
def test_a_branch_is_on_the_grid_and_leaves_the_whole_decay(iterations: int, decay: float, save: int) -> None:
    length = int(decay * iterations) if decay < 1 else int(decay)
    assume(length <= iterations)

    branch = wsd_branch(iterations, decay, save)

    assert branch % save == 0
    assert 0 <= iterations - length - branch < save


@pytest.mark.parametrize("decay", [101, -1, -0.5])
def test_a_decay_that_does_not_fit_has_no_branch_point(decay: float) -> None:
    with pytest.raises(ValueError, match="does not fit into 100"):
        wsd_branch(100, decay)


def test_join_says_which_of_its_arguments_comes_first() -> None:
    with pytest.raises(TypeError, match="the separator comes first"):
        FUNCTIONS["join"]([1, 2], "-")
