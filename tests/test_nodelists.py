"""Lists of nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.nodelists import MOST, spelled_out


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("jwb[0034-0036,0041],login1", ["jwb0034", "jwb0035", "jwb0036", "jwb0041", "login1"]),
        ("rack[1-2]node", ["rack1node", "rack2node"]),
        ("n[09-11]", ["n09", "n10", "n11"]),
        ("None assigned", []),
        ("(null)", []),
        ("", []),
        ("a b; rm", []),
        (f"n[1-{'9' * 5000}],m", ["m"]),
        (f"{'[,' * 1000}m", ["m"]),
    ],
)
def test_a_node_list_is_spelled_out_and_what_names_no_node_is_none(text: str, names: list[str]) -> None:
    assert list(spelled_out(text)) == names


@pytest.mark.parametrize("text", ["n[1-99999999999]", "-[1-99999999999]", "n[1-9999]," * 9999, "[," * 999_999])
def test_a_list_without_end_ends_where_no_machine_has_more_nodes(text: str) -> None:
    assert len(list(spelled_out(text))) <= MOST


@given(st.text(alphabet="n01[]-, "))
def test_any_text_is_a_list_of_names_without_blanks_and_brackets(text: str) -> None:
    assert all(name and not set(name) & set("[], ") for name in spelled_out(text))
