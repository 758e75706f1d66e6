"""What recipes want done under `events:`, by the program itself; how they are read and counted is in other files."""

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoexp.actions import AnswerEvent
from autoexp.errors import HookRefused
from autoexp.events import Answered, Requested
from autoexp.model import JSON, Condition, Deed, HookCall, Job, JobSpec, Rule, State, Verb
from autoexp.reactions import answer
from autoexp.registry import Ledger

if TYPE_CHECKING:
    from tests.conftest import Room

Specs = Callable[..., JobSpec]
Owing = Callable[..., Ledger]
ACTION = AnswerEvent(job="one", event="spike", number=1)
SEEN: dict[str, JSON] = {
    "event": "spike",
    "number": 1,
    "attempt": 2,
    "line": "loss spike at 7",
    "1": "7",
    "iteration": 5,
}


@pytest.fixture
def owing(make_ledger: Callable[..., Ledger], make_spec: Specs) -> Owing:
    """A study with a job that owes an answer."""

    def make(*do: Deed, when: Condition | None = None) -> Ledger:
        spec = make_spec("one", events=(Rule(name="spike", log="spike at ([0-9]+)", when=when, do=do),))
        ledger = make_ledger(Job(spec=spec, state=State.RUNNING, attempt=3, due=(SEEN,)))
        ledger.dir_of("one").mkdir(parents=True)
        return ledger

    return make


def hook(folder: Path, body: str, **values: Any) -> Deed:
    path = folder / "mine.py"
    path.write_text(f"from autoexp.errors import HookRefused\ndef prepare(job_dir, **values):\n    {body}\n")
    return Deed(name="hook", hook=HookCall(name="mine", path=str(path), values=values))


def test_people_are_told_by_the_stages_command_which_no_log_line_changes(owing: Owing, tmp_path: Path) -> None:
    seen = "(job_dir / 'told').write_text(repr(values))"
    ledger = owing(Deed(name="notify", text="{job}: {line}", hook=hook(tmp_path, seen, command="echo {line}").hook))

    (said,) = answer(ACTION, ledger, 1.0)

    assert said == Answered(at=1.0, event="spike", number=1, done=("notify: one: loss spike at 7",))
    values = {"command": "echo {line}", "text": "one: loss spike at 7"}
    assert (ledger.dir_of("one") / "told").read_text() == repr(values)


def test_a_line_is_appended_with_what_was_seen_and_a_message_kept(owing: Owing) -> None:
    append = Deed(name="append", path="notes/{event}.txt", text="{job} of {study}: {1} in {line}")
    ledger = owing(append, Deed(name="log", text="at {iteration}"))

    (said,) = answer(ACTION, ledger, 1.0)

    text = "one of demo: 7 in loss spike at 7"
    assert said == Answered(at=1.0, event="spike", number=1, done=(f"append: {text}", "log: at 5"))
    assert (ledger.dir_of("one") / "notes/spike.txt").read_text() == f"{text}\n"


def test_what_is_asked_of_the_job_speaks_of_the_attempt_that_it_happened_in(owing: Owing) -> None:
    asked = list(answer(ACTION, owing(Deed(name="restart", values={"lr": 0.5})), 1.0))

    reason = "event spike: loss spike at 7"
    wanted = Requested(at=1.0, attempt=2, verb=Verb.RESTART, reason=reason, params={"lr": 0.5})
    assert asked == [wanted, Answered(at=1.0, event="spike", number=1, done=("restart",))]


def test_finish_is_what_the_marker_succeed_asks(owing: Owing) -> None:
    asked, _ = answer(ACTION, owing(Deed(name="finish", text="enough at {1}")), 1.0)

    assert isinstance(asked, Requested)
    assert (asked.verb, asked.reason) == (Verb.SUCCEED, "enough at 7")


def test_a_hook_is_called_with_what_was_seen(owing: Owing, tmp_path: Path) -> None:
    ledger = owing(hook(tmp_path, "(job_dir / 'seen').write_text(values['at'])", at="iteration {1}"))

    (said,) = answer(ACTION, ledger, 1.0)

    assert isinstance(said, Answered)
    assert (said.done, said.problems) == (("hook: mine",), ())
    assert (ledger.dir_of("one") / "seen").read_text() == "iteration 7"


def test_a_hook_that_breaks_is_told_and_keeps_nothing_else_from_being_done(owing: Owing, tmp_path: Path) -> None:
    broken, said = answer(ACTION, owing(hook(tmp_path, "1 / 0"), Deed(name="cancel")), 1.0)

    assert isinstance(broken, Requested)
    assert isinstance(said, Answered)
    assert said.done == ("cancel",)
    assert "hook: the hook 'mine' broke" in said.problems[0]


def test_what_cannot_be_done_now_stays_owed(owing: Owing, tmp_path: Path) -> None:
    busy = "raise HookRefused('no', why='busy', fix='wait', temporary=True)"

    with pytest.raises(HookRefused):
        list(answer(ACTION, owing(hook(tmp_path, busy)), 1.0))


def test_an_event_whose_condition_does_not_hold_is_answered_by_nothing(owing: Owing) -> None:
    when = Condition(name="attempts_below", params={"n": 2})

    (said,) = answer(ACTION, owing(Deed(name="cancel"), when=when), 1.0)

    assert said == Answered(at=1.0, event="spike", number=1, problems=("when: 3 attempts of 2",))


def test_an_event_whose_condition_nobody_can_answer_now_stays_owed(owing: Owing) -> None:
    ledger = owing(Deed(name="cancel"), when=Condition(name="file_exists", params={"path": "y" * 300}))

    with pytest.raises(HookRefused, match="spike waits"):
        list(answer(ACTION, ledger, 1.0))


def test_what_is_answered_or_no_longer_planned_is_not_done(owing: Owing) -> None:
    ledger = owing(Deed(name="cancel"))
    job = ledger.jobs["one"]

    assert list(answer(AnswerEvent(job="one", event="spike", number=2), ledger, 1.0)) == []
    ledger.put(replace(job, spec=replace(job.spec, events=())))
    (said,) = answer(ACTION, ledger, 1.0)
    assert isinstance(said, Answered)
    assert said.problems == ("the recipe has no such event any more",)


def test_a_file_that_can_never_be_written_keeps_nothing_else_from_being_done(owing: Owing) -> None:
    paths = [".", "/proc/nothing/here", "x" * 300, "{1}\0.txt"]
    ledger = owing(*(Deed(name="append", path=path, text="7") for path in paths), Deed(name="hold"))

    asked, said = answer(ACTION, ledger, 1.0)

    assert isinstance(asked, Requested)
    assert isinstance(said, Answered)
    assert said.done == ("hold",)
    whys = ("directory", "No such", "too long", "zero byte")
    assert all(why in problem for why, problem in zip(whys, said.problems, strict=True))


def test_what_was_done_is_not_done_again_for_what_cannot_be_done_yet(owing: Owing) -> None:
    ledger = owing(Deed(name="append", path="one", text="7"), Deed(name="append", path="blocked/two", text="7"))
    folder = ledger.dir_of("one")
    (folder / "blocked").touch()  # a file where a folder is needed
    for _ in range(2):
        with pytest.raises(OSError, match="blocked"):
            list(answer(ACTION, ledger, 1.0))
    (folder / "blocked").unlink()

    (said,) = answer(ACTION, ledger, 1.0)

    assert isinstance(said, Answered)
    assert said.done == ("append: 7", "append: 7")
    assert (folder / "one").read_text() == (folder / "blocked/two").read_text() == "7\n"
    assert not ledger.half_done


# By the program itself


TRAIN = """
train:
  params: {lr: 0.8}
  command: 'echo lr ${lr}; test ${lr} != 0.8 || { echo "loss spike at 7"; sleep 100; }'
  events:
    spike:
      log: 'loss spike at (?P<at>[0-9]+)'
      do: [{append: {path: spikes.txt, text: '{job} {at}'}}, {restart: {lr: 0.4}}]
"""


def test_a_job_whose_log_says_so_is_started_anew_with_other_values(room: "Room") -> None:
    room.plan(TRAIN)

    done = room.run("watch", room.root, "--until-done")

    assert done.returncode == 0, done.stderr
    assert room.rows()["train"]["attempt"] == 2
    assert (room.attempt_dir("train", 2) / "output.log").read_text() == "lr 0.4\n"
    assert (room.job_dir("train") / "spikes.txt").read_text() == "train 7\n"
    (matched,) = (line for line in room.journal() if line["trigger"] == "log_matched")
    assert matched["evidence"]["groups"]["at"] == "7"
    assert matched["evidence"]["offset"] == len("lr 0.8\n")
    (answered,) = (line for line in room.journal() if line["trigger"] == "answered")
    assert answered["evidence"]["done"] == ["append: train 7", "restart"]


def test_a_state_has_its_events_too_and_another_stage_may_wait_for_them(room: "Room") -> None:
    stages = """
    train:
      command: exit 3
      retry: {max_attempts: 1}
      events: {broken: {state: failed, from: running, do: {submit: look}}, fine: {state: succeeded, do: {submit: rest}}}
    look: {command: echo looked}
    rest: {command: echo rested}
    """
    room.plan(stages)
    assert "broken has not happened to train yet" in json.dumps(room.inside("why", room.job_dir("look"), "--json"))

    room.run("watch", room.root, "--until-done")

    assert room.states() == {"train": "failed", "look": "succeeded", "rest": "skipped"}


def test_what_a_killed_watcher_owed_is_done_by_the_next_one_and_nothing_counts_twice(room: "Room") -> None:
    later = "while ! test -e go; do sleep 0.1; done"
    stages = f"""
    train:
      command: 'echo spike; {later}'
      events: {{spike: {{contains: spike, do: {{append: {{path: blocked/spikes.txt, text: once}}}}}}}}
    """
    room.plan(stages)
    (room.job_dir("train") / "blocked").touch()  # a file where a folder is needed
    watcher = room.watch()
    room.wait_until(lambda: any(line["trigger"] == "log_matched" for line in room.journal()))
    room.stop(watcher, signal.SIGKILL)
    (room.job_dir("train") / "blocked").unlink()

    room.watch()
    room.wait_until((room.job_dir("train") / "blocked" / "spikes.txt").exists)
    (room.job_dir("train") / "go").touch()
    room.wait_for({"train": "succeeded"})

    assert (room.job_dir("train") / "blocked" / "spikes.txt").read_text() == "once\n"
    triggers = [line["trigger"] for line in room.journal()]
    assert (triggers.count("log_matched"), triggers.count("answered")) == (1, 1)


def test_a_restart_goes_on_from_the_values_that_the_attempt_had(room: "Room") -> None:
    stages = """
    train:
      params: {lr: 0.8}
      command: 'echo lr ${lr}; test ${lr} = 0.1 || sleep 100'
      events: {spike: {contains: lr, limit: 3, do: {restart: {lr: "${calc:'${lr} / 2'}"}}}}
    """
    room.plan(stages)

    room.run("watch", room.root, "--until-done")

    logs = [(room.attempt_dir("train", number) / "output.log").read_text() for number in (1, 2, 3, 4)]
    assert logs == ["lr 0.8\n", "lr 0.4\n", "lr 0.2\n", "lr 0.1\n"]


def test_a_regular_expression_without_end_holds_nobody_up_and_is_told(room: "Room") -> None:
    stages = f"""
    train:
      command: 'echo {"a" * 64}!; echo spike; test -e go'
      retry: {{max_attempts: 1}}
      events:
        runaway: {{log: '(a+)+$', do: hold}}
        spike: {{contains: spike, do: {{append: {{path: spikes.txt, text: seen}}}}}}
    """
    room.plan(stages)

    done = room.run("watch", room.root, "--until-done")

    assert room.states() == {"train": "failed"}
    assert (room.job_dir("train") / "spikes.txt").read_text() == "seen\n"
    assert "events.runaway: '(a+)+$' took more than 1 s" in done.stderr
