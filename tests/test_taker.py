import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from autoexp.history import History
from autoexp.journal import to_line, to_record
from autoexp.model import State, Transition
from autoexp.standings import Standings
from autoexp.taker import take

if TYPE_CHECKING:
    from tests.conftest import Scribe

FIELDS = ['","study":', '","attempt":', ',"evidence":{', ',"set":{', '},"actions":[']
ODD = ['"', "\\", "}", "{", "ä", "\ud800"]
TEXT = st.lists(st.sampled_from([*FIELDS, *ODD]) | st.text(max_size=3), max_size=4).map("".join)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.booleans() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.sampled_from(["set", "actions"]), inner),
    max_leaves=6,
)


def test_lines_of_any_spelling_come_to_the_same(scribe: "Scribe") -> None:
    journal = scribe.begin()
    birth = {"source": None, "target": State.WAITING, "trigger": "planned"}
    journal.append([scribe.move(0, **birth), scribe.move(0, job='a "b" \\ ä\ud800', **birth)])
    asked = {"trigger": "hold_requested", "evidence": {"verb": "hold", "inode": 7, "ctime_ns": 8}}
    journal.append([scribe.move(0, source=State.WAITING, target=State.HELD, **asked)])
    odd = {"a": 1, "set": {"reason": "no"}, "actions": ["no"]}
    journal.append([scribe.move(0, evidence=odd, changes={"reason": 'it said ,"set":{"x":1},"actions":['})])
    journal.append([scribe.move(0, evidence=odd, attempt=3, changes={"token": "job0.3.k", "checkpoints": [1, 2]})])

    fast, whole = Standings(), Standings()
    History(scribe.folder).replay(fast)
    for record in scribe.read():
        whole.take(record)

    assert fast == whole == journal.standings
    standing = whole.studies["demo"].jobs["job0"]
    assert (standing.attempt, standing.fields["checkpoints"]) == (3, [1, 2])
    assert whole.obeyed == {(("demo", "job0"), 7, 8)}


@given(
    names=st.tuples(TEXT, TEXT),
    triggers=st.lists(st.sampled_from(["ended", "hold_requested"]) | TEXT, min_size=1, max_size=3),
    evidence=st.dictionaries(TEXT | st.just("set"), JSON, max_size=3),
    changes=st.dictionaries(st.sampled_from(["reason", "set", "checkpoints", "a,b"]), JSON, max_size=3),
    actions=st.lists(TEXT, max_size=2),
)
def test_a_line_of_any_content_says_the_same_as_its_json(
    names: tuple[str, str], triggers: list[str], evidence: dict[str, Any], changes: dict[str, Any], actions: list[str]
) -> None:
    fast, whole = Standings(), Standings()
    for seq, trigger in enumerate(triggers, start=1):
        source = State.WAITING if seq > 1 else None
        states: dict[str, Any] = {"source": source, "target": State.RUNNING, "trigger": trigger}
        move = Transition(
            at=seq,
            study=names[0],
            job=names[1],
            attempt=seq,
            evidence=evidence,
            changes=changes,
            actions=tuple(actions),
            **states,
        )
        line = to_line(to_record(move, seq, 1))
        take(fast, line)
        whole.take(json.loads(line))

    assert fast == whole
