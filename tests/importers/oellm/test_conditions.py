from typing import Any

import pytest

from autoexp.conditions import read_condition
from autoexp.importers.oellm.conditions import Conditions
from autoexp.importers.oellm.names import Names
from autoexp.importers.oellm.values import Values

SIBLING = "${sibling.stable.job.base_output_dir}/checkpoints"
IS_ONE = {"metadata_equals": {"key": "k", "value": 1}}


def conditions(told: list[str]) -> Conditions:
    return Conditions(Values(Names(), told.append), told.append)


@pytest.mark.parametrize(
    ("raw", "ours"),
    [
        ({"class_name": "FileExistsCondition", "path": "x"}, {"file_exists": {"path": "x"}}),
        (
            {"class_name": "FileExistsCondition", "path": f"{SIBLING}/iter_${{aux.at}}/latest.txt"},
            {"checkpoint_reached": {"stage": "stable", "iteration": "${at}"}},
        ),
        (
            {"class_name": "FileExists", "path": "${sibling.s.job.base_output_dir}/${oc.pad_iter:${aux.at}}"},
            {"checkpoint_reached": {"stage": "s", "iteration": "${at}"}},
        ),
        (
            {"class_name": "FileExists", "path": f"{SIBLING}/${{oc.pad_iter:1000}}"},
            {"checkpoint_reached": {"stage": "stable", "iteration": 1000}},
        ),
        (
            {"class_name": "FileExists", "path": f"{SIBLING}/${{oc.pad_iter:${{oc.muli:${{aux.n}},0.8}}}}/x"},
            {"checkpoint_reached": {"stage": "stable", "iteration": "${calc:'int((int(${n} * 0.8)))'}"}},
        ),
        (
            {"class_name": "FileExists", "path": f"{SIBLING}/${{oc.pad_iter:${{oc.eval:'${{aux.n}}/2'}}}}"},
            {"checkpoint_reached": {"stage": "stable", "iteration": "${calc:'int((${n}/2))'}"}},
        ),
        (
            {"class_name": "SlurmStateCondition", "job_name": "${sibling.stable.name}", "state": "FAILED"},
            {"job_state": {"stage": "stable", "state": "failed"}},
        ),
        (
            {"class_name": "LogPatternCondition", "log_path": "${sibling.stable.job.log_path}", "pattern": "E"},
            {"file_contains": {"path": "${sibling.stable.dir}/current.log", "regex": "E"}},
        ),
        (
            {"class_name": "LogPatternCondition", "log_path": "${job.log_path_current}", "pattern": "E"},
            {"log_matches": {"regex": "E"}},
        ),
        (
            {"class_name": "FileContentCondition", "path": "x", "pattern": "a.b", "mode": "contains"},
            {"file_contains": {"path": "x", "regex": r"a\.b"}},
        ),
        ({"class_name": "GlobExistsCondition", "pattern": "*.x"}, {"glob_exists": {"pattern": "*.x", "min": 1}}),
        ({"class_name": "MaxAttemptsCondition", "max_attempts": 3}, {"attempts_below": {"n": 3}}),
        ({"class_name": "CooldownCondition"}, {"elapsed": {"for": "60s"}}),
        ({"class_name": "TimeoutCondition", "timeout_seconds": 5}, {"not": {"elapsed": {"for": "5s"}}}),
        ({"class_name": "ShellCommandCondition", "command": "true"}, {"command_succeeds": {"command": "true"}}),
        (
            {"class_name": "ShellCommand", "command": "grep '${aux.x}' log"},
            {"command_succeeds": {"command": ["bash", "-c", "grep '${x}' log"]}},
        ),
        ({"class_name": "CommandCondition", "command": ["true"]}, {"command_succeeds": {"command": ["true"]}}),
        ({"class_name": "MetadataCondition", "key": "k", "equals": 1}, {"metadata_equals": {"key": "k", "value": 1}}),
        (
            {"class_name": "MetadataCondition", "key": "k", "within": ["a", 2]},
            {"any": [{"metadata_equals": {"key": "k", "value": "a"}}, {"metadata_equals": {"key": "k", "value": 2}}]},
        ),
        (
            {"class_name": "MetadataCondition", "key": "k", "equals": 1, "within": [1]},
            {"all": [IS_ONE, {"any": [IS_ONE]}]},
        ),
        (
            {"class_name": "OrCondition", "conditions": [{"class_name": "FileExists", "path": "x"}]},
            {"any": [{"file_exists": {"path": "x"}}]},
        ),
        (
            {"class_name": "NotCondition", "condition": {"class_name": "FileExists", "path": "x"}},
            {"not": {"file_exists": {"path": "x"}}},
        ),
    ],
)  # fmt: skip
def test_conditions_have_our_names(raw: dict[str, Any], ours: dict[str, Any]) -> None:
    told: list[str] = []

    assert conditions(told).one(raw) == ours
    assert told == []
    if "$" not in str(ours):
        read_condition(ours)


def test_several_conditions_must_all_hold() -> None:
    one = {"class_name": "FileExists", "path": "x"}

    assert conditions([]).all([one, {"class_name": "AlwaysTrue"}, one]) == {"all": [{"file_exists": {"path": "x"}}] * 2}


def test_one_of_several_that_always_holds_is_enough() -> None:
    either = [{"class_name": "FileExists", "path": "x"}, {"class_name": "AlwaysTrueCondition"}]

    assert conditions([]).one({"class_name": "OrCondition", "conditions": either}) == {}
    assert conditions([]).one({"class_name": "Composite", "mode": "any", "conditions": either}) == {}
    assert conditions([]).one({"class_name": "And", "conditions": either}) == {"all": [{"file_exists": {"path": "x"}}]}


@pytest.mark.parametrize(
    "raw",
    [
        {"class_name": "MoonPhaseCondition"},
        {"class_name": "SlurmStateCondition", "job_name": "x", "state": "FAILED"},
        {"class_name": "FileExists", "path": f"{SIBLING}/done.txt"},
        {"class_name": "FileExists", "path": f"{SIBLING}/step-20"},
        {"class_name": "AlwaysTrue", "persistent_pass": True},
        {"class_name": "MetadataCondition", "key": "k"},
        {"class_name": "MetadataCondition", "key": "k", "within": "${aux.some}"},
    ],
)
def test_what_means_something_else_here_is_told(raw: dict[str, Any]) -> None:
    told: list[str] = []
    conditions(told).one(raw)

    assert len(told) == 1


def test_what_has_not_the_shape_of_a_condition_stands_for_nothing() -> None:
    told: list[str] = []

    assert conditions(told).one({"class_name": "NotCondition", "condition": 3}) == {}
    assert conditions(told).one({"class_name": "AndCondition", "conditions": [3, None]}) == {}
    assert told == []


def test_what_a_job_s_metadata_filled_in_is_told() -> None:
    told: list[str] = []

    made = conditions(told).one({"class_name": "FileExists", "path": "{output_dir}/${aux.x}/done{1}"})

    assert made == {"file_exists": {"path": "{output_dir}/${x}/done{1}"}}
    assert [each.partition(" in ")[0] for each in told] == ["{output_dir}"]
