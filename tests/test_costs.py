from collections.abc import Callable

import pytest

from autoexp.costs import Cost, cost_of
from autoexp.machine import Machine
from autoexp.plan import Planner

Plans = Callable[..., Planner]
GPUS = "resources: {gpus_per_node: %d, walltime: %s}"
TRAIN = f"pre: {{backend: megatron, args: {{train-iters: 100, save-interval: 40}}, {GPUS % (4, '3h')}}}"
CONVERT = f"conv: {{each: {{checkpoint: pre}}, command: [c, '${{checkpoint}}'], {GPUS % (1, '1h')}}}"


@pytest.fixture
def cost(planner: Plans) -> Callable[..., Cost]:
    """Plan a recipe of these stages, and say what it costs."""

    def told(*stages: str) -> Cost:
        text = "\n  ".join(("study: s\nsweep: {params: {seed: [1, 2]}}\nstages:", *stages))
        return cost_of(planner(text, machine=Machine(name="m", executor="slurm")).plan())

    return told


Costs = Callable[..., Cost]


def test_all_gpus_of_all_nodes_are_counted_for_the_whole_walltime(cost: Costs) -> None:
    assert cost("a: {command: [x], resources: {nodes: 2, gpus_per_node: 4, walltime: 30m}}") == Cost(8, {}, ())
    assert cost("a: {command: [x], resources: {nodes: 2, walltime: 30m}}") == Cost(0, {}, ())
    assert cost("a: {command: [x], resources: {gpus_per_node: 1}}") == Cost(0, {"a": 2}, ())


def test_jobs_that_will_appear_are_counted_by_what_their_training_saves(cost: Costs) -> None:
    score = f"score: {{each: {{job: conv}}, command: [s], {GPUS % (1, '30m')}}}"

    assert cost(TRAIN, CONVERT) == Cost(24 + 2 * 3, {}, ())
    assert cost(TRAIN, CONVERT, score) == Cost(24 + 2 * 3 + 2 * 3 / 2, {}, ())
    assert cost(TRAIN, CONVERT.replace("pre}", "pre, from: 41}")) == Cost(24 + 2 * 2, {}, ())
    assert cost(TRAIN, CONVERT.replace("pre}", "pre, batch: 2}").replace(", '${checkpoint}'", "")) == Cost(28, {}, ())
    assert cost(TRAIN, CONVERT.replace(", walltime: 1h", "")) == Cost(24, {"conv": 6}, ())


def test_stages_whose_jobs_nobody_can_count_are_named(cost: Costs) -> None:
    untold = TRAIN.replace("train-iters: 100", "train-samples: 100")

    assert cost(untold, CONVERT) == Cost(24, {}, ("conv",))
    assert cost(untold, CONVERT.replace("gpus_per_node: 1", "cpus: 1")) == Cost(24, {}, ())


def test_what_is_unknown_is_named_with_the_reason(cost: Costs) -> None:
    untold = TRAIN.replace("train-iters: 100", "train-samples: 100").replace(", walltime: 3h", "")

    assert cost(untold, CONVERT).unknown() == [
        "pre (2 without a walltime)",
        "conv (nobody knows how many jobs it will have)",
    ]
