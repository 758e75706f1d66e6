from collections.abc import Callable
from typing import Any

Warned = Callable[..., list[dict[str, Any]]]


def test_a_plan_without_slips_is_told_nothing(warned: Warned) -> None:
    more = """
        sweep:
          params: {lr: [1, 2], single: 3}
          configs: {model: [{small: {width: 1}}, {large: {width: 2}}]}
          groups: [{params: {seed: [1, 2]}}]
        """

    assert warned("a: {command: [run, '${lr}', \"${calc:'${width} + 1'}\", '${ seed }']}\n", more) == []


def test_more_gpu_hours_than_the_budget_has_are_told(warned: Warned) -> None:
    stages = "train: {command: [run], resources: {gpus_per_node: 8, walltime: 3h}}\n"

    assert warned(stages, "budget: {gpu_hours: 24}\n") == []
    (found,) = warned(stages, "budget: {gpu_hours: 23}\n")
    assert "one attempt of each job may take 24 GPU hours, and the budget is 23" in found["message"]
