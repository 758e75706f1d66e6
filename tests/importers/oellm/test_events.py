from typing import Any

import pytest

from autoexp.importers.oellm.events import Monitoring
from autoexp.importers.oellm.names import Names
from autoexp.importers.oellm.values import Values
from autoexp.policies import read_retry
from autoexp.rulebook import read_rules

RESTART, FINISH, CANCEL = ({"class_name": f"{name}Action"} for name in ("Restart", "Finish", "Cancel"))


def monitoring(told: list[str], **job: Any) -> Monitoring:
    found = Monitoring(Values(Names(), told.append), lambda code, path, said: told.append(f"{code} {path}: {said}"))
    found.read(job)
    read_retry(found.retry)
    read_rules(found.events, str, found.stages)
    return found


def line(name: str, pattern: str, action: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "pattern": pattern, "action": action, **more}


def change(before: str | None, after: str | None, action: Any) -> dict[str, Any]:
    return {"name": str(after).lower(), "transition": [before, after], "action": action}


def test_what_ends_a_job_is_answered_by_how_it_ended() -> None:
    told: list[str] = []
    found = monitoring(
        told,
        log_events=[
            line("error", "Exited with exit code 1", RESTART),
            line("slow", "DUE TO TIME LIMIT", FINISH),
            line("full", "CUDA out of memory", RESTART),
        ],
        state_events=[change("RUNNING", "CANCELLED", RESTART), change(None, "NODE_FAIL", CANCEL)],
    )

    assert found.retry == {
        "max_attempts": 3,
        "when": {"time_limit": "fail", "gpu_oom": "retry", "cancelled": "retry", "node_fail": "fail"},
    }
    assert (found.events, found.stall) == ({}, {})
    said = "error, full, cancelled: what ends is judged by how it ended, and tried 3 times at most, with growing waits"
    assert told == [f"mended ('job', 'log_events', 0): {said}"]


def test_as_many_attempts_are_made_as_a_condition_allows() -> None:
    most = {"class_name": "MaxAttemptsCondition", "max_attempts": 7}
    found = monitoring([], state_events=[{**change("RUNNING", "FAILED", RESTART), "condition": most}])

    assert found.retry == {"max_attempts": 7}


def test_that_a_line_may_be_appended_again_is_told() -> None:
    told: list[str] = []
    append = {"class_name": "AppendToFileAction", "path": "bad.txt"}

    found = monitoring(told, log_events=[line("bad", "bad node", append)])

    assert found.events["bad"]["do"] == {"append": {"path": "bad.txt", "text": "{0}"}}
    assert told[0].endswith("bad: what is appended to bad.txt is so though it may stand there already")


def test_other_lines_are_events_with_the_names_of_their_groups() -> None:
    told: list[str] = []
    bad = r"bad node ([^:\s]+)"
    append = {
        "class_name": "AppendToFileAction",
        "path": "${oc.env:HOME}/bad.txt",
        "content": "{node} {run} {match}",
        "dedup": False,
    }
    said = {"class_name": "LogAction"}
    found = monitoring(
        told,
        log_events=[
            line("bad", bad, append, pattern_type="regex", extract_groups={"node": 1}, metadata={"run": "r1"}),
            line("bad", bad, said, pattern_type="regex"),
            line("spike", "loss spike", {**RESTART, "reason": "spike of {event_name}, try {attempts}, {x}"}),
        ],
    )

    assert found.events == {
        "bad": {
            "log": bad,
            "limit": 100,
            "do": [
                {"append": {"path": "${oc.env:HOME}/bad.txt", "text": "{1} r1 {0}"}},
                {"log": "Event {event} triggered"},
            ],
        },
        "spike": {"contains": "loss spike", "limit": 3, "do": {"restart": "spike of {event}, try {attempt}, x"}},
    }
    assert told == [
        "unsure ('job', 'log_events', 2): spike: {x} is nothing that is known then, and stays a word",
    ]


def test_a_line_that_says_that_training_is_done_ends_nothing() -> None:
    told: list[str] = []
    found = monitoring(told, log_events=[line("done", "[after training is done]", FINISH), line("hit", "goal", FINISH)])

    assert found.events == {"hit": {"contains": "goal", "do": "finish"}}
    assert len(told) == 1
    assert "may come before the last save" in told[0]


def test_a_job_that_is_cancelled_for_an_error_is_not_tried_again() -> None:
    found = monitoring([], log_events=[line("error", "Exited with exit code 1", {**CANCEL, "reason": "broken"})])

    assert found.retry == {"max_attempts": 3, "when": {"crashed": "fail", "network": "fail"}}
    assert found.events == {"error": {"contains": "Exited with exit code 1", "do": {"cancel": "broken"}}}


def test_a_chain_goes_on_whatever_became_of_the_job_before() -> None:
    error = line("error", "Exited with exit code 1", CANCEL)
    found = monitoring([], chain_repeat=5, log_events=[error], state_events=[change(None, "TIMEOUT", FINISH)])

    assert (found.retry, found.events) == ({"max_attempts": 5, "queue_ahead": True}, {})


@pytest.mark.parametrize(
    ("event", "stall", "when", "mended"),
    [
        ({"inactivity_timeout_s": 300, "action": RESTART}, "30m", {"hung": "retry"}, 2),
        ({"inactivity_polls": 60, "action": CANCEL}, "60m", {"hung": "fail"}, 0),
        ({"inactivity_timeout_s": "long", "action": "Restart"}, "30m", {}, 1),
    ],
)
def test_a_silence_is_a_stall(event: dict[str, Any], stall: str, when: dict[str, str], mended: int) -> None:
    told: list[str] = []
    found = monitoring(told, log_events=[{"name": "still", "pattern_type": "inactivity", **event}])

    assert (found.stall, found.retry.get("when", {}), len(told)) == ({"no_progress": stall}, when, mended)


def test_a_silence_may_only_be_noted() -> None:
    still = {"name": "still", "inactivity_timeout_s": 3600, "action": {"class_name": "LogAction", "message": "{line}!"}}
    told: list[str] = []
    found = monitoring(told, log_events=[still], inactivity_threshold_seconds=90)

    assert "still: a job is stalled after 90s, its inactivity_threshold_seconds" in told[0]
    assert len(told) == 1
    assert found.events == {"still": {"state": "stalled", "limit": 100, "do": {"log": "{line}!"}}}
    assert found.stall == {"no_progress": "90s"}


def test_the_documentation_s_bindings_are_read() -> None:
    told: list[str] = []
    low = {"class_name": "MaxAttemptsCondition", "max_attempts": 2}
    run = {"class_name": "RunCommandAction", "command": ["python", "eval.py"]}
    seen = {"class_name": "RunCommandAction", "command": ["python", "eval.py", "{ckpt}"]}
    bound = [{"class_name": "EventAction", "conditions": [low], "action": each} for each in (run, seen)]
    events = [{"name": "save", "pattern": "saved", "actions": [{"class_name": "ErrorNoteAction", "note": "n"}, *bound]}]
    states = [{"name": "success", "actions": [{"class_name": "PublishEventAction", "event_name": "trained"}]}]
    found = monitoring(told, log_events=events, state_events=states)

    assert found.events == {
        "save": {"contains": "saved", "limit": 100, "do": {"log": "n"}},
        "save_2": {"contains": "saved", "when": {"attempts_below": {"n": 2}}, "do": {"submit": "save"}},
        "success": {"state": "succeeded", "limit": 100, "do": {"log": "trained"}},
    }
    assert found.stages == {"save": {"command": ["python", "eval.py"]}}
    assert [each.partition(": ")[0] for each in told] == ["left-out ('job', 'log_events', 0)"]
    assert "each: {checkpoint: STAGE}" in told[0]


def test_an_attempt_may_get_other_values() -> None:
    changed = {**RESTART, "adjustments": {"backend.megatron.lr": 1e-4}}
    found = monitoring([], log_events=[line("spike", "nan", changed)])

    assert found.events["spike"]["do"] == {"restart": {"lr": 1e-4}}
    assert found.values.read == {"backend.megatron.lr"}


@pytest.mark.parametrize(
    "event",
    [
        line("x", "a", {"class_name": "NewJobAction"}),
        line("x", "a", {"class_name": "RunAutoexpAction", "overrides": ["mode=evaluation"]}),
        line("x", "a", CANCEL, condition={"class_name": "ShellCommandCondition", "command": "true"}),
        line("x", "a", CANCEL, condition={"class_name": "FileExistsCondition", "path": "{ckpt}"}),
        line("x", "", CANCEL),
        line("x", "(", CANCEL, pattern_type="regex"),
        line("x", "a*", CANCEL, pattern_type="regex"),
        line("x", r"a\nb", CANCEL, pattern_type="regex"),
    ],
)
def test_what_has_no_words_is_left_out_and_told(event: dict[str, Any]) -> None:
    told: list[str] = []

    assert monitoring(told, log_events=[event]).events == {}
    assert [each.partition(":")[0] for each in told] == ["left-out ('job', 'log_events', 0)"]


def test_states_that_slurm_does_not_have_are_told() -> None:
    told: list[str] = []
    events = [change("RUNNING", "FINISHED", RESTART), change("PENDING", "RUNNING", {"class_name": "LogAction"})]
    found = monitoring(told, state_events=events)

    assert found.events["running"] | {"do": 0} == {"state": "running", "from": "queued", "limit": 100, "do": 0}
    assert len(told) == 1
    assert "FINISHED after RUNNING is no state of Slurm's" in told[0]


def test_what_has_not_the_shape_of_an_event_stands_for_nothing() -> None:
    odd = [3, {"actions": 3}, {"pattern": "x", "action": {"class_name": "LogAction"}, "extract_groups": 1}]
    bound = {"pattern": "x", "actions": [3, {**CANCEL, "conditions": 3}]}
    found = monitoring([], log_events=[*odd, bound], state_events={}, chain_repeat="x", metadata=1)

    assert [rule["do"] for rule in found.events.values()] == [{"log": "Event {event} triggered"}, "cancel"]
