"""OELLM's steps after a training, as stages that have a job for each checkpoint. Pure.

There they run once, behind the training in its own job, on the checkpoint of `ckpt_step`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from autoexp.importers.oellm.values import Values

Tell = Callable[[str, str], None]
"""Tells, as `left-out` or `mended`, what."""
CONVERT, EVALUATE = "convert", "evaluate"
CONVERT_OPTIONS = {"arch": "architecture", "tokenizer": "tokenizer_name", "dtype": "target_params_dtype"}
RESOURCES = {"nodes": 1, "gpus_per_node": 1, "cpus": 8, "walltime": "6h"}
SITE = ("partition", "account", "qos")
"""What a cluster wants to know of every job."""


def stages(raw: Any, trainings: Mapping[str, Mapping[str, Any]], values: Values, tell: Tell) -> dict[str, Any]:
    """Write the steps as stages of the trainings."""
    listed = raw if isinstance(raw, Mapping) else {}
    if listed and not trainings:
        tell("left-out", "postprocess: no stage here trains with Megatron-LM")
        return {}
    steps = {str(name): step for name, step in listed.items() if isinstance(step, Mapping)}
    made: dict[str, Any] = {}
    for name, step in steps.items():
        kind = str(step.get("class_name", ""))
        if kind == "MegatronToHFStep":
            made[CONVERT] = {
                "each": {"checkpoint": [*trainings]},
                "hook": "megatron_to_hf",
                "with": _options(step, values),
            }
        elif kind == "OELLMEvalStep" and any(other.get("class_name") == "MegatronToHFStep" for other in steps.values()):
            made[EVALUATE] = {"each": {"job": CONVERT}, "command": [*evaluation(step, values)]}
        elif kind == "MegatronDistToTorchStep":
            tell("mended", f"postprocess.{name}: the conversion reads torch_dist itself")
        else:
            tell("left-out", f"postprocess.{name}: {kind or 'a step'} is left out: write a stage of its own")
    if made:
        tell("mended", "postprocess: every checkpoint is converted, as it appears, not only the one of ckpt_step")
    asked = {key: value for key, value in _first(trainings).items() if key in SITE}
    return {name: {**stage, "resources": {**RESOURCES, **asked}} for name, stage in made.items()}


def _first(trainings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(iter(trainings.values()), {}).get("resources", {})
    return found


def _options(step: Mapping[str, Any], values: Values) -> dict[str, Any]:
    return {name: values.value(step[key]) for name, key in CONVERT_OPTIONS.items() if step.get(key)}


def evaluation(step: Mapping[str, Any], values: Values, models: Sequence[str] = ()) -> Iterator[str]:
    """Yield the words of OELLM's evaluation program."""
    yield from ("oellm-eval", "schedule", "--local", "true")
    yield from ("--models", ",".join(models) or f"${{sibling.{CONVERT}.output}}")
    for name in ("tasks", "task_groups", "n_shot", "limit", "venv_path", "lm_eval_include_path"):
        said = values.value(step.get(name))
        if said not in (None, "", []):
            yield from (f"--{name}", ",".join(map(str, said)) if isinstance(said, list) else str(said))
    yield from (word for name in ("skip_checks", "verbose") if step.get(name) is True for word in (f"--{name}", "true"))
