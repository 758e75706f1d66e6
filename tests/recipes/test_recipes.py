"""The shipped recipes, run for real: the moves of their jobs are those of the reference log beside this file.

And broken ones, each with what is to be said of it in its first line.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autoexp import cli

if TYPE_CHECKING:
    from tests.conftest import Room

BROKEN = Path(__file__).with_name("broken")
RECIPES = Path(__file__).parents[2] / "recipes"
PINNED: dict[str, tuple[str, ...]] = {
    "demo": ("model=small", "lr=2e-3"),
    "megatron-autoexp": ("variant=cpu", "model=10M", "bias=with", "lr=1e-2", "micro_batch_size=4"),
    "fsdp_bloom": ("variant=cpu", "--where", 'stage == "scaling" and world == 2'),
    "fsdp_custom_gpt": ("variant=cpu", "strategy=hybrid_shard"),
    "modalities_sweep": (
        *("config=HOME/fsdp2.yaml", "world=4", "sequence_length=2048", "micro_batch=2"),
        "stages.train.resources={world: 2}",
    ),
    "nemo_data_parallel": (
        *("stages.import.container=null", "stages.import.resources=null"),
        *("stages.finetune.container=null", "stages.finetune.resources={world: 1}"),
        *("--where", 'stage == "finetune" and model == "llama31_8b" and world == 1'),
    ),
    "nemo_model_parallel": (
        *("stages.finetune.container=null", 'stages.finetune.resources={world: "${world}"}'),
        *("tp=2", "--where", 'model == "mixtral_8x7b"'),
    ),
    "strong_scaling": ("variant=cpu", "world=2"),
    "weak_scaling": ("variant=cpu", "world=2"),
    "oellm-multi-stage": ("variant=cpu", "lr=1e-3", "global_batch_size=64"),
}
"""One point of a recipe's sweep is enough: the others move alike, and take minutes."""
NEMO = r"""#!/usr/bin/env bash
# Stands in for a program that takes GPUs: it prints the lines of a training that went well.
[[ "$1 $2" == "llm finetune" ]] || exit 0
[[ " $* " == *" trainer.max_steps=250 "* && " $* " == *" --factory "* ]] || exit 2
for step in {0..249..83}; do
  printf 'Training epoch 0, iteration %d/249 | lr: 1e-05 | global_batch_size: 8 | global_step: %d' "$step" "$step"
  printf ' | reduced_train_loss: 0.5 | train_step_timing in s: 0.1 | consumed_samples: %d\n' "$((8 * step + 8))"
done
"""
MODALITIES = """\
import os, sys
from omegaconf import OmegaConf
print("stands in for a program that takes GPUs")
if os.environ["RANK"] == "0":
    config = OmegaConf.load(sys.argv[sys.argv.index("--config_file_path") + 1]).settings
    assert (config.step_profile.sequence_length, config.step_profile.local_train_micro_batch_size) == (2048, 2)
    print(f"    num_target_steps: {config.steps}")
    for step in range(1, config.steps + 1):
        print(f"| step: {step} | train samples/s: 4.3 | lr mean: tensor(1e-4) | train loss avg: 2.5 |")
    print("Training done at 2026-03-01 10:00:00.123456.")
"""
CONFIG = "settings: {steps: 3, step_profile: {sequence_length: 512, local_train_micro_batch_size: 1}}\n"
LONGEST = 80
"""Lines of a recipe."""
BRANCHES = {
    16: {
        "100M": (3052, 2000),
        "200M": (6104, 4000),
        "400M": (12208, 10000),
        "1B": (30518, 26000),
        "2B": (61036, 54000),
    },
    64: {"100M": (763, 500), "200M": (1526, 1000), "400M": (3052, 2000), "1B": (7630, 6000), "2B": (15259, 12000)},
    128: {"100M": (382, 250), "200M": (763, 500), "400M": (1526, 1250), "1B": (3815, 2000), "2B": (7630, 6000)},
}
"""The iterations of megatron-autoexp's cooldowns, and where they branch off, by batch and tokens; five of its points
were 0, and are corrected."""
TOLD = ("iteration", "path", "ending", "code", "reason", "parent")
"""What is compared of the evidence; the rest is of one run."""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_a_shipped_recipe_moves_as_its_reference_log_says(room: "Room", tmp_path: Path, name: str) -> None:
    room.machine(cpus=2, environment="[PYTHONPATH]")
    nemo = room.write("bin/nemo", NEMO)
    nemo.chmod(0o755)
    room.variables["PATH"] = f"{nemo.parent}:{os.environ['PATH']}"
    room.write("bin/modalities/__main__.py", MODALITIES)
    room.variables["PYTHONPATH"] = f"{RECIPES.parent}:{nemo.parent}"
    room.write("fsdp2.yaml", CONFIG)

    words = [word.replace("HOME", str(room.home)) for word in PINNED[name]]
    status = room.start("run", RECIPES / f"{name}.yaml", *words, "--machine", "bench").wait(1000)

    assert status == 0, room.said()
    moves = tmp_path / f"{name}.moves"
    moves.write_text(spell(room.journal()))
    reference = Path(__file__).with_name(moves.name)
    assert moves.read_text() == reference.read_text(), f"if this is how it is to be: cp {moves} {reference}"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_recipe_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < LONGEST


@pytest.fixture
def planned(room: "Room") -> Callable[[str], dict[str, list[dict[str, Any]]]]:
    """Plan a shipped recipe as it is, about which nothing may be odd; return its jobs by stage."""

    def plan(name: str) -> dict[str, list[dict[str, Any]]]:
        done = room.run("plan", RECIPES / f"{name}.yaml", "--machine", "slurm", "--dry-run", "--json")
        plan = json.loads(done.stdout)
        assert plan["warnings"] == []
        jobs: dict[str, list[dict[str, Any]]] = {}
        for job in plan["jobs"]:
            jobs.setdefault(job["stage"], []).append(job)
        return jobs

    return plan


Planned = Callable[[str], dict[str, list[dict[str, Any]]]]


def test_megatron_autoexp_has_the_jobs_of_the_original(planned: Planned) -> None:
    jobs = planned("megatron-autoexp")

    assert {stage: len(group) for stage, group in jobs.items()} == {
        "pretrain": 90,
        "cooldown": 450,
        "convert_eval": 540,
    }
    parents = [job["needs"][0].partition("-")[0] for job in jobs["convert_eval"]]
    assert (parents.count("pretrain"), parents.count("cooldown")) == (90, 450)


def test_megatron_autoexp_has_the_values_of_the_original(planned: Planned) -> None:
    jobs = planned("megatron-autoexp")

    for job in jobs["cooldown"]:
        params = job["params"]
        assert (params["train_iters"], params["branch"]) == BRANCHES[params["global_batch_size"]][params["tokens"]]
        assert params["decay"] == int(0.1 * params["train_iters"])
        assert job["needs"] == [job["job"].replace("cooldown", "pretrain").rpartition("-tokens")[0]]
    known = {(p["global_batch_size"], p["train_iters"]) for p in (job["params"] for job in jobs["pretrain"])}
    assert known == {(16, 61036), (64, 15259), (128, 7630)}
    small = [job["params"] for job in jobs["pretrain"] if job["values"]["model"] == "10M"]
    assert {(p["global_batch_size"], p["warmup"]) for p in small} == {(16, 585), (64, 146), (128, 73)}
    assert all(p["wd"] == pytest.approx(1e-4 / p["lr"]) for p in small)


def test_oellm_s_decays_go_on_from_their_own_siblings(planned: Planned) -> None:
    jobs = planned("oellm-multi-stage")

    assert {stage: len(group) for stage, group in jobs.items()} == {"stable": 9, "decay6B": 9}
    assert all(job["needs"] == [job["job"].replace("decay6B", "stable")] for job in jobs["decay6B"])


def test_no_model_is_asked_to_fit_where_it_does_not(planned: Planned) -> None:
    grid = [
        (job["values"]["model"], job["params"]["world"], job["params"]["ep"])
        for job in planned("nemo_data_parallel")["finetune"]
    ]

    assert grid == [
        *(("llama31_8b", world, 1) for world in (1, 2, 4, 8)),
        *(("mixtral_8x7b", world, world) for world in (2, 4, 8)),
    ]


def test_model_parallel_runs_train_all_weights_and_use_all_of_their_gpus(room: "Room") -> None:
    room.run("plan", RECIPES / "nemo_model_parallel.yaml", "--machine", "slurm", "--root", room.root)

    found = {}
    for folder in (room.root / "nemo_model_parallel" / "jobs").iterdir():
        script = " ".join((folder / "run.sh").read_text().split())
        found[folder.name] = (
            "peft=none" in script,
            int(re.findall(r"--gres=gpu:(\d+)", script)[0]),
            int(re.findall(r"tensor_model_parallel_size=(\d+)", script)[0]),
            int(re.findall(r"expert_model_parallel_size=(\d+)", script)[0]),
        )
    assert found == {
        **{f"finetune-tp{tp}-modelllama31_8b": (True, tp, tp, 1) for tp in (2, 4, 8)},
        **{f"finetune-tp{tp}-ep2-modelmixtral_8x7b": (True, 2 * tp, tp, 2) for tp in (2, 4)},
    }


def test_gpus_that_a_grid_does_not_divide_are_refused(room: "Room") -> None:
    done = room.run("plan", RECIPES / "nemo_model_parallel.yaml", "world=6", "--machine", "slurm", "--dry-run")

    assert done.returncode == 1
    assert "the point {'tp': 4, 'model': 'llama31_8b'} is not what the sweep requires" in done.stderr


def spell(records: list[dict[str, Any]]) -> str:
    """Write each job's moves down, in their order; jobs that do not wait for each other go on in any."""
    jobs = sorted({record["job"] for record in records})
    return "\n".join(f"{job}\n{''.join(_line(r) for r in records if r['job'] == job)}" for job in jobs)


def _line(record: dict[str, Any]) -> str:
    told = {key: value for key, value in record["evidence"].items() if key in TOLD}
    words = [f"{record['trigger']}: {record['from'] or 'unborn'} -> {record['to']}"]
    words += [f"{key} {value}" for key, value in told.items()]
    return f"  {' | '.join([*words, *record['actions']])}\n"


@pytest.mark.parametrize("recipe", sorted(BROKEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_broken_recipe_is_refused_with_what_why_fix_and_the_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    says = recipe.read_text().split("\n")[0].removeprefix("# says: ")

    status = cli.main(["plan", str(recipe)])

    what, why, fix = capsys.readouterr().err.splitlines()
    assert status == 1
    assert what.startswith(f"autoexp: {recipe}:{says}")
    assert why.startswith("  why: ")
    assert fix.startswith("  fix: ")
    assert list(tmp_path.iterdir()) == []


def test_there_are_fifty_broken_recipes() -> None:
    assert len(list(BROKEN.glob("*.yaml"))) >= 50
