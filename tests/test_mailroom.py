"""Markers and what becomes of them: the whole table through the real program, then the mailroom by itself."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from autoexp import markers
from autoexp.events import Requested
from autoexp.journal import unstamp
from autoexp.lifecycle import step
from autoexp.mailroom import Mailroom
from autoexp.model import Job, JobSpec, State, Verb
from autoexp.registry import Key, Ledger

if TYPE_CHECKING:
    from tests.conftest import Room

REACTION_S = 1.0
"""Well under the ten seconds that a sweep would need."""
VERBS = [str(verb) for verb in Verb]


# The table of verbs and states, through the real program


class Cell(NamedTuple):
    """What a verb comes to: the state soon after, and the one after the attempt has ended (if that is waited for)."""

    soon: str
    at_the_end: str = ""
    attempt: int | None = None


REFUSED = None
OVER = {"save": REFUSED, "hold": REFUSED, "release": REFUSED, "start": REFUSED, "cancel": REFUSED}


def idle(**others: Cell | None) -> dict[str, Cell | None]:
    """What a job does that nothing runs of, and that is not over."""
    started = Cell("running")
    ends = {"cancel": Cell("cancelled"), "succeed": Cell("succeeded"), "fail": Cell("failed")}
    return {"start": started, "save": REFUSED, "restart": REFUSED, "retry": REFUSED, **ends, **others}


def live(state: str, again: str) -> dict[str, Cell | None]:
    """What a job does that has begun."""
    return {
        "hold": Cell(state, "held"),
        "release": Cell(state),
        "start": REFUSED,
        "save": Cell("held"),
        "cancel": Cell("cancelled"),
        "restart": Cell(again, attempt=2),
        "retry": REFUSED,
        "succeed": Cell("succeeded"),
        "fail": Cell("failed"),
    }


TABLE: Mapping[str, Mapping[str, Cell | None]] = {
    "waiting": idle(hold=Cell("held"), release=REFUSED),
    "backoff": idle(hold=Cell("held"), release=REFUSED),
    "held": idle(hold=REFUSED, release=Cell("waiting")),
    "queued": {
        "hold": Cell("held"),
        "release": Cell("queued"),
        "cancel": Cell("cancelled"),
        "succeed": Cell("succeeded"),
        "fail": Cell("failed"),
        **dict.fromkeys(("start", "save", "restart", "retry")),
    },
    "gating": live("gating", "gating"),
    "running": live("running", "running"),
    "stalled": live("stalled", "running"),
    "stopping": {
        "hold": Cell("stopping", "held"),
        "cancel": Cell("stopping", "cancelled"),
        "succeed": Cell("stopping", "succeeded"),
        "fail": Cell("stopping", "failed"),
        **dict.fromkeys(("release", "start", "save", "restart", "retry")),
    },
    "succeeded": {
        **OVER,
        "restart": Cell("succeeded", attempt=2),
        "retry": REFUSED,
        "succeed": REFUSED,
        "fail": Cell("failed"),
    },
    "failed": {
        **OVER,
        "restart": Cell("failed", attempt=2),
        "retry": Cell("failed", attempt=2),
        "succeed": Cell("succeeded"),
        "fail": REFUSED,
    },
    "cancelled": {
        **OVER,
        "restart": Cell("waiting"),
        "retry": Cell("waiting"),
        "succeed": Cell("succeeded"),
        "fail": Cell("failed"),
    },
    "skipped": {  # what it needs has failed, so waiting again does not last
        **OVER,
        "restart": Cell("skipped"),
        "retry": Cell("skipped"),
        "succeed": Cell("succeeded"),
        "fail": Cell("failed"),
    },
}

NEVER = "start: {file_exists: {path: never}}, "
STAGES = {
    "waiting": f"{{{NEVER} command: [sleep, '60']}}",
    "held": f"{{{NEVER} command: [sleep, '60']}}",
    "cancelled": f"{{{NEVER} command: [sleep, '60']}}",
    "queued": "{command: [sleep, '60']}",
    "gating": "{gate: slow, command: [sleep, '60']}",
    "running": "{command: [sleep, '60']}",
    "stalled": "{stall: {no_progress: 1s}, command: [sleep, '60']}",
    "stopping": "{command: \"trap '' TERM; sleep 60\"}",
    "backoff": "{retry: {backoff: 10m}, command: test -e go && exec sleep 60}",
    "succeeded": "{command: 'true'}",
    "failed": "{retry: {max_attempts: 1}, command: 'false'}",
    "skipped": "{needs: first, command: 'true'}",
}
FIRST = {"queued": "{command: [sleep, '60']}", "skipped": "{retry: {max_attempts: 1}, command: 'false'}"}
BROUGHT_BY = {"held": "hold", "cancelled": "cancel", "stopping": "save"}


@pytest.fixture(scope="module", params=list(TABLE))
def brought(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make_room: Any) -> Iterator[Any]:
    """A watched study with one job for each verb, all of them in the same state."""
    state = request.param
    with make_room(tmp_path_factory.mktemp(state)) as room:
        room.machine(cpus=1 if state == "queued" else 64, save_grace="5m")
        room.write("hooks/slow.py", "import time\ntime.sleep(60)\n")
        stages = {**({"first": FIRST[state]} if state in FIRST else {}), **dict.fromkeys(VERBS, STAGES[state])}
        room.plan("".join(f"{name}: {stage}\n" for name, stage in stages.items()))
        room.watch()
        if state in BROUGHT_BY:
            room.wait_for(dict.fromkeys(VERBS, "running" if state == "stopping" else "waiting"))
            for verb in VERBS:
                room.touch(verb, BROUGHT_BY[state])
        room.wait_for(dict.fromkeys(VERBS, state))
        if state == "backoff":
            for verb in VERBS:
                (room.job_dir(verb) / "go").touch()
        yield state, room


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_does_what_the_table_says(brought: tuple[str, "Room"], verb: str) -> None:
    state, room = brought
    expected = TABLE[state][verb]
    earlier = len(room.answers(verb))

    touched = time.time()
    marker = room.touch(verb, verb)
    verdict, answer = room.wait_answer(verb, earlier + 1)

    assert unstamp(answer["at"]) - touched < REACTION_S
    room.wait_until(lambda: not marker.exists(), "the marker's end")
    assert answer["marker"] == verb
    if expected is REFUSED:
        assert verdict == "refused"
        assert f"a job that is {state} takes no {verb}" in answer["refused"]
        assert answer["verbs"] == VERBS
        assert room.states()[verb] == state
        return
    assert (verdict, answer["verb"], answer["from"]) == ("taken", verb, state)
    room.wait_for({verb: expected.soon})
    if expected.attempt:
        room.wait_until(lambda: room.rows()[verb]["attempt"] == expected.attempt)
        room.wait_for({verb: expected.soon})
    if expected.at_the_end:
        room.fail(verb)
        room.wait_for({verb: expected.at_the_end})


def test_a_verb_of_the_table_that_was_refused_says_what_may_be_wanted_instead(room: "Room") -> None:
    room.plan(f"one: {STAGES['waiting']}\n")
    room.watch()
    room.touch("one", "restart")

    _, answer = room.wait_answer("one")

    assert "(you may want start)" in answer["refused"]


def test_a_hold_that_was_taken_back_holds_nothing(room: "Room") -> None:
    room.plan("one: {retry: {backoff: 10m}, command: [sleep, '60']}\n")
    room.watch()
    room.wait_for({"one": "running"})
    room.touch("one", "hold")
    room.wait_answer("one", 1)
    assert room.rows()["one"]["reason"].startswith("hold was asked")
    room.touch("one", "release")
    room.wait_answer("one", 2)

    room.fail("one")

    room.wait_for({"one": "backoff"})


def test_a_marker_may_say_why(room: "Room") -> None:
    room.plan(f"one: {STAGES['waiting']}\n")
    room.watch()

    room.run("mark", "demo/one", "hold", "--reason", "the node looks odd")
    _, answer = room.wait_answer("one")

    assert answer["said"] == "the node looks odd"
    assert room.rows()["one"]["reason"] == "hold: the node looks odd"


# What is no marker


def test_a_misspelt_verb_is_refused_with_the_list_of_verbs(room: "Room") -> None:
    room.plan(f"one: {STAGES['waiting']}\n")
    room.watch()

    room.touch("one", "cancle")
    verdict, answer = room.wait_answer("one")

    assert verdict == "refused"
    assert answer["refused"] == f"'cancle' is no verb; there are {', '.join(VERBS)}"
    assert room.states() == {"one": "waiting"}
    aside = [path.name for path in (room.job_dir("one") / "markers" / "refused").iterdir() if path.suffix != ".json"]
    assert len(aside) == 1
    assert aside[0].endswith("-cancle")


def _symlink(place: Path) -> None:
    (place.parent.parent / "treasure").write_text("dear")
    place.symlink_to("../treasure")


def _directory(place: Path) -> None:
    aside = place.parent.parent / "aside"
    aside.mkdir()
    (aside / "inside").touch()
    aside.rename(place)


def _socket(place: Path) -> None:
    before = Path.cwd()
    os.chdir(place.parent)  # the path of a socket has to be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(place.name)
    finally:
        os.chdir(before)


def _huge(place: Path) -> None:
    draft = place.with_name(".draft")
    draft.write_bytes(b"x" * 5000)
    draft.rename(place)


ODD: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "a symlink": (_symlink, "it is a symlink; a marker is a plain file"),
    "a dangling symlink": (lambda place: place.symlink_to("nowhere"), "it is a symlink"),
    "a directory": (_directory, "it is a directory"),
    "a FIFO": (os.mkfifo, "it is a FIFO"),
    "a socket": (_socket, "it is no regular file"),
    "a huge file": (_huge, "it has 5000 bytes; a marker holds nothing, or a short reason"),
}


@pytest.mark.parametrize(("make", "why"), [pytest.param(*odd, id=name) for name, odd in ODD.items()])
def test_an_odd_marker_is_moved_aside_with_the_reason_and_nothing_else_is_disturbed(
    odd_room: "Room", make: Callable[[Path], object], why: str, request: pytest.FixtureRequest
) -> None:
    room, job = odd_room, "one"
    earlier = len(room.answers(job))
    marker = room.job_dir(job) / "markers" / "cancel"

    make(marker)
    verdict, answer = room.wait_answer(job, earlier + 1)

    assert (verdict, answer["marker"]) == ("refused", "cancel")
    assert answer["refused"].startswith(why)
    assert not os.path.lexists(marker)
    aside = [path for path in (marker.parent / "refused").iterdir() if not path.name.endswith(".json")]
    assert len(aside) == earlier + 1
    assert room.states()[job] == "waiting", request.node.name


@pytest.fixture(scope="module")
def odd_room(tmp_path_factory: pytest.TempPathFactory, make_room: Any) -> Iterator[Any]:
    with make_room(tmp_path_factory.mktemp("odd")) as room:
        room.plan(f"one: {STAGES['waiting']}\n")
        room.watch()
        room.wait_for({"one": "waiting"})
        yield room


def test_what_a_symlink_names_is_left_as_it_is(odd_room: "Room") -> None:
    earlier = len(odd_room.answers("one"))

    _symlink(odd_room.job_dir("one") / "markers" / "hold")
    odd_room.wait_answer("one", earlier + 1)

    assert (odd_room.job_dir("one") / "treasure").read_text() == "dear"


def test_a_name_of_no_text_is_refused(odd_room: "Room") -> None:
    folder = os.fsencode(odd_room.job_dir("one") / "markers")
    earlier = len(odd_room.answers("one"))

    os.close(os.open(folder + b"/h\xffld", os.O_CREAT))
    verdict, answer = odd_room.wait_answer("one", earlier + 1)

    assert verdict == "refused"
    assert "is no verb" in answer["refused"]
    assert not os.path.lexists(folder + b"/h\xffld")


def test_drafts_are_left_alone(odd_room: "Room") -> None:
    folder = odd_room.job_dir("one") / "markers"
    drafts = [folder / name for name in (".hold", "hold~", "hold.tmp", ".hold.swp")]
    for draft in drafts:
        draft.touch()
    earlier = len(odd_room.answers("one"))

    odd_room.touch("one", "release")  # so that the folder is looked at after all of them
    odd_room.wait_answer("one", earlier + 1)

    assert all(draft.exists() for draft in drafts)
    assert len(odd_room.answers("one")) == earlier + 1


def test_a_draft_that_is_renamed_is_obeyed(room: "Room") -> None:
    room.plan(f"one: {STAGES['waiting']}\n")
    room.watch()
    draft = room.touch("one", ".cancel")

    draft.rename(draft.with_name("cancel"))

    room.wait_for({"one": "cancelled"})


def test_an_unreadable_marker_is_refused(room: "Room", humble: tuple[str, ...]) -> None:
    room.plan(f"one: {STAGES['waiting']}\n")
    room.prefix = humble
    room.watch()
    draft = room.touch("one", ".cancel")
    draft.chmod(0)

    draft.rename(draft.with_name("cancel"))
    verdict, answer = room.wait_answer("one")

    assert verdict == "refused"
    assert answer["refused"] == "it cannot be read: Permission denied"
    assert room.states() == {"one": "waiting"}


# When nobody watches, and when the watcher dies


def test_a_verb_dropped_while_nobody_watches_is_obeyed_by_the_next_watcher(room: "Room") -> None:
    room.plan("one: {command: [sleep, '60']}\ntwo: {command: 'true'}\n")
    room.stop(_watched(room, {"one": "running", "two": "succeeded"}))

    room.touch("one", "cancel")
    room.touch("two", "restart")

    _watched(room, {"one": "cancelled"})
    room.wait_until(lambda: room.rows()["two"]["attempt"] == 2)


def test_a_hold_dropped_before_the_first_watch_comes_before_the_first_submission(room: "Room") -> None:
    room.plan("one: {command: 'true'}\ntwo: {command: 'true'}\n")
    room.touch("one", "hold")

    done = room.run("watch", room.root, "--until-done")

    assert done.returncode == 1
    assert room.states() == {"one": "held", "two": "succeeded"}
    assert not room.attempt_dir("one").exists()


def test_a_hold_of_a_whole_study_comes_before_its_first_submission(room: "Room") -> None:
    room.plan("one: {command: 'true'}\ntwo: {command: 'true'}\n")
    room.run("mark", "demo", "hold")

    room.run("watch", room.root, "--until-done")

    assert room.states() == {"one": "held", "two": "held"}
    ((verdict, answer),) = room.answers("")
    assert (verdict, sorted(answer["taken"]), answer["refused"]) == ("taken", ["one", "two"], {})


def test_a_marker_that_could_not_be_answered_is_obeyed_once_whoever_watches(room: "Room") -> None:
    """So it stands when a watcher is killed between the journal's line and the answer."""
    room.plan("one: {command: [sleep, '60']}\n")
    watcher = _watched(room, {"one": "running"})
    in_the_way = room.job_dir("one") / "markers" / "taken"
    in_the_way.touch()

    marker = room.touch("one", "restart")
    room.wait_until(lambda: room.rows()["one"]["attempt"] == 2)
    room.wait_until(lambda: any("cannot be answered" in what for what in _problems(room).values()), "the problem")
    room.stop(watcher, signal.SIGKILL)
    assert marker.exists()
    in_the_way.unlink()
    _watched(room, {"one": "running"})

    verdict, answer = room.wait_answer("one")
    assert (verdict, answer["note"]) == ("taken", "obeyed before")
    assert room.rows()["one"]["attempt"] == 2
    assert [trigger for trigger, _, _ in room.moves("one")].count("restart_requested") == 1


def _problems(room: "Room") -> dict[str, str]:
    found: dict[str, str] = room.inside("status", room.root, "--json")["problems"]
    return found


def _watched(room: "Room", states: Mapping[str, str]) -> Any:
    watcher = room.watch()
    room.wait_for(states)
    return watcher


# Markers of a study


def test_a_marker_of_a_study_is_answered_once_and_lists_the_refusals(room: "Room") -> None:
    room.plan(f"one: {STAGES['waiting']}\ntwo: {{command: [sleep, '60']}}\nthree: {{command: 'true'}}\n")
    _watched(room, {"one": "waiting", "two": "running", "three": "succeeded"})

    room.run("mark", room.root / "demo", "cancel", "--reason", "enough")
    verdict, answer = room.wait_answer("")

    assert (verdict, answer["verb"], answer["said"]) == ("taken", "cancel", "enough")
    assert answer["taken"] == {
        "one": {"from": "waiting", "to": "cancelled", "attempt": 0},
        "two": {"from": "running", "to": "stopping", "attempt": 1},
    }
    assert answer["refused"].keys() == {"three"}
    assert "a job that is succeeded takes no cancel" in answer["refused"]["three"]
    room.wait_for({"one": "cancelled", "two": "cancelled", "three": "succeeded"})
    assert len(room.answers("")) == 1


def test_a_misspelt_verb_for_a_study_is_refused_too(room: "Room") -> None:
    room.plan(f"one: {STAGES['waiting']}\n")
    _watched(room, {"one": "waiting"})

    (room.root / "demo" / "markers" / "stop").touch()
    verdict, answer = room.wait_answer("")

    assert verdict == "refused"
    assert "'stop' is no verb" in answer["refused"]


# The mailroom by itself


@pytest.fixture
def ledger(make_ledger: Callable[..., Ledger], make_spec: Callable[..., JobSpec]) -> Ledger:
    found = make_ledger(
        Job(spec=make_spec("one"), state=State.WAITING),
        Job(spec=make_spec("two"), state=State.SUCCEEDED),
        Job(spec=make_spec("old"), state=State.CANCELLED, retired=True),
    )
    for folder in (found.study.dir, *(found.dir_of(job) for job in found.jobs)):
        (folder / "markers").mkdir(parents=True, exist_ok=True)
    return found


def obey(mailroom: Mailroom, ledger: Ledger, key: Key, **options: Any) -> list[str]:
    """Collect, decide and answer; return whom the markers were for."""
    asked = list(mailroom.collect(ledger, key, 1.0, **options))
    for who, event in asked:
        job = ledger.jobs.get(who.job) or Job(spec=ledger.jobs["one"].spec, state=State.WAITING)
        mailroom.decided(who, event, step(job, event))
    for path in mailroom.answer(1.0):
        assert path.exists()
    return [who.job for who, _ in asked]


def answered(folder: Path, verdict: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (folder / "markers" / verdict).glob("*.json")]


def test_a_marker_becomes_a_request_that_carries_which_file_it_was(ledger: Ledger) -> None:
    marker = ledger.dir_of("one") / "markers" / "hold"
    marker.write_text("why\n")
    status = marker.stat()

    ((key, event),) = Mailroom().collect(ledger, Key("demo", "one"), 7.0)

    assert key == Key("demo", "one")
    identity: dict[str, Any] = {"inode": status.st_ino, "ctime_ns": status.st_ctime_ns}
    assert event == Requested(at=7.0, verb=Verb.HOLD, reason="why", **identity)


def test_a_marker_is_collected_once_until_it_is_answered(ledger: Ledger) -> None:
    (ledger.dir_of("one") / "markers" / "hold").touch()
    mailroom = Mailroom()

    assert len(list(mailroom.collect(ledger, Key("demo", "one"), 1.0))) == 1
    assert list(mailroom.collect(ledger, Key("demo", "one"), 1.0)) == []


def test_two_markers_of_a_job_are_asked_in_the_order_they_were_dropped(ledger: Ledger) -> None:
    folder = ledger.dir_of("one") / "markers"
    last = 0
    for verb in ("release", "cancel", "hold"):
        while not (folder / verb).exists() or (folder / verb).stat().st_ctime_ns <= last:
            (folder / verb).touch()
        last = (folder / verb).stat().st_ctime_ns

    asked = [event for _, event in Mailroom().collect(ledger, Key("demo", "one"), 1.0)]

    assert [event.verb for event in asked if isinstance(event, Requested)] == ["release", "cancel", "hold"]


def test_a_study_marker_asks_every_job_but_those_dropped_and_over(ledger: Ledger) -> None:
    (ledger.study.dir / "markers" / "retry").touch()

    assert obey(Mailroom(), ledger, Key("demo", "")) == ["one", "two"]


def test_a_study_marker_asks_jobs_that_are_about_to_be_born(ledger: Ledger) -> None:
    (ledger.study.dir / "markers" / "hold").touch()

    assert obey(Mailroom(), ledger, Key("demo", ""), new=["three"]) == ["one", "two", "three"]
    ((answer),) = answered(ledger.study.dir, "taken")
    assert answer["taken"].keys() == {"one", "three"}


def test_a_study_marker_that_all_refuse_is_refused(ledger: Ledger) -> None:
    (ledger.study.dir / "markers" / "release").touch()

    obey(Mailroom(), ledger, Key("demo", ""))

    ((answer),) = answered(ledger.study.dir, "refused")
    assert answer["refused"].keys() == {"one", "two"}


def test_a_marker_that_was_refused_is_not_obeyed_by_the_watcher_after_a_crash(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found at unlink:.../markers/retry: the next watcher asked again, and a job may have moved meanwhile."""
    (ledger.dir_of("one") / "markers" / "retry").touch()
    with monkeypatch.context() as killed:
        killed.setattr(markers, "_take_away", lambda *_: None)
        assert obey(Mailroom(), ledger, Key("demo", "one")) == ["one"]

    assert obey(Mailroom(), ledger, Key("demo", "one")) == []

    assert len(answered(ledger.dir_of("one"), "refused")) == 1
    assert not (ledger.dir_of("one") / "markers" / "retry").exists()


def test_an_answer_that_cannot_be_written_is_a_problem_until_it_can_be(ledger: Ledger) -> None:
    folder = ledger.dir_of("one") / "markers"
    (folder / "hold").touch()
    (folder / "taken").touch()
    mailroom = Mailroom()

    obey(mailroom, ledger, Key("demo", "one"))
    assert "its markers cannot be answered" in (mailroom.problems[str(folder)] or "")
    (folder / "taken").unlink()
    assert obey(mailroom, ledger, Key("demo", "one")) == []

    assert mailroom.problems == {str(folder): None}
    ((answer),) = answered(ledger.dir_of("one"), "taken")
    assert answer["note"] == "obeyed before"
