import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoexp.conditions import ConditionError
from autoexp.logs import Match, complete_lines
from autoexp.model import Condition, Deed, HookCall, Rule
from autoexp.policies import PolicyError
from autoexp.rulebook import MOST, read_rules, search, submitters, told

TELLING = HookCall(name="notify", path="/hooks/notify.py", values={"command": "mail {me}"})
SPIKE = Rule(name="spike", log=r"spike at (?P<at>\d+)", limit=2)


def read(**rule: Any) -> Rule:
    rules, stages = {"spike": {"do": "cancel", **rule}}, ("train", "look")
    (found,) = read_rules(rules, lambda name: f"/hooks/{name}.py", stages, {"command": "mail {me}"})
    return found


# Reading


def test_an_event_is_read_with_all_it_may_say() -> None:
    rule = read(log=r"spike (?P<at>\d+)", limit=3, when={"attempts_below": {"n": 4}}, do=["hold", {"log": "{at}"}])

    assert rule == Rule(
        name="spike",
        log=r"spike (?P<at>\d+)",
        limit=3,
        when=Condition(name="attempts_below", params={"n": 4}),
        do=(Deed(name="hold"), Deed(name="log", text="{at}")),
    )
    assert (read(contains="a.b").log, read(contains="a.b").limit) == (r"a\.b", 1)
    assert read(state="failed", **{"from": "running"}).came_from == "running"


@pytest.mark.parametrize(
    ("said", "deed"),
    [
        ("finish", Deed(name="finish")),
        ({"fail": "it diverged"}, Deed(name="fail", text="it diverged")),
        ({"restart": {"lr": 0.1}}, Deed(name="restart", values={"lr": 0.1})),
        ({"append": {"path": "f", "text": "{line}"}}, Deed(name="append", path="f", text="{line}")),
        ({"submit": "look"}, Deed(name="submit", text="look")),
        ({"hook": {"h": {"x": 1}}}, Deed(name="hook", hook=HookCall(name="h", path="/hooks/h.py", values={"x": 1}))),
        ({"hook": {"h": None}}, Deed(name="hook", hook=HookCall(name="h", path="/hooks/h.py"))),
        ({"notify": "at {line}"}, Deed(name="notify", text="at {line}", hook=TELLING)),
    ],
)
def test_what_is_to_be_done_is_read(said: Any, deed: Deed) -> None:
    assert read(contains="x", do=said).do == (deed,)


def test_nobody_can_be_told_where_nobody_says_how() -> None:
    with pytest.raises(PolicyError, match="nobody says how people are told"):
        read_rules({"spike": {"contains": "x", "do": {"notify": "it happened"}}}, str, ())


@pytest.mark.parametrize(
    ("rule", "says", "key"),
    [
        ({"log": "("}, "no regular expression", "log"),
        ({"log": "a{9999999999}"}, "no regular expression", "log"),
        ({"log": "x*"}, "matches every line", "log"),
        ({"contains": 3}, "no text to look for", "contains"),
        ({}, "seen by one of log, contains and state, not by 0", "spike"),
        ({"log": "x", "state": "failed"}, "not by 2", "spike"),
        ({"state": "exploded"}, "no state", "state"),
        ({"log": "x", "from": "running"}, "from goes with state", "from"),
        ({"state": "failed", "from": "failed"}, "failed never comes out of itself", "from"),
        ({"log": "x", "limit": 0}, "no limit", "limit"),
        ({"log": "x", "limit": MOST + 1}, "no limit", "limit"),
        ({"log": "x", "limit": True}, "no limit", "limit"),
        ({"log": "x", "colour": "red"}, "unknown key 'colour'", "colour"),
        ({"log": "x", "do": []}, "nothing is done", "do"),
        ({"log": "x", "do": None}, "nothing is done", "do"),
        ({"log": "x", "do": "explode"}, "nothing that can be done", "do"),
        ({"log": "x", "do": {"submit": "nowhere"}}, "does not fit", "do"),
        ({"log": "x", "do": {"append": {"path": "f", "text": "x", "more": 1}}}, "does not fit", "do"),
        ({"log": "x", "do": {"restart": 3}}, "does not fit", "do"),
        ({"log": "x", "do": {"hook": {"mine": [1]}}}, "does not fit", "do"),
        ({"log": "x", "do": {"cancel": "{at}"}}, "{at} is nothing that is known", "cancel"),
        ({"state": "failed", "do": {"hook": {"h": {"x": "{1}"}}}}, "{1} is nothing that is known", "hook"),
        ({"log": "x", "when": {"command_succeeds": {"command": "true"}}}, "waits for no program", "when"),
    ],
)
def test_what_is_wrong_is_told_with_its_key_and_a_fix(rule: dict[str, Any], says: str, key: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(says)) as raised:
        read(**rule)

    assert raised.value.path[-1] == key
    assert raised.value.path[0] == "spike"
    assert raised.value.fix


def test_an_event_is_a_mapping_and_its_condition_a_known_one() -> None:
    with pytest.raises(PolicyError, match="is no event"):
        read_rules({"spike": "cancel"}, str, ())
    with pytest.raises(ConditionError, match="unknown condition 'moon'"):
        read(log="x", when={"moon": {}})


def test_who_submits_a_stage_is_known_from_what_is_written() -> None:
    events: dict[str, Any] = {
        "train": {"spike": {"do": [{"append": {}}, {"submit": "look"}]}, "end": {"do": {"submit": "look"}}},
        "look": {"odd": "what", "other": {"do": {"submit": "rest"}}},
    }

    assert list(submitters("look", events)) == [("train", "spike"), ("train", "end")]


# Searching


def test_lines_that_match_are_found_with_their_places_and_groups_as_often_as_they_may_be() -> None:
    data = b"spike at 1\r\nnothing\rspike at 22\nspike at 333\n"

    found = list(search([SPIKE], data, 100))

    assert found == [
        Match(rule="spike", offset=100, line="spike at 1", groups={"0": "spike at 1", "1": "1", "at": "1"}),
        Match(rule="spike", offset=120, line="spike at 22", groups={"0": "spike at 22", "1": "22", "at": "22"}),
    ]
    assert [match.offset for match in search([SPIKE], data, 100, found[:1])] == [100]
    assert list(search([Rule(name="s", state="failed")], data, 0)) == []


def test_what_is_no_text_and_what_is_too_long_is_searched_as_far_as_it_is_read() -> None:
    (match,) = search([SPIKE], b"\xff spike at 5 " + b"x" * 100_000 + b" spike at 6\n", 0)

    assert match.groups["at"] == "5"
    assert len(match.line) == 1000


@given(st.lists(st.sampled_from([b"spike at 1", b"quiet", b"", b"\xff\xfe spike at 2"])), st.data())
def test_however_a_log_comes_in_the_same_lines_are_found(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(line + data.draw(st.sampled_from([b"\n", b"\r\n"])) for line in lines)
    rule, offset, found = Rule(name="spike", log="spike", limit=1000), 0, list[Match]()
    while offset < len(whole):
        size = data.draw(st.integers(1, len(whole) - offset))
        _, used = complete_lines(whole[offset : offset + size])
        found += search([rule], whole[offset : offset + used], offset, found)
        offset += used or (0 if offset + size < len(whole) else size)

    assert found == list(search([rule], whole, 0))


@pytest.mark.parametrize(("text", "result"), [("{a} {b}", "1 {b}"), ("{ a } {}", "{ a } {}"), ("{a}{a}", "11")])
def test_a_text_says_what_was_seen(text: str, result: str) -> None:
    assert told(text, {"a": 1}) == result
