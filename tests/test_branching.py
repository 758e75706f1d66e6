"""What a cooldown needs, and what its log must say."""

from typing import Any

import pytest

from autoexp.branching import astray, branch_point, deletes, troubles, unconfirmed
from autoexp.logs import LogFacts
from autoexp.model import HookCall, JobSpec

WSD: dict[str, Any] = {
    "train-iters": 11,
    "lr": 0.01,
    "min-lr": 0.001,
    "lr-decay-style": "WSD",
    "lr-decay-iters": 11,
    "lr-wsd-decay-iters": 3,
    "lr-wsd-decay-style": "linear",
    "override-opt_param-scheduler": True,
    "global-batch-size": 4,
}
PARENT = {"lr": 0.01, "min_lr": 0.001, "global_batch_size": 4}
CALL = HookCall(name="cooldown_symlink", path="", values={"from": "x", "iteration": 8})
COOLDOWN = JobSpec(id="a", study="s", stage="t", args=WSD, prepare=(CALL,))


def test_a_right_cooldown_has_no_trouble() -> None:
    assert list(troubles(WSD, 8, PARENT)) == []
    assert list(troubles({**WSD, "lr": "1e-2", "lr-decay-iters": "11"}, 8, PARENT)) == []
    assert list(troubles({"train-iters": 11}, 8, PARENT)) == []
    assert list(troubles({**WSD, "lr-wsd-decay-iters": 2}, 8, PARENT)) == [], "the rate stays for a while, then decays"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"train-iters": 8, "lr-decay-iters": 11}, "end at once"),
        ({"train-iters": 3, "lr-decay-iters": 11}, "end at once"),
        ({"lr-wsd-decay-iters": 4}, "the decay would take 4"),
        ({"lr-wsd-decay-iters": 0}, "the decay would take 0"),
        ({"lr-wsd-decay-iters": None}, "nobody says how long the decay is"),
        ({"lr-decay-iters": 20}, "training ends at 11, and the decay only at 20"),
        ({"lr-decay-style": None}, "the decay is linear"),
        ({"lr-decay-style": "cosine"}, "the decay is cosine"),
        ({"override-opt_param-scheduler": None}, "own schedule"),
        ({"override-opt_param-scheduler": False}, "own schedule"),
        ({"use-checkpoint-opt_param-scheduler": True}, "pretraining's"),
        ({"finetune": True}, "dropped"),
        ({"no-load-optim": True}, "optimizer would start anew"),
        ({"ckpt-step": 8}, "every restart"),
        ({"lr": 0.005}, "the pretraining's 0.01"),
        ({"min-lr": 0.0}, "the pretraining's 0.001"),
        ({"global-batch-size": 8}, "the pretraining's 4"),
    ],
)
def test_each_trap_is_found_and_has_a_fix(change: dict[str, Any], why: str) -> None:
    found = list(troubles({**WSD, **change}, 8, PARENT))

    assert len(found) == 1
    assert why in found[0][0]
    assert found[0][1]


@pytest.mark.parametrize(
    ("args", "policy"),
    [
        ({}, ""),
        ({"save-retain-interval": 3}, "--save-retain-interval 3"),
        ({"save_retain_interval": 4}, ""),
        ({"save_retain_interval": None}, ""),
        ({"keep-last": 2}, "--keep-last 2"),
    ],
)
def test_a_policy_that_deletes_the_branch_point_is_named(args: dict[str, Any], policy: str) -> None:
    assert deletes(args, 8) == policy


def test_only_a_cooldown_has_a_branch_point() -> None:
    assert branch_point(COOLDOWN) == 8
    assert branch_point(JobSpec(id="a", study="s", stage="t")) is None


@pytest.mark.parametrize(
    ("log", "why"),
    [
        pytest.param(LogFacts(), "", id="nothing yet"),
        pytest.param(LogFacts(loaded=8), "", id="at the branch point"),
        pytest.param(LogFacts(loaded=10), "", id="its own progress"),
        pytest.param(LogFacts(loaded=8, first_iteration=9, first_lr=0.007), "", id="as measured"),
        pytest.param(LogFacts(loaded=8, first_iteration=11, first_lr=0.001), "", id="as measured at its end"),
        pytest.param(LogFacts(loaded=8, first_iteration=9, first_lr=0.01), "learning rate", id="no decay"),
        pytest.param(LogFacts(loaded=8, first_iteration=9, first_lr=0.001), "learning rate", id="decayed already"),
        pytest.param(LogFacts(loaded=8, first_iteration=9), "", id="it reports no learning rate"),
        pytest.param(LogFacts(lost="will start from random"), "random", id="random weights"),
        pytest.param(LogFacts(lost="Invalid metadata file"), "Invalid metadata", id="a garbled tracker"),
        pytest.param(LogFacts(loaded=4), "from iteration 4", id="an older checkpoint"),
        pytest.param(LogFacts(first_iteration=1), "iteration 1", id="from the very first, without a word"),
    ],
)
def test_a_log_tells_where_a_cooldown_began(log: LogFacts, why: str) -> None:
    found = astray(COOLDOWN, log)

    assert why in found
    assert bool(found) == bool(why)


@pytest.mark.parametrize("shift", [{"fp16": True}, {"rampup-batch-size": [1, 1, 8]}, {"lr-decay-style": "linear"}])
def test_a_rate_that_skipped_steps_may_shift_proves_nothing(shift: dict[str, Any]) -> None:
    spec = JobSpec(id="a", study="s", stage="t", args={**WSD, **shift}, prepare=(CALL,))

    assert astray(spec, LogFacts(first_iteration=9, first_lr=0.01)) == ""


BOTH = "its log does not confirm that it went on from iteration 8 or its learning rate"
WHERE = "its log does not confirm that it went on from iteration 8"
RATE = "its log does not confirm its learning rate"


@pytest.mark.parametrize(
    ("args", "log", "said"),
    [
        pytest.param({}, LogFacts(), BOTH, id="a log of something else"),
        pytest.param({}, LogFacts(loaded=8, done=True), RATE, id="shorter than its log-interval"),
        pytest.param({}, LogFacts(loaded=8, first_iteration=9), RATE, id="reports without a learning rate"),
        pytest.param({}, LogFacts(loaded=8, first_iteration=9, first_lr=0.007), "", id="as it should be"),
        pytest.param(
            {}, LogFacts(first_iteration=11, first_lr=0.001), WHERE, id="the first report may be of a start at 0"
        ),
        pytest.param(
            {"log-interval": 1}, LogFacts(first_iteration=9, first_lr=0.007), "", id="a start at 0 would show"
        ),
        pytest.param({"fp16": True}, LogFacts(loaded=8), "", id="flags that do not tell the learning rate"),
    ],
)
def test_what_the_log_of_a_cooldown_never_told_is_not_taken_for_confirmed(
    args: dict[str, Any], log: LogFacts, said: str
) -> None:
    spec = JobSpec(id="a", study="s", stage="t", args={**WSD, **args}, prepare=(CALL,))

    assert astray(spec, log) == "", "and none of these fails"
    assert unconfirmed(spec, log) == said


def test_a_run_that_is_no_cooldown_has_nothing_to_confirm() -> None:
    assert unconfirmed(JobSpec(id="a", study="s", stage="t", args=WSD), LogFacts()) == ""
