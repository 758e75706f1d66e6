"""Sweeps of the forms that OELLM's documentation shows, each with the count that it promises."""

import re

import pytest
import yaml

from autoexp.errors import RecipeError
from tests.importers.conftest import Import

MEGATRON = "backend.megatron."
"""What M. stands for below."""
GRID = """\
sweep:
  base_values: {M.num_layers: 4, project.name: "e_\\\\${M.lr}"}
  grids:
    - M.lr: [1e-4, 5e-4, 1e-3]
      M.global_batch_size: [64, 128, 256]
"""
STRATEGIES = """\
sweep:
  type: list
  defaults: {project.name: "t_\\\\${stage}"}
  groups:
    - type: product
      groups: [{params: {M.lr: LRS}}, {params: {M.global_batch_size: [64, 128]}}]
      defaults: {stage: small, M.train_iters: 5000}
      FILTER
    - type: product
      groups: [{params: {M.lr: [2e-4, 4e-4, 8e-4]}}, {params: {M.global_batch_size: [256, 512]}}]
      defaults: {stage: large, M.train_iters: 5000}
    - configs:
        - {stage: production, M.lr: 1e-3, M.train_iters: 100000}
        - {stage: production, M.lr: 2e-3, M.train_iters: 200000}
"""
STRATEGIES_14 = STRATEGIES.replace("LRS", "[1e-4, 2e-4, 4e-4]").replace("      FILTER\n", "")
STRATEGIES_NESTED = STRATEGIES.replace("LRS", "[1e-4, 2e-4, 4e-4, 2e-3]").replace(
    "FILTER", "filter: \"\\\\${oc.eval:'\\\\${M.lr} <= 1e-3'}\""
)
TWO_STAGES = """\
sweep:
  type: list
  groups:
    - params: {M.lr: [1e-4, 5e-4, 1e-3], M.global_batch_size: [64, 128, 256]}
      defaults: {stage: stable, M.train_iters: 18000}
    - params: {M.lr: [1e-4, 5e-4, 1e-3], M.global_batch_size: [64, 128, 256]}
      defaults:
        stage: decay
        M.train_iters: 36000
        M.load: "\\\\${sibling.stable.output_dir}/checkpoints"
      job.start_conditions:
        - {class_name: FileExistsCondition, path: "\\\\${sibling.stable.output_dir}/checkpoints/done.txt"}
      job.cancel_conditions:
        - {class_name: SlurmStateCondition, job_name: "\\\\${sibling.stable.name}", state: FAILED}
"""
LADDER = """\
backend: {megatron: {seq_length: 1024, save_interval: 100, lr_decay_style: WSD, lr: 0, aux: {tokens: 0, share: 0.0}}}
sweep:
  type: product
  groups:
    - type: list
      configs: [{M.wandb_project: p}]
    - type: list
      configs:
        - {type: product, params: {M.lr: [1e-4, 2e-4, 4e-4], M.global_batch_size: [64, 128]}}
        - {type: product, params: {M.lr: [1e-3, 2e-3, 4e-3], M.global_batch_size: [8, 16, 32]}}
    - type: list
      configs:
        - stage: stable
          M.aux.tokens: 100_000_000
          M.train_iters: ITERS
          M.lr_wsd_decay_iters: 0
        - type: list
          defaults:
            M.aux.share: 0.2
            M.train_iters: ITERS
            M.lr_wsd_decay_iters: "\\\\${oc.muli:\\\\${M.train_iters},\\\\${M.aux.share}}"
            M.aux.last: "\\\\${oc.subi:\\\\${M.train_iters},\\\\${M.lr_wsd_decay_iters}}"
            M.aux.at: "\\\\${oc.eval:'\\\\${M.aux.last} // \\\\${M.save_interval} * \\\\${M.save_interval}'}"
            M.load: "\\\\${sibling.stable.job.base_output_dir}/checkpoints"
            M.ckpt_step: "\\\\${M.aux.at}"
            job.start_condition:
              class_name: FileExistsCondition
              path: "\\\\${sibling.stable.job.base_output_dir}/checkpoints/iter_\\\\${M.aux.at}/x"
          configs:
            - {stage: d60, M.aux.tokens: 60_000_000}
            - {stage: d70, M.aux.tokens: 70_000_000}
            - {stage: d80, M.aux.tokens: 80_000_000}
            - {stage: d90, M.aux.tokens: 90_000_000}
""".replace(
    "ITERS",
    "\"\\\\${oc.cdivi:\\\\${M.aux.tokens},\\\\${oc.eval:'\\\\${M.seq_length} * \\\\${M.global_batch_size}'}}\"",
)
FILTERED = """\
sweep:
  type: product
  groups:
    - M.lr: [1e-4, 5e-4, 1e-3, 2e-3]
    - M.global_batch_size: [64, 128, 256, 512, 1024]
  filter: "\\\\${oc.eval:'not (\\\\${M.lr} > 1e-3 and \\\\${M.global_batch_size} > 256)'}"
"""


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        pytest.param(GRID, {"train": 9}, id="a grid"),
        pytest.param(STRATEGIES_14, {"small": 6, "large": 6, "production": 2}, id="strategies one after the other"),
        pytest.param(STRATEGIES_NESTED, {"small": 6, "large": 6, "production": 2}, id="a filter on one level"),
        pytest.param(TWO_STAGES, {"stable": 9, "decay": 9}, id="two stages"),
        pytest.param(LADDER, {"stable": 15, "d60": 15, "d70": 15, "d80": 15, "d90": 15}, id="a ladder of decays"),
        pytest.param(FILTERED, {"train": 18}, id="a filter that drops two of twenty"),
        pytest.param("backend: {megatron: {lr: 1}}\nsweep: {type: list, groups: []}\n", {"train": 1}, id="no sweep"),
    ],
)
def test_a_sweep_has_the_jobs_that_it_is_documented_to_have(
    text: str, counts: dict[str, int], imported: Import
) -> None:
    assert imported(text.replace("M.", MEGATRON), dialect="oellm").counts == counts


def test_each_decay_belongs_to_the_stable_job_of_its_own_point(imported: Import) -> None:
    plan = imported(TWO_STAGES.replace("M.", MEGATRON), dialect="oellm").plan
    stable = {job.id: job.values for job in plan.jobs if job.stage == "stable"}

    for job in (each for each in plan.jobs if each.stage == "decay"):
        (parent,) = job.needs
        assert stable[parent] == job.values
        (call,) = job.prepare
        assert call.values == {"from": f"/root/study/jobs/{parent}/checkpoints", "iteration": 18000}
        assert job.cancel is not None
        assert (job.cancel.name, job.cancel.params["state"], job.cancel.jobs) == ("job_state", "failed", (parent,))


def test_a_decay_is_calculated_at_its_own_point(imported: Import) -> None:
    made = imported(LADDER.replace("M.", MEGATRON), dialect="oellm")
    job = next(job for job in made.plan.jobs if job.stage == "d60" and job.values["global_batch_size"] == 16)

    assert (job.params["train_iters"], job.params["lr_wsd_decay_iters"], job.params["at"]) == (3663, 732, 2900)
    assert (job.start.name, job.start.params["iteration"]) == ("checkpoint_reached", 2900)
    assert (job.args["train-iters"], job.args["lr-wsd-decay-iters"]) == (3663, 732)
    assert "ckpt_step would begin at the branch point on each restart" in made.told
    assert "sweep" not in made.stages["stable"]


DECAY = """\
backend: {megatron: {lr: 1, lr_decay_style: WSD, save_interval: 100}}
sweep:
  type: list
  groups:
    - configs: [{stage: stable, M.train_iters: 1000}]
    - configs:
        - stage: decay
          M.train_iters: 1200
          M.lr_wsd_decay_iters: DECAY
          M.load: "\\\\${sibling.stable.output_dir}/checkpoints"
          M.ckpt_step: STEP
"""


@pytest.mark.parametrize(
    ("decay", "step", "kept", "mended"),
    [
        (200, 1000, 200, ""),
        (150, 1000, 150, ""),
        (300, 1000, 200, "of 300 iterations"),
        (300, '"\\\\${sibling.stable.backend.megatron.train_iters}"', 200, "of 300 iterations"),
    ],
)
def test_a_decay_is_shortened_only_where_it_would_begin_before_the_branch_point(
    decay: int, step: int | str, kept: int, mended: str, imported: Import
) -> None:
    text = DECAY.replace("DECAY", str(decay)).replace("STEP", str(step)).replace("M.", MEGATRON)
    made = imported(text, dialect="oellm")

    assert [job.args.get("lr-wsd-decay-iters") for job in made.plan.jobs] == [None, kept]
    assert mended in made.told
    assert ("would have begun before the branch point" in made.told) is bool(mended)


def test_a_decay_that_does_not_follow_the_length_takes_no_more_than_is_left(imported: Import) -> None:
    text = DECAY.replace("DECAY", "300").replace("STEP", "1000").replace("train_iters: 1200", "train_iters: ITERS")
    text = text.replace("ITERS", '"\\\\${oc.muli:\\\\${aux.n},100}"').replace("M.ckpt", "aux.n: 11\n          M.ckpt")
    made = imported(text.replace("M.", MEGATRON), dialect="oellm")

    assert [job.args.get("lr-wsd-decay-iters") for job in made.plan.jobs] == [None, 100]
    assert "it takes no more than is left" in made.told


def test_a_tree_of_configurations_is_composed(imported: Import) -> None:
    made = imported(
        "# @package _global_\ndefaults:\n  - /backend: megatron\n  - /slurm: site\n  - _self_\n"
        "job: {name: mine}\nsweep: {type: product, groups: [{configs: [{backend/megatron: [small], x: 1},"
        " {backend/megatron: [large], x: 2}]}]}\n",
        dialect="oellm",
        name="config/experiments/one.yaml",
        **{
            "config/backend/megatron__yaml": "class_name: MegatronBackend\nlauncher_script: ./sub/pretrain_gpt.py\n",
            "config/backend/megatron/small__yaml": "num_layers: 2\n",
            "config/backend/megatron/large__yaml": "num_layers: 4\nhidden_size: ${.num_layers}\n",
            "config/slurm/site__yaml": "sbatch: {nodes: 1, time: '01:00:00', gpus_per_node: 4}\n",
        },
    )

    assert [job.values for job in made.plan.jobs] == [{"config": "small"}, {"config": "large"}]
    assert [job.args for job in made.plan.jobs] == [
        {"hidden-size": None, "num-layers": 2},
        {"hidden-size": 4, "num-layers": 4},
    ]
    assert (made.plan.study, made.plan.jobs[0].resources.walltime_s) == ("mine", 3600)
    assert "/original/sub/pretrain_gpt.py" in made.text


def test_a_value_that_nobody_gives_is_told(imported: Import) -> None:
    made = imported("backend: {megatron: {lr: '${aux.nowhere}'}}\n", dialect="oellm")

    assert "aux.nowhere is referred to, and nobody gives it a value" in made.told


def test_a_value_that_is_not_escaped_is_told(imported: Import) -> None:
    text = 'sweep: {params: {aux.a: [1, 2]}, defaults: {backend.megatron.lr: "${aux.a}"}}\n'
    made = imported(text, dialect="oellm")

    assert "backend.megatron.lr: ${aux.a} is not escaped" in made.told
    assert [job.args["lr"] for job in made.plan.jobs] == [1, 2]


def test_a_condition_of_a_stage_with_a_filter_is_kept(imported: Import) -> None:
    only = "      filter: \"\\\\${oc.eval:'\\\\${M.lr} < 1e-3'}\"\n"
    text = TWO_STAGES.replace("      job.start_conditions:", f"{only}      job.start_conditions:")
    made = imported(text.replace("M.", MEGATRON), dialect="oellm")

    assert made.counts == {"stable": 9, "decay": 6}
    assert made.stages["decay"]["start"] == {"job_succeeded": {"stage": "stable"}}
    assert made.stages["decay"]["prepare"]["cooldown_symlink"]["iteration"] == "${sibling.stable.params.train_iters}"


def test_events_of_a_configuration_and_of_a_stage_are_the_stage_s(imported: Import) -> None:
    restart = "{name: bad, pattern: ECC error, action: {class_name: RestartAction}}"
    text = (
        f"job: {{log_events: [{restart}]}}\n"
        "sweep:\n  type: list\n  groups:\n"
        "    - configs: [{stage: a, M.lr: 1}]\n"
        "    - configs: [{stage: b, M.lr: 1, job.log_events: []}]\n"
        "    - configs: [{stage: c, M.lr: 1}, {stage: c, M.lr: 2, job.log_events.0.pattern: x}]\n"
    )
    made = imported(text.replace("M.", MEGATRON), dialect="oellm")

    assert [made.stages[name].get("events") for name in "abc"] == [
        rule := {"bad": {"contains": "ECC error", "limit": 3, "do": "restart"}},
        None,
        rule,
    ]
    assert "job.log_events.0.pattern: of some jobs, or a part" in made.told


def test_a_branch_point_that_others_refer_to_stays_a_param(imported: Import) -> None:
    text = DECAY.replace("DECAY", "200").replace("STEP", "1000")
    text = text.replace("iters: 1200", 'iters: "\\\\${oc.addi:\\\\${M.ckpt_step},200}"')
    made = imported(text.replace("M.", MEGATRON), dialect="oellm")

    assert "ckpt_step" in made.stages["decay"]["params"]
    assert [job.args["train-iters"] for job in made.plan.jobs] == [1000, 1200]
    assert "ckpt-step" not in made.stages["decay"]["args"]


def test_a_run_saves_where_others_branch_off_instead_of_a_calculated_list(imported: Import) -> None:
    listed = "${oc.mapeval:${oc.maptmpl:'int(%)',${oc.mapextractkey:aux.t,${sweep.groups.1.configs}}}}"
    text = DECAY.replace("DECAY", "200").replace("STEP", "990").replace("lr: 1", "lr: 1, save_extra_steps: '${aux.s}'")
    made = imported(f'aux: {{s: "{listed}"}}\n{text}'.replace("M.", MEGATRON), dialect="oellm")

    assert [job.args["save-extra-steps"] for job in made.plan.jobs] == [[990], None]
    assert "stays text" not in made.told


def test_nodes_that_a_file_excludes_are_no_option_of_sbatch(imported: Import) -> None:
    text = "slurm: {sbatch: {exclude: '${oc.exclude_nodes:bad.txt}', exclusive: yes}}\n"
    made = imported(text, dialect="oellm")

    assert made.stages["train"]["resources"] == {"options": {"exclusive": True}}
    assert "left out by the remedy exclude_node" in made.told


def test_an_import_converts_and_evaluates_each_checkpoint(imported: Import) -> None:
    text = (
        "backend: {megatron: {train_iters: 10}}\nslurm: {sbatch: {account: me}}\npostprocess:\n"
        "  dist: {class_name: MegatronDistToTorchStep}\n"
        "  hf: {class_name: MegatronToHFStep, architecture: opensci, tokenizer_name: neox}\n"
        "  eval: {class_name: OELLMEvalStep, task_groups: [a, b]}\n"
        "  more: {class_name: OtherStep}\n"
    )
    made = imported(text, dialect="oellm")

    assert made.counts == {"train": 1, "convert": 1, "evaluate": 1}
    assert made.stages["convert"]["each"] == {"checkpoint": ["train"]}
    assert made.stages["convert"]["with"] == {"arch": "opensci", "tokenizer": "neox"}
    assert made.stages["convert"]["resources"]["account"] == "me"
    assert made.stages["evaluate"]["command"][-2:] == ["--task_groups", "a,b"]
    assert made.told.count("postprocess") >= 3
    assert "OtherStep is left out" in made.told


def test_a_stage_that_waits_for_a_converted_model_where_nobody_writes_it_is_told(imported: Import) -> None:
    model = "\\\\${sibling.train.job.base_output_dir}/hf/\\\\${oc.pad_iter:10}"
    text = f"""\
postprocess: {{hf: {{class_name: MegatronToHFStep}}}}
sweep:
  type: list
  configs:
    - {{stage: train, backend.megatron.train_iters: 10}}
    - stage: eval
      backend.class_name: OELLMEvalBackend
      backend.models: ["{model}"]
      job.start_condition: {{class_name: FileExistsCondition, path: "{model}/model.safetensors"}}
"""
    told = imported(text, dialect="oellm").told

    assert "eval: nobody writes ${sibling.train.dir}/hf/" in told
    assert "`each: {job: convert}`" in told
    assert "nobody writes" not in imported(text.replace("/hf/", "/x/"), dialect="oellm").told
    convert = "    - {stage: convert, backend.megatron.train_iters: 10}\n    - stage: eval"
    own = re.sub("postprocess:.*\n", "", text).replace("    - stage: eval", convert)
    assert "nobody writes" not in imported(own, dialect="oellm").told, "it writes there itself"


@pytest.mark.parametrize("text", ["apiVersion: v1\nkind: Pod\nspec: {a: [b]}\n", "sweep: {groups: []}\n"])
def test_a_file_that_runs_nothing_is_no_experiment(imported: Import, text: str) -> None:
    with pytest.raises(RecipeError, match="this is no experiment of OELLM's"):
        imported(text, dialect="oellm")


CHAIN = """\
# @package _global_
defaults: [{/backend: megatron}, {/container: site}, _self_]
sweep:
  type: list
  groups:
    - configs:
        - {stage: train, backend.megatron.train_iters: 10}
        - stage: eval
          backend: oellm_eval
          container: none
          backend.models: ["\\\\${sibling.train.job.base_output_dir}/\\\\${oc.pad_iter:10}"]
          job.start_condition:
            class_name: FileExistsCondition
            path: "\\\\${sibling.train.job.base_output_dir}/latest_checkpointed_iteration.txt"
"""


def test_a_stage_may_have_another_backend_and_container(imported: Import) -> None:
    made = imported(
        CHAIN,
        dialect="oellm",
        name="config/experiments/one.yaml",
        **{
            "config/backend/megatron__yaml": "class_name: MegatronBackend\nlauncher: x\n",
            "config/backend/oellm_eval__yaml": "class_name: OELLMEvalBackend\nenv: {LIMIT: 1}\noellm_cmd: x\n",
            "config/container/site__yaml": "image: /site.sif\n",
            "config/container/none__yaml": "runtime: none\n",
        },
    )
    train, evaluation = made.stages["train"], made.stages["eval"]

    assert (train["backend"], train["container"]) == ("megatron", {"image": "/site.sif"})
    assert evaluation["command"][:2] == ["oellm-eval", "schedule"]
    assert evaluation["command"][-1] == "${sibling.train.checkpoints}/iter_${calc:'pad(int(10))'}"
    assert evaluation["env"] == {"LIMIT": 1}
    assert evaluation["start"] == {"job_succeeded": {"stage": "train"}}
    assert not {"container", "params", "args"} & evaluation.keys()


COMPOSED = """\
sweep:
  type: product
  list_composition: [aux.plugins]
  base_values: {backend.class_name: NullBackend, backend.command: "run ${aux.plugins}"}
  groups:
    - configs: [{aux.plugins: [base]}]
    - configs:
        - {aux.size: 1, aux.plugins: small}
        - {aux.size: 2, aux.plugins: [large, wide]}
    - params: {aux.plugins: [[web], [books]]}
"""


def test_lists_of_several_groups_are_composed(imported: Import) -> None:
    made = imported(COMPOSED, dialect="oellm")

    assert yaml.safe_load(made.text)["sweep"]["list_composition"] == ["plugins"]
    assert made.params("size", "plugins") == [
        (1, ["base", "small", "web"]),
        (1, ["base", "small", "books"]),
        (2, ["base", "large", "wide", "web"]),
        (2, ["base", "large", "wide", "books"]),
    ]


def test_lists_that_nothing_varies_are_one(imported: Import) -> None:
    text = COMPOSED.replace("aux.size: 2, aux.plugins: [large, wide]", "aux.size: 2").replace(
        "{aux.size: 1, aux.plugins: small}", "{aux.size: 1}"
    )
    made = imported(
        text.replace("params: {aux.plugins: [[web], [books]]}", "configs: [{aux.plugins: web}]"), dialect="oellm"
    )

    assert made.params("size", "plugins") == [(1, ["base", "web"]), (2, ["base", "web"])]
    assert "list_composition" not in made.text


def test_what_stands_above_the_groups_is_composed_once_for_each_that_gives_none(imported: Import) -> None:
    text = COMPOSED.replace("base_values: {", "base_values: {aux.plugins: [usual], ")
    made = imported(
        text.replace("aux.plugins: [base]", "aux.n: 1").replace(", aux.plugins: small", ""), dialect="oellm"
    )

    assert made.params("size", "plugins")[0] == (1, ["usual", "usual", "web"])
    assert "study.yaml:1: sweep: aux.plugins: what stands above the groups is in the list 2 times" in made.told


def test_of_choices_that_are_put_together_only_what_counts_is_written(imported: Import) -> None:
    layers = {"base": "num_layers: 1\nlr: 0.1\n", "small": "num_layers: 2\n", "large": "num_layers: 3\n"}
    files = {f"config/backend/megatron/{name}__yaml": text for name, text in layers.items()}
    text = (
        "defaults: [{/backend/megatron: base}]\nbackend: {class_name: MegatronBackend}\n"
        "sweep:\n  list_composition: [backend/megatron]\n  groups:\n    - configs: [{backend/megatron: [base]}]\n"
        "    - configs: [{backend/megatron: [small]}, {backend/megatron: [large]}]\n"
    )
    made = imported(text, dialect="oellm", name="config/experiments/x.yaml", **files)

    assert [(job.args["num-layers"], job.args["lr"]) for job in made.plan.jobs] == [(2, 0.1), (3, 0.1)]
    assert made.stages["train"]["params"] == {"lr": 0.1}


def test_names_to_compose_are_a_list(imported: Import) -> None:
    with pytest.raises(RecipeError, match=r"list_composition: 'aux\.x' are no names"):
        imported("sweep: {list_composition: aux.x, groups: [{params: {aux.x: [1]}}]}\n", dialect="oellm")


def test_an_axis_of_choices_is_one_of_what_they_come_to(imported: Import) -> None:
    files = {f"config/backend/{name}__yaml": f"class_name: NullBackend\ncommand: {name}\n" for name in ("one", "two")}
    text = "defaults: [{/backend: one}]\nsweep: {groups: [{params: {backend: [one, two]}}]}\n"
    made = imported(text, dialect="oellm", name="config/experiments/x.yaml", **files)

    assert len(made.plan.jobs) == 2


def test_a_name_that_two_groups_sweep_is_the_later_one_s_and_leaves_no_param(imported: Import) -> None:
    text = (
        "sweep:\n  base_values: {M.seed: 7}\n  groups:\n"
        "    - params: {M.lr: [1, 2], M.min_lr: [0, 0.1], M.seed: [3, 4]}\n    - params: {M.lr: [3, 4]}\n"
    )
    made = imported(text.replace("M.", MEGATRON), dialect="oellm")

    assert [job.id for job in made.plan.jobs] == [f"train-min_lr{low}-lr{lr}" for low in (0, 0.1) for lr in (3, 4)]
    assert {job.args["seed"] for job in made.plan.jobs} == {7}
    assert "study.yaml:4: sweep.groups.0: backend.megatron.lr is left out" in made.told
    assert made.stages["train"]["params"] == {"seed": 7}


def test_values_in_a_stage_s_name_are_left_to_the_ids_of_its_jobs(imported: Import) -> None:
    text = (
        'sweep:\n  filter: true\n  groups:\n    - configs: [{stage: "a_\\\\${aux.n}"}, {stage: "a_\\\\${aux.m}"}]\n'
        "    - params: {aux.n: [1, 2]}\n"
    )
    made = imported(text, dialect="oellm")

    assert [job.id for job in made.plan.jobs] == ["a-n1", "a-n2", "a____aux.m-n1", "a____aux.m-n2"]
    assert "filter" not in made.text


def test_a_relative_name_in_a_variable_begins_where_it_stands(imported: Import) -> None:
    text = "slurm: {sbatch: {nodes: 2}, env: {WORLD: '${oc.muli:${..sbatch.nodes},4}'}}\n"

    assert imported(text, dialect="oellm").plan.jobs[0].env["WORLD"] == "8"


def test_a_variable_of_the_backend_counts_before_slurm_s_and_one_that_only_the_sweep_sets_is_exported(
    imported: Import,
) -> None:
    text = """\
backend: {env: {GDR: "0", A: b}}
slurm: {env: {GDR: "2", S: "1"}}
sweep: {params: {backend.env.GDR: ["1", "0"], slurm.env.ONLY: [x, y]}}
"""
    jobs = imported(text, dialect="oellm").plan.jobs

    assert [(job.env["GDR"], job.env["ONLY"]) for job in jobs] == [("1", "x"), ("1", "y"), ("0", "x"), ("0", "y")]
    assert {(job.env["A"], job.env["S"]) for job in jobs} == {("b", "1")}


def test_a_variable_that_only_some_entries_set_is_exported_by_those(imported: Import) -> None:
    text = "sweep: {type: list, configs: [{aux.tag: a}, {aux.tag: b, backend.env.ONLY: x}]}\n"

    assert [job.env.get("ONLY") for job in imported(text, dialect="oellm").plan.jobs] == [None, "x"]


def test_a_signal_ahead_of_the_time_limit_is_autoexp_s_own_and_told(imported: Import) -> None:
    made = imported("slurm: {sbatch: {signal: TERM@240, exclusive: yes}}\n", dialect="oellm")

    assert made.stages["train"]["resources"] == {"options": {"exclusive": True}}
    assert "ahead of their time limit" in made.told


@pytest.mark.parametrize("key", ["fliter", "confgs", "param"])
def test_a_key_that_is_nearly_one_of_a_sweep_s_is_refused(imported: Import, key: str) -> None:
    text = f"sweep:\n  params: {{backend.megatron.lr: [1, 2]}}\n  {key}: true\n"

    with pytest.raises(RecipeError, match=rf":3: sweep\.{key}: {key} is no part of a sweep"):
        imported(text, dialect="oellm")


TITAN = """\
aux:
  tokens: 64000
  seq: 64
  gbs: 10
  decay: 0.2
  extra: "${oc.mapeval:${oc.maptmpl:'int((%//(${aux.seq}*${aux.gbs}))*(1-${aux.decay}))',\
${oc.mapextractkey:aux.tokens,${sweep.groups.1.configs.1.configs}}}}"
backend:
  class_name: TitanBackend
  titan:
    job: {dump_folder: "${job.base_output_dir}"}
    training: {steps: "${oc.eval:'${aux.tokens}//(${aux.seq}*${aux.gbs})'}"}
    optimizer: {lr: 0.1}
    checkpoint: {enable: true, interval: 50}
sweep:
  type: product
  groups:
    - params: {M.optimizer.lr: [0.1, 0.2]}
    - type: list
      configs:
        - {stage: stable, M.checkpoint.extra_steps: "${aux.extra}"}
        - type: list
          defaults:
            stage: "decay\\\\${aux.at}"
            aux.at: "\\\\${oc.eval:'int((\\\\${aux.tokens}//(\\\\${aux.seq}*\\\\${aux.gbs}))*(1-\\\\${aux.decay}))'}"
            M.checkpoint.initial_load_path: "\\\\${sibling.stable.job.base_output_dir}/checkpoint/step-\\\\${aux.at}"
            M.checkpoint.exclude_from_loading: [lr_scheduler]
            job.start_condition:
              class_name: FileExistsCondition
              path: "\\\\${sibling.stable.job.base_output_dir}/checkpoint/step-\\\\${aux.at}"
          configs: [{aux.tokens: 16000}, {aux.tokens: 32000}]
""".replace("M.", "backend.titan.")


def test_a_decay_of_titan_waits_for_the_folder_that_its_stable_run_saves_to(imported: Import) -> None:
    made = imported(TITAN, dialect="oellm")
    stable = next(job for job in made.plan.jobs if job.stage == "stable")
    decay = next(job for job in made.plan.jobs if job.needs == (stable.id,) and job.args["training.steps"] == 50)
    saved = f"/root/study/jobs/{stable.id}/checkpoints/step-40"

    assert made.counts == {"stable": 2, "decay": 4}
    assert decay.args["checkpoint.initial_load_path"] == saved
    assert stable.args["checkpoint.extra_steps"] == [20, 40]
    assert decay.values["optimizer_lr"] == stable.values["optimizer_lr"]
    assert [(part.name, part.params, part.jobs) for part in decay.start.parts] == [
        ("file_exists", {"path": f"{saved}/.metadata"}, ()),
        ("job_succeeded", {"stage": "stable"}, (stable.id,)),
    ]
    assert "file_exists does not look whether the checkpoint is whole" in made.told
    assert f"--checkpoint.folder {saved.rpartition('/')[0]}" in " ".join(stable.argv)


def test_a_folder_that_titan_was_told_to_save_to_is_the_job_s_own(imported: Import) -> None:
    text = TITAN.replace("/checkpoint/", "/out/ck/").replace("interval: 50", "folder: ck")
    text = text.replace("${job.base_output_dir}", "${job.base_output_dir}/out")
    made = imported(text, dialect="oellm")

    assert made.stages["decay"]["params"]["checkpoint_initial_load_path"] == "${sibling.stable.checkpoints}/step-${at}"


def test_steps_to_save_that_cannot_be_told_are_left_out(imported: Import) -> None:
    made = imported(TITAN.replace("sweep.groups.1", "sweep.groups.7"), dialect="oellm")

    assert not any("checkpoint.extra_steps" in job.args for job in made.plan.jobs)
    assert "checkpoint.extra_steps is left out: its list cannot be told here" in made.told
