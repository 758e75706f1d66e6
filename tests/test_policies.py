from collections.abc import Callable
from typing import Any

import pytest

from autoexp.model import Answer, EndingClass, Remedy, Resources, RetryPolicy
from autoexp.policies import PolicyError, read_options, read_resources, read_retry, read_stall


@pytest.mark.parametrize(
    ("raw", "resources"),
    [
        pytest.param({}, Resources(), id="nothing"),
        pytest.param(
            {"nodes": 2, "gpus_per_node": 4, "walltime": "6h"},
            Resources(nodes=2, cpus=4, gpus_per_node=4, processes_per_node=4, walltime_s=21_600),
            id="a process for each GPU, a core for each process",
        ),
        pytest.param(
            {"gpus_per_node": 4, "processes_per_node": 1, "cpus": 16, "memory": "64GiB"},
            Resources(cpus=16, gpus_per_node=4, processes_per_node=1, memory_bytes=64 * 1024**3),
            id="as it says",
        ),
        pytest.param(
            {"world": 16, "gpus_per_node": 8},
            Resources(nodes=2, cpus=8, gpus_per_node=8, processes_per_node=8),
            id="a world size on whole nodes",
        ),
        pytest.param(
            {"world": 2, "gpus_per_node": 8},
            Resources(cpus=2, gpus_per_node=2, processes_per_node=2),
            id="a world size on a part of a node",
        ),
        pytest.param(
            {"world": 6, "processes_per_node": 2},
            Resources(nodes=3, cpus=2, processes_per_node=2),
            id="a world size of processes",
        ),
        pytest.param({"world": 3}, Resources(cpus=3, processes_per_node=3), id="a world size, and nothing else"),
    ],
)
def test_resources_follow_from_each_other(raw: dict[str, Any], resources: Resources) -> None:
    assert read_resources(raw) == resources


def test_a_retry_policy_is_read() -> None:
    raw = {
        "max_attempts": 5,
        "when": {"time_limit": "resume", "gpu_oom": "fail", "node_fail": "exclude_node"},
        "backoff": "1m",
    }

    assert read_retry(raw) == RetryPolicy(
        max_attempts=5,
        when={
            EndingClass.TIME_LIMIT: Answer(remedy=Remedy.RESUME),
            EndingClass.GPU_OOM: Answer(remedy=Remedy.FAIL),
            EndingClass.NODE_FAIL: Answer(remedy=Remedy.EXCLUDE_NODE),
        },
        backoff_s=60,
    )
    assert read_retry({"backoff": "5s"}) == RetryPolicy(max_attempts=3, backoff_s=5)


@pytest.mark.parametrize(
    "gres", ["gpu:4", "gpu:a100:4", "gpu:4090:4", "gpu:4(S:0)", "gres/gpu=4", "gpumem:20g", "gpu:a100:4,tmpdisk:100G"]
)
def test_an_option_may_say_of_which_kind_the_gpus_are_and_what_else_there_is(gres: str) -> None:
    assert read_resources({"gpus_per_node": 4, "options": {"gres": gres}}).options["gres"] == gres


def test_a_stall_is_a_duration_without_progress() -> None:
    assert read_stall({"no_progress": "30m"}) == 1_800
    assert read_stall({}) is None


def test_an_answer_says_how_often_how_soon_and_what_it_reduces() -> None:
    policy = read_retry(
        {
            "when": {
                "gpu_oom": {"reduce": {"batch": 0.5}},
                "network": {"remedy": "retry", "attempts": 5, "backoff": "1m"},
            }
        }
    )

    assert policy.when == {
        EndingClass.GPU_OOM: Answer(remedy=Remedy.RETRY, reduce={"batch": 0.5}),
        EndingClass.NETWORK: Answer(remedy=Remedy.RETRY, attempts=5, backoff_s=60.0),
    }


@pytest.mark.parametrize(
    ("read", "raw", "key", "said", "fix"),
    [
        pytest.param(
            read_resources, {"gpus": 4}, "gpus", "unknown key 'gpus'", "use one of world, nodes", id="unknown resource"
        ),
        pytest.param(
            read_resources, {"walltime": 21600}, "walltime", "21600 is no duration", "with its unit", id="bare walltime"
        ),
        pytest.param(
            read_resources, {"walltime": "0s"}, "walltime", "'0s' is no time limit", "a longer one", id="no walltime"
        ),
        pytest.param(
            *(read_resources, {"options": {"chdir": "/scratch"}}, "options.chdir", "the option chdir is autoexp's own"),
            "leave it out",
            id="an option of ours",
        ),
        pytest.param(
            *(read_resources, {"options": {"time": "1:00:00"}}, "options.time", "would go past walltime"),
            "write walltime: in a stage",
            id="an option that has a key",
        ),
        pytest.param(
            *(read_resources, {"gpus_per_node": 4, "options": {"gres": "gpu:a100:8"}}, "options.gres"),
            *("would go past gpus_per_node", "write gpus_per_node: in a stage"),
            id="other GPUs than those counted",
        ),
        pytest.param(
            *(read_options, {"options": {"gpus": 8}}, "options.gpus", "would go past gpus_per_node"),
            "write gpus_per_node: in a stage",
            id="GPUs for all of a machine's jobs",
        ),
        pytest.param(read_resources, {"memory": 64}, "memory", "64 is no size", "with its unit", id="bare memory"),
        pytest.param(
            read_resources, {"nodes": 0}, "nodes", "0 is not a whole number of at least 1", "whole", id="0 nodes"
        ),
        pytest.param(
            read_resources,
            {"world": 12, "gpus_per_node": 8},
            "world",
            "12 processes do not fill nodes of 8",
            "multiple",
            id="a world that leaves GPUs over",
        ),
        pytest.param(
            read_resources,
            {"world": 8, "nodes": 2},
            "nodes",
            "nodes follows from world",
            "one of the two",
            id="a world size, and nodes",
        ),
        pytest.param(read_resources, {"nodes": True}, "nodes", "True is not a whole number", "whole", id="a boolean"),
        pytest.param(read_resources, {"cpus": "8"}, "cpus", "'8' is not a whole number", "whole", id="text"),
        pytest.param(read_resources, {"cpus": 1.5}, "cpus", "1.5 is not a whole number", "whole", id="a fraction"),
        pytest.param(
            read_resources, {"gpus_per_node": -1}, "gpus_per_node", "of at least 0", "whole", id="a negative number"
        ),
        pytest.param(
            read_retry, {"attempts": 4}, "attempts", "unknown key 'attempts'", "max_attempts", id="unknown retry"
        ),
        pytest.param(read_retry, {"max_attempts": 0}, "max_attempts", "of at least 1", "whole", id="no attempts"),
        pytest.param(read_retry, {"backoff": 10}, "backoff", "10 is no duration", "with its unit", id="bare backoff"),
        pytest.param(
            read_retry, {"when": {"oom": "fail"}}, "when", "'oom' is no class of ending", "gpu_oom", id="unknown ending"
        ),
        pytest.param(
            read_retry,
            {"when": {"gpu_oom": "pray"}},
            "when",
            "'pray' is no remedy",
            "exclude_node",
            id="unknown remedy",
        ),
        pytest.param(
            read_retry, {"when": {"gpu_oom": ["fail"]}}, "when", "is no remedy", "use one of", id="two remedies"
        ),
        pytest.param(read_retry, {"when": "fail"}, "when", "'fail' is no answer to endings", "when:", id="no mapping"),
        pytest.param(
            read_stall, {"progress": "1m"}, "progress", "unknown key", "use one of no_progress", id="unknown stall"
        ),
        pytest.param(
            read_retry,
            {"when": {"gpu_oom": {"reduce": {"batch": 2}}}},
            "when.gpu_oom.reduce",
            "2 is no factor",
            "between 0 and 1",
            id="a factor that reduces nothing",
        ),
        pytest.param(
            read_retry,
            {"when": {"gpu_oom": {"reduce": {}}}},
            "when.gpu_oom.remedy",
            "None is no remedy",
            "use one of",
            id="an answer without a remedy",
        ),
        pytest.param(
            read_retry,
            {"when": {"network": {"remedy": "retry", "attempts": 0}}},
            "when.network.attempts",
            "0 is not a whole number of at least 1",
            "give a whole number",
            id="no attempts",
        ),
        pytest.param(
            read_stall, {"no_progress": 1800}, "no_progress", "1800 is no duration", "with its unit", id="bare"
        ),
    ],
)
def test_a_policy_that_cannot_be_read_names_its_key(
    read: Callable[[Any], object], raw: object, key: str, said: str, fix: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        read(raw)

    assert ".".join(caught.value.path) == key
    assert said in str(caught.value)
    assert fix in caught.value.fix
