import re
import subprocess
import sys

import pytest

from autoexp.diagram import GROUPS, mermaid
from autoexp.lifecycle import TABLE, UNBORN
from autoexp.model import OVER, State, Verb

LEFT_OUT = {"attempt_found", *(verb.trigger for verb in Verb)}
LINES = mermaid().splitlines()


def arrows() -> set[tuple[str, str, str]]:
    """Every drawn move, those of a group once for each of its states."""
    found = set()
    for line in LINES:
        if drawn := re.fullmatch(r"  (\S+) --> (\S+): (.+)", line):
            source, target, triggers = drawn.groups()
            sources = GROUPS.get(source, (source,))
            found |= {(str(state), target, trigger) for state in sources for trigger in triggers.split(" | ")}
    return found


def test_every_move_of_the_table_is_drawn_and_no_other() -> None:
    moves = {
        ("[*]" if str(source) == UNBORN else str(source), str(row.target), row.trigger)
        for row in TABLE
        if row.target is not None and row.trigger not in LEFT_OUT
        for source in row.sources
    }

    assert arrows() == moves


def test_what_people_ask_and_what_is_found_after_a_loss_is_left_out() -> None:
    assert [trigger for trigger in LEFT_OUT if re.search(rf"\b{re.escape(trigger)}\b", mermaid())] == []


@pytest.mark.parametrize("state", State)
def test_every_state_is_in_it(state: State) -> None:
    assert re.search(rf"\b{state}\b", mermaid())


def test_what_is_over_leads_to_the_end() -> None:
    assert {line for line in LINES if line.endswith("--> [*]")} == {f"  {state} --> [*]" for state in OVER}


def test_its_groups_hold_each_other_and_are_closed() -> None:
    assert mermaid().count("{") == mermaid().count("}") == len(GROUPS)
    assert set(GROUPS["sent"]) | set(GROUPS["live"]) < set(GROUPS["attempt"])


def test_it_is_a_program_and_always_the_same() -> None:
    run = [sys.executable, "-m", "autoexp.diagram"]
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout

    assert printed == f"{mermaid()}\n"
