from typing import cast

import pytest

from autoexp.errors import RecipeError
from tests.importers.conftest import Import

EVALUATED = """\
cmd: "sbatch {sbatch_script}"
check_interval_secs: 3600
logs: logs
lr: [0.1, 0.2]
HOST: $(hostname)
name: "run_{lr}_{mode}"
mode:
  - train:
      template: train.sbatch
      sbatch_script: "{name}.sbatch"
      output_file: "{logs}/{name}/slurm.out"
      termination_str: "epoch {epochs} done"
  - eval:
      template: gone.sbatch
      sbatch_script: "{name}.sbatch"
      output_file: "{logs}/{name}/eval.out"
      start_condition_cmd: "ls {logs}/{name}/*.pt | wc -l"
      termination_cmd: "grep -c done {logs}/{name}/eval.out"
epochs: 3
"""
TRAIN = "#SBATCH --time=60\necho {lr} {HOST} '{logs}' {nobody}\n"


def test_a_template_becomes_a_script_that_asks_whether_it_is_done(imported: Import) -> None:
    made = imported(EVALUATED, train__sbatch=TRAIN)
    train = made.stages["train"]

    assert made.counts == {"train": 2, "eval": 2}
    assert "echo $lr $HOST ''\"$logs\"'' {nobody}" in train["command"]
    assert 'grep -qP -- "$termination_str" "$AUTOEXP_DIR"/attempts/*/output.log' in train["command"]
    assert train["resources"] == {"walltime": "1h"}
    assert train["stall"] == {"no_progress": "60m"}
    assert {job.env["termination_str"] for job in made.plan.jobs if job.stage == "train"} == {"epoch 3 done"}
    assert "{nobody}, which nobody defines" in made.told
    assert "HOST is a command" in made.told


def test_a_start_condition_holds_when_its_command_prints_1(imported: Import) -> None:
    start = imported(EVALUATED, train__sbatch=TRAIN).plan.jobs[-1].start

    assert start.name == "command_succeeds"
    *bash, line = cast(list[str], start.params["command"])
    assert bash == ["bash", "-c"]
    assert line.endswith("[[ $(ls logs/run_0.2_eval/*.pt | wc -l) == 1 ]]")


def test_without_its_template_a_stage_runs_what_was_built_of_it(imported: Import) -> None:
    made = imported(EVALUATED, train__sbatch=TRAIN)

    assert made.plan.jobs[-1].env["sbatch_script"] == "run_0.2_eval.sbatch"
    assert made.stages["eval"]["command"] == 'cd -- "$workdir" && exec bash "$sbatch_script"'
    assert "gone.sbatch is not here" in made.told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1, 2]\n", r"study\.yaml.*: the jobs of job would run nothing"),
        ("cmd: python train.py {a}\nname: n\noutput_file: o\na: [1, 2]\n", "of job would run nothing"),
        ("a: 1\nmode: [{train: {template: train.sbatch}}, {eval: {output_file: o}}]\n", "of eval would run nothing"),
        ("a: 1\ntemplate: empty.sbatch\n", "of empty would run nothing"),
        ("a: 1\ntemplate: gone.sbatch\n", r"study\.yaml:2: template: the jobs of gone would run nothing"),
    ],
)
def test_jobs_that_would_run_nothing_are_refused(text: str, said: str, imported: Import) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        imported(text, train__sbatch=TRAIN, empty__sbatch="#!/bin/bash\n#SBATCH --time=60\n")
    assert caught.value.why
    assert caught.value.fix


def test_a_script_that_is_swept_is_each_job_s_own(imported: Import) -> None:
    made = imported("name: n\nsbatch_script: [a.sh, b.sh]\n")

    assert [job.env["sbatch_script"] for job in made.plan.jobs] == ["a.sh", "b.sh"]


MEGATRON = """\
LOGS: /logs
TIME: 360
NODES: 1
PARTITION: booster
ACCOUNT: me
TP: 1
PP: 1
VOCAB_SIZE: 1000
MODEL_TYPE: opensci
MODEL:
  - S: {NUM_LAYERS: 2, HIDDEN_SIZE: 64, NUM_ATTN_HEADS: 4, FFN_HIDDEN_SIZE: 256}
  - L: {NUM_LAYERS: 4, HIDDEN_SIZE: 128, NUM_ATTN_HEADS: 4, FFN_HIDDEN_SIZE: 512}
LR: 1e-3
MICRO_BATCH_SIZE: [4, 16]
GLOBAL_BATCH_SIZE: "expr({NODES}*4*{MICRO_BATCH_SIZE})"
TOKENS: 1_000_000
TRAIN_ITERS: "expr(-(-{TOKENS} // (128 * {GLOBAL_BATCH_SIZE})))"
LR_WARMUP_ITERS: 10
LR_DECAY_ITERS: "expr({TRAIN_ITERS} - {LR_WARMUP_ITERS})"
SAVE_INTERVAL: 100
EXP_NAME: "{MODEL}_{MICRO_BATCH_SIZE}"
name: "{EXP_NAME}_{PHASE}_{MODE}"
PHASE:
  - PRETRAIN:
      RUN_DIR: "{LOGS}/{EXP_NAME}"
      LR_WSD_DECAY_ITERS: 0
      MODE:
        - TRAIN:
            template: /far/away/train_container_simple.sbatch
            termination_cmd: 'grep -cE "after training is done|KeyError" log'
        - CONVERT_EVAL: &convert
            template: /far/away/convert_eval_checkpoint.sbatch
            start_condition_cmd: "/far/convert_helper.sh {RUN_DIR}"
  - COOLDOWN:
      RUN_DIR: "{LOGS}/{EXP_NAME}/cooldown_{SCALE}"
      TRAIN_ITERS: "expr(-(-{TOKENS_NOW} // (128 * {GLOBAL_BATCH_SIZE})))"
      LR_WSD_DECAY_ITERS: "expr(int({TRAIN_ITERS}*0.1))"
      ITER: "expr(int(({TRAIN_ITERS} - {LR_WSD_DECAY_ITERS}) / {SAVE_INTERVAL}) * {SAVE_INTERVAL})"
      LR_DECAY_ITERS: "{TRAIN_ITERS}"
      SCALE: [{half: {TOKENS_NOW: 500_000}}, {all: {TOKENS_NOW: 1_000_000}}]
      MODE:
        - TRAIN:
            template: /far/away/train_container_simple.sbatch
            start_condition_cmd: "/far/cooldown_helper.sh {LOGS} {EXP_NAME} {ITER} {SCALE}"
        - CONVERT_EVAL: *convert
"""
USUAL = "LR_DECAY_STYLE MIN_LR WD BETA1 BETA2 CLIP_GRAD SEQ_LENGTH EVAL_ITERS LOG_INTERVAL MAX_POSITION_EMBEDDINGS"
REST = "".join(f"{name}: 1\n" for name in USUAL.split() if name != "LR_DECAY_STYLE") + (
    "LR_DECAY_STYLE: WSD\nLR_WSD_DECAY_STYLE: linear\nDISABLE_BIAS_LINEAR: ['', --disable-bias-linear]\n"
    "DATA_PATH: /d\nTOKENIZER_MODEL: /t\nTOKENIZER_TYPE: T\nDATA_NUM_WORKERS: 1\nSHARED_MEGATRON: /m\n"
    "SHARED_CONTAINERS: /c\nIMAGE_NAME: i.sif\n"
)


def test_megatron_autoexps_phases_become_four_stages(imported: Import) -> None:
    made = imported(MEGATRON + REST)

    assert made.counts == {"pretrain": 8, "pretrain_convert_eval": 8, "cooldown": 16, "cooldown_convert_eval": 16}
    assert "sweep" not in made.stages["cooldown_convert_eval"]  # it has its training's axes
    assert made.stages["cooldown_convert_eval"]["each"] == {"checkpoint": "cooldown"}
    assert made.stages["pretrain"]["backend"] == "megatron"
    cooldowns = {
        (job.params["GLOBAL_BATCH_SIZE"], job.values["SCALE"], job.params["TRAIN_ITERS"], job.params["ITER"])
        for job in made.plan.jobs
        if job.stage == "cooldown"
    }
    assert cooldowns == {(16, "half", 245, 200), (16, "all", 489, 400), (64, "half", 62, 0), (64, "all", 123, 100)}


def test_a_cooldown_starts_from_its_own_pretraining(imported: Import) -> None:
    made = imported(MEGATRON + REST)
    job = next(job for job in made.plan.jobs if job.stage == "cooldown" and job.params["ITER"] == 400)
    (call,) = job.prepare

    assert (job.start.name, job.start.params["iteration"]) == ("checkpoint_reached", 400)
    (parent,) = job.start.jobs
    assert call.values == {"from": f"/root/study/{'jobs'}/{parent}/checkpoints", "iteration": 400}
    assert (job.args["lr-warmup-iters"], job.args["lr-wsd-decay-iters"]) == (0, 48)
    assert [each["code"] for each in made.plan.warnings] == ["branch-at-zero"]


def test_a_cooldown_without_a_decay_of_its_own_takes_what_is_left(imported: Import) -> None:
    text = MEGATRON.replace('LR_WSD_DECAY_ITERS: "expr(int({TRAIN_ITERS}*0.1))"', "LR_WSD_DECAY_ITERS: 0")
    made = imported(text.replace("ITER: ", "ITER: 400 # ") + REST)

    assert {
        (job.args["train-iters"], job.args["lr-wsd-decay-iters"]) for job in made.plan.jobs if job.stage == "cooldown"
    } >= {(489, 89)}
    assert "no decay of its own" in made.told


def test_what_megatron_autoexp_gets_wrong_is_mended_and_told(imported: Import) -> None:
    made = imported(MEGATRON + REST)
    pretrain = next(job for job in made.plan.jobs if job.stage == "pretrain")

    assert pretrain.args["lr-decay-iters"] == pretrain.args["train-iters"] == 489
    assert "what comes after it trains with the lowest rate, here 1\n" in made.told
    swept = imported((MEGATRON + REST).replace("MIN_LR: 1", "MIN_LR: [0, 1]"))
    assert "what comes after it trains with the lowest rate\n" in swept.told
    assert (pretrain.finish, pretrain.args["disable-bias-linear"]) == (None, False)
    for said in (
        "not expr({TRAIN_ITERS} - {LR_WARMUP_ITERS})",
        "KeyError",
        "cooldown_helper.sh linked any checkpoint",
        "rope_theta",
        "train_container_simple.sbatch is not here",
    ):
        assert said in made.told


def test_a_conversion_without_a_training_is_refused(imported: Import) -> None:
    with pytest.raises(RecipeError, match="there is nothing to convert"):
        imported("name: x\ntemplate: convert_eval_checkpoint.sbatch\n")


@pytest.mark.parametrize(
    ("given", "first", "told"),
    [
        ("200", 200, False),
        ('"{SAVE_INTERVAL}"', 100, False),
        ("0", None, False),
        ("[100, 200]", None, True),
        ('"expr({SAVE_INTERVAL} * 2)"', None, True),
    ],
)
def test_a_conversion_begins_at_the_iteration_that_its_helper_was_given(
    given: str,
    first: int | None,
    told: bool,  # noqa: FBT001 - a parameter
    imported: Import,
) -> None:
    text = MEGATRON.replace("convert_helper.sh {RUN_DIR}", "convert_helper.sh {RUN_DIR} {MIN_ITER}")
    made = imported(f"{text}{REST}MIN_ITER: {given}\n")

    assert made.stages["cooldown_convert_eval"]["each"].get("from") == first
    assert ("{MIN_ITER} is not one number for all its jobs" in made.told) is told


def test_a_value_in_a_format_is_spelled_so_in_the_job_be_it_in_a_template(imported: Import) -> None:
    text = EVALUATED.replace("run_{lr}_{mode}", "run_{lr:.1e}_{steps:,}_{mode!s}{odd!r}") + "steps: 61036\nodd: 1\n"
    made = imported(text, train__sbatch=TRAIN + "echo {lr:.1e} ${{lr:-1}} {lr!r}\n")

    assert made.plan.jobs[-1].env["sbatch_script"] == "run_2.0e-01_61,036_{mode!s}{odd!r}.sbatch"
    assert "study.yaml:6: name: {mode!s} has no words in a recipe" in made.told
    assert {"1.0e-01", "2.0e-01"} & {job.env.get("lr__1e") for job in made.plan.jobs}
    assert "its template has {lr!r}, which stays as it is written" in made.told
    assert "its template has {lr:.1e}" not in made.told
    assert "{lr:-1}" not in made.told
    assert "nothing reads" not in made.told


SCALES = "".join(f"        - {n}: {{TOKENS_NOW: {n}_000}}\n" for n in (100, 200, 400, 1000, 2000))
BIAS = "BIAS:\n  - WITH: {DISABLE_BIAS_LINEAR: ''}\n  - WITHOUT: {DISABLE_BIAS_LINEAR: --disable-bias-linear}\n"
LARGE = (
    MEGATRON.replace("MICRO_BATCH_SIZE: [4, 16]", f"MICRO_BATCH_SIZE: [4, 16, 32]\n{BIAS}")
    .replace("LR: 1e-3", "LR: [1e-2, 5e-3, 1e-3, 5e-4, 1e-4]")
    .replace("  - L:", "  - M: {NUM_LAYERS: 3, HIDDEN_SIZE: 96, NUM_ATTN_HEADS: 4, FFN_HIDDEN_SIZE: 384}\n  - L:")
    .replace("SCALE: [{half: {TOKENS_NOW: 500_000}}, {all: {TOKENS_NOW: 1_000_000}}]", f"SCALE:\n{SCALES}")
    .replace('EXP_NAME: "{MODEL}_', 'EXP_NAME: "{MODEL}_lr{LR}_{BIAS}_')
)


def test_a_sweep_of_a_thousand_jobs_has_all_of_them_once(imported: Import) -> None:
    made = imported(LARGE + REST.replace("DISABLE_BIAS_LINEAR: ['', --disable-bias-linear]\n", ""))

    counts = {"pretrain": 90, "pretrain_convert_eval": 90, "cooldown": 450, "cooldown_convert_eval": 450}
    assert (made.counts, sum(made.counts.values())) == (counts, 1080)
    assert len({job.id for job in made.plan.jobs}) == 90 + 450
    assert len({(job.needs, job.values["SCALE"]) for job in made.plan.jobs if job.stage == "cooldown"}) == 450


SIGNS = """\
cmd: "sbatch {sbatch_script}"
name: "n_{lr}"
template: train.sbatch
output_file: out
lr: [0.1]
DIR: "$HOME/logs/{lr}"
RUN: "{DIR}/run"
WORDS: "--name 'a b'"
QUOTED: "it's"
COND: "expr('x' if {lr} > 1 else 'y')"
"""


def test_a_value_that_the_shell_was_to_read_is_told(imported: Import) -> None:
    told = imported(SIGNS, train__sbatch='mkdir {RUN}\necho {WORDS} "{QUOTED}" {COND}\n').told

    assert "RUN holds '$HOME/logs/{lr}', of which the shell would have read the $" in told
    assert """WORDS holds "--name 'a b'", of which the shell would have read the '""" in told
    assert "QUOTED holds" not in told
    assert "COND holds" not in told


def test_what_sbatch_was_told_and_no_recipe_says_is_told(imported: Import) -> None:
    head = "#SBATCH --array=0-3\n#SBATCH --chdir=/data\n#SBATCH -D /data\n"
    head += "#SBATCH --export=ALL,X=1\n#SBATCH --signal=B:USR1@120\n"

    told = imported(SIGNS, train__sbatch=f"{head}echo {{lr}}\n").told

    assert "--array=0-3 is left out" in told
    assert "--chdir=/data is left out" in told
    assert "--signal=B:USR1@120 is left out" in told
    assert "--export=ALL,X=1 is left out" in told
    assert "--export" not in imported(SIGNS, train__sbatch="#SBATCH --export=NONE\necho {lr}\n").told
