from collections.abc import Callable
from typing import Any

import pytest

Warned = Callable[..., list[dict[str, Any]]]
WSD = """
pretrain:
  backend: megatron
  args: {train-iters: 1000, save-interval: 100, lr: 1e-2%s}
cooldown:
  sweep: {params: {branch: [%s]}}
  backend: megatron
  prepare: {cooldown_symlink: {from: "${sibling.pretrain.checkpoints}", iteration: "${branch}"}}
  args: {train-iters: "${calc:'${branch} + 50'}", lr: 1e-2%s}
"""


def codes(found: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {each["code"]: each["jobs"] for each in found}


def test_cooldowns_are_to_branch_where_something_is_saved_and_after_the_beginning(warned: Warned) -> None:
    assert codes(warned(WSD % ("", "100, 900, 1000", ""))) == {}
    assert codes(warned(WSD % ("", "0, 100, 150, 250", ""))) == {
        "branch-at-zero": ["cooldown-branch0"],
        "branch-not-saved": ["cooldown-branch150", "cooldown-branch250"],
    }
    assert codes(warned(WSD % (", save-extra-steps: [150]", "150, 300", ""))) == {}


def test_a_cooldown_that_may_begin_before_its_branch_point_is_there_is_told(warned: Warned) -> None:
    start = "  start: {checkpoint_reached: {stage: pretrain, iteration: %s}}\n"
    stages = WSD % ("", "300", "")

    assert codes(warned(stages + start % 200)) == {"branch-too-early": ["cooldown-branch300"]}
    assert codes(warned(stages + start % 300)) == {}
    both = "{checkpoint_reached: {stage: pretrain, iteration: 200}}, {job_succeeded: {stage: pretrain}}"
    assert codes(warned(f"{stages}  start: {{all: [{both}]}}\n")) == {}


def test_a_branch_point_that_the_pretraining_would_delete_is_told(warned: Warned) -> None:
    assert codes(warned(WSD % (", save-retain-interval: 500", "500, 600", ""))) == {
        "branch-deleted": ["cooldown-branch600"]
    }


def test_flags_that_make_no_cooldown_are_told_each_kind_once(warned: Warned) -> None:
    flags = ", lr-decay-style: WSD, lr-wsd-decay-iters: 70, min-lr: 1e-5, override-opt_param-scheduler: true"

    (found,) = warned(WSD % (", min-lr: 1e-5", "100, 200", flags))

    assert (found["code"], found["jobs"]) == ("cooldown-flags", ["cooldown-branch100", "cooldown-branch200"])
    assert "200: the decay would take 70 iterations, and there are 50 from 100 to 150; give" in found["message"]


@pytest.mark.parametrize(("branch", "told"), [("75.0", True), ("75.5", True), ("yes", True), ("100", False)])
def test_a_branch_point_that_is_no_whole_number_is_told(warned: Warned, branch: str, told: bool) -> None:  # noqa: FBT001 - a parameter
    found = warned(WSD % ("", branch, ""))

    assert ("branch-not-whole" in codes(found)) is told


@pytest.mark.parametrize(("branch", "told"), [(800, True), (700, False)])
def test_a_cooldown_from_within_its_parent_s_own_decay_is_told(warned: Warned, branch: int, told: bool) -> None:  # noqa: FBT001 - a parameter
    flags = f", lr-decay-style: WSD, lr-wsd-decay-iters: {1000 - branch}, lr-decay-iters: 1000, min-lr: 1e-5"
    flags += ", override-opt_param-scheduler: true"
    decays = ", lr-decay-style: WSD, lr-wsd-decay-iters: 300, min-lr: 1e-5"
    recipe = (WSD % (decays, branch, flags)).replace("\"${calc:'${branch} + 50'}\"", "1000")

    found = warned(recipe)

    assert codes(found) == ({"branch-in-decay": ["cooldown-branch800"]} if told else {})
    assert not told or "it branches off at 800, and the rate of pretrain falls from 700 on" in found[0]["message"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("lr-decay-style: WSD, lr-decay-iters: 90", True),
        ("lr-decay-style: cosine, lr-decay-iters: 90, min-lr: 0", True),
        ("lr-decay-style: cosine, lr-decay-iters: 90, min-lr: 1e-5", False),
        ("lr-decay-style: constant, lr-decay-iters: 90", False),
        ("lr-decay-style: WSD, lr-decay-iters: 100", False),
        ("lr-decay-style: WSD", False),
    ],
)
def test_a_schedule_that_ends_before_the_training_is_told(warned: Warned, flags: str, told: bool) -> None:  # noqa: FBT001 - a parameter
    found = warned(f"train: {{backend: megatron, args: {{train-iters: 100, lr: 1, {flags}}}}}\n")

    assert ["its last 10 iterations train with a learning rate of 0" in each["message"] for each in found] == [
        True
    ] * told


def test_a_training_without_an_iteration_is_told(warned: Warned) -> None:
    found = warned("train: {backend: megatron, args: {train-iters: 0, lr: 1}}\n")

    assert codes(found) == {"no-iteration": ["train"]}


def test_what_waits_for_an_iteration_that_never_comes_is_told(warned: Warned) -> None:
    stages = """
        train: {backend: megatron, args: {train-iters: 100, save-interval: 10}}
        later: {start: {checkpoint_reached: {stage: train, iteration: 101}}, command: [run]}
        fine: {start: {checkpoint_reached: {stage: train, iteration: 100}}, command: [run]}
        either:
          start: {any: [{checkpoint_reached: {stage: train, iteration: 500}}, {job_succeeded: {stage: train}}]}
          command: [run]
        """

    assert codes(warned(stages)) == {"never-starts": ["later"]}


def test_jobs_for_the_checkpoints_of_what_saves_none_never_appear(warned: Warned) -> None:
    (found,) = warned("a: {command: [run]}\nb: {each: {checkpoint: a}, command: [run]}")

    assert (found["code"], found["where"].partition(": ")[2]) == ("never-starts", "stages.b.each")


@pytest.mark.parametrize(
    ("each", "codes"), [("from: 20", ["never-starts"]), ("every: 11", ["never-starts"]), ("from: 9", [])]
)
def test_jobs_for_checkpoints_after_the_end_of_a_training_never_appear(
    warned: Warned, each: str, codes: list[str]
) -> None:
    train = "train: {backend: megatron, params: {program: x.py}, args: {train-iters: 10}}"

    found = warned(f"{train}\nb: {{each: {{checkpoint: train, {each}}}, command: [run, '${{iteration}}']}}")

    assert [one["code"] for one in found] == codes


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("{metadata_equals: {key: nope, value: 3}}", "its nope is nothing that it has"),
        ("{metadata_equals: {key: lr, value: 3}}", "its lr is 1, and waits for 3"),
        ("{checkpoint_reached: {stage: prepare, iteration: 5}}", "which is no training"),
        ("{any: [{metadata_equals: {key: lr, value: 3}}, {metadata_equals: {key: wd, value: 1}}]}", "its lr is 1"),
    ],
)
def test_a_stage_that_can_never_start_is_told(warned: Warned, start: str, says: str) -> None:
    stages = f"prepare: {{command: [run]}}\ntrain: {{command: [run, '${{lr}}'], start: {start}}}"

    found = warned(stages, "params: {lr: 1}\n")

    assert [each["code"] for each in found] == ["never-starts"]
    assert says in found[0]["message"]


@pytest.mark.parametrize(
    "start",
    [
        "{metadata_equals: {key: lr, value: 1}}",
        "{any: [{metadata_equals: {key: lr, value: 3}}, {file_exists: {path: go}}]}",
        "{not: {metadata_equals: {key: lr, value: 3}}}",
    ],
)
def test_a_stage_that_may_start_is_not(warned: Warned, start: str) -> None:
    assert warned(f"train: {{command: [run, '${{lr}}'], start: {start}}}", "params: {lr: 1}\n") == []


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ("lr-decay-style: WSD, lr-decay-iters: 50, lr-wsd-decay-iters: 60, train-iters: 50", "schedule"),
        ("lr-decay-style: WSD, lr-wsd-decay-iters: 60, train-iters: 50", "schedule"),
        ("lr-decay-style: WSD, lr-decay-iters: 60, lr-wsd-decay-iters: 10, train-iters: 50", "schedule"),
        ("lr-warmup-iters: 60, train-iters: 50", "schedule"),
        ("lr-decay-iters: 40, train-iters: 50", "zero-learning-rate"),
        ("lr-decay-style: cosine, lr-decay-iters: 60, train-iters: 50", None),
        ("lr-decay-style: constant, lr-decay-iters: 40, train-iters: 50", None),
        ("lr-warmup-iters: 50, train-iters: 50", None),
    ],
)
def test_a_schedule_whose_parts_do_not_fit_is_told(warned: Warned, args: str, code: str | None) -> None:
    found = warned(f"train: {{backend: megatron, args: {{{args}}}}}")

    assert [each["code"] for each in found] == ([code] if code else [])


def test_a_stage_that_appears_for_the_longest_trainings_only_is_fine(warned: Warned) -> None:
    stages = """
        train: {backend: megatron, args: {train-iters: "${iters}", save-interval: 100}}
        late: {each: {checkpoint: train, from: %s}, command: [run]}
        """
    sweep = "sweep: {params: {iters: [400, 4000]}}\n"

    assert codes(warned(stages % 1000, sweep)) == {}
    assert {*codes(warned(stages % 5000, sweep))} == {"never-starts"}


@pytest.mark.parametrize(
    ("every", "more", "told"),
    [
        (7, "", True),
        (50, "", False),
        (75, "", False),
        (110, "", False),
        (30, ", save-extra-steps: [30]", False),
    ],
)
def test_jobs_for_checkpoints_where_none_is_saved_never_appear(
    warned: Warned,
    every: int,
    more: str,
    told: bool,  # noqa: FBT001 - a parameter
) -> None:
    train = f"train: {{backend: megatron, args: {{train-iters: 110, save-interval: 25{more}}}}}"
    stage = f"b: {{each: {{checkpoint: train, every: {every}}}, command: [run, '${{iteration}}']}}"

    found = warned(f"{train}\n{stage}")

    assert codes(found) == ({"never-starts": ["b-train"]} if told else {})
    if told:
        assert found[0]["message"] == (
            "b-train: it appears for checkpoints at multiples of 7, and train saves none there; "
            "correct every: save-interval is 25, and it ends at 110"
        )


@pytest.mark.parametrize("interval", ["0.5", ".inf", "0"])
def test_an_odd_interval_says_nothing_of_where_is_saved(warned: Warned, interval: str) -> None:
    train = f"train: {{backend: megatron, args: {{train-iters: 110, save-interval: {interval}}}}}"

    found = warned(f"{train}\nb: {{each: {{checkpoint: train, every: 7}}, command: [run, '${{iteration}}']}}")

    assert "never-starts" not in codes(found)


def test_an_evaluation_of_megatron_s_own_trains_no_iteration(warned: Warned) -> None:
    assert warned("a: {backend: megatron, args: {train-iters: 0, skip-train: true}}") == []
