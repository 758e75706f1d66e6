from collections import Counter
from collections.abc import Callable

import pytest

from autoexp.conditions import jobs_of
from autoexp.errors import RecipeError
from autoexp.model import Condition, HookCall, JobSpec, Template
from autoexp.outline import Plan
from autoexp.plan import Planner

Plans = Callable[..., Planner]

LADDER = """
study: wsd-ladder
machine: auto
params:
  seq_length: 2048
  gpus: 4
  global_batch_size: ${calc:'${gpus} * ${micro_batch_size}'}
  tokens: ${quantity:2B}
  train_iters: ${calc:'ceil(${tokens} / (${seq_length} * ${global_batch_size}))'}
  branch_iteration: ${calc:'${train_iters} - round(0.2 * ${train_iters})'}
  wd: ${calc:'1e-4 / ${lr}'}
sweep:
  type: product
  groups:
    - configs:
        model:
          - 10M: {num_layers: 5, hidden_size: 160}
          - 25M: {num_layers: 9, hidden_size: 288}
    - params: {lr: [1e-2, 1e-3], micro_batch_size: [4, 16]}
  filter: ${calc:'not (${lr} > 5e-3 and ${micro_batch_size} == 16)'}
stages:
  pretrain:
    backend: megatron
    args:
      num-layers: ${num_layers}
      hidden-size: ${hidden_size}
      lr: ${lr}
      weight-decay: ${wd}
      train-iters: ${train_iters}
    resources: {nodes: 1, gpus_per_node: "${gpus}", walltime: 6h}
    gate: nccl_gate
    retry: {max_attempts: 5, when: {time_limit: resume, gpu_oom: fail, node_fail: exclude_node}}
    stall: {no_progress: 30m}
  cooldown:
    sweep: {params: {tokens: ["${quantity:100M}", "${quantity:1B}"]}}
    backend: megatron
    start: {checkpoint_reached: {stage: pretrain, iteration: "${branch_iteration}"}}
    prepare: {cooldown_symlink: {from: "${sibling.pretrain.checkpoints}", iteration: "${branch_iteration}"}}
    args:
      lr: ${lr}
      train-iters: ${train_iters}
      lr-wsd-decay-iters: ${calc:'${train_iters} - ${branch_iteration}'}
  convert:
    each: {checkpoint: [pretrain, cooldown], from: 1, every: 1}
    hook: megatron_to_hf
  evaluate:
    each: {job: convert}
    command: [lm_eval, --model, hf, --model_args, "pretrained=${sibling.convert.output}"]
"""

POINTS = [(model, lr, micro) for model in ("10M", "25M") for lr, micro in ((0.01, 4), (0.001, 4), (0.001, 16))]


def _point_id(model: str, lr: float, micro: int) -> str:
    return f"model{model}-lr{lr}-micro_batch_size{micro}"


@pytest.fixture
def ladder(planner: Plans) -> Plan:
    return planner(LADDER).plan()


def by_id(plan: Plan) -> dict[str, JobSpec]:
    return {job.id: job for job in plan.jobs}


def test_the_ladder_has_six_pretrainings_and_two_cooldowns_for_each(ladder: Plan) -> None:
    pretrain = [f"pretrain-{_point_id(*point)}" for point in POINTS]
    cooldown = [f"cooldown-{_point_id(*p)}-tokens{tokens}" for p in POINTS for tokens in (100_000_000, 1_000_000_000)]

    assert [job.id for job in ladder.jobs] == [*pretrain, *cooldown]
    assert Counter(job.stage for job in ladder.jobs) == {"pretrain": 6, "cooldown": 12}


def test_the_ladder_has_a_template_for_each_job_that_saves_and_one_more_for_each_of_those(ladder: Plan) -> None:
    jobs = [job.id for job in ladder.jobs]

    assert Counter(template.stage for template in ladder.templates) == {"convert": 18, "evaluate": 18}
    assert [template.id for template in ladder.templates] == [
        *(f"convert-{job}" for job in jobs),
        *(f"evaluate-convert-{job}" for job in jobs),
    ]
    assert [preview.id for preview in ladder.previews] == [template.id for template in ladder.templates]


# tokens / (2048 * 4 GPUs * micro_batch_size), rounded up; the decay is a fifth of it
ARITHMETIC = [
    # stage, micro_batch_size, tokens, global_batch_size, train_iters, branch_iteration
    ("pretrain", 4, 2_000_000_000, 16, 61036, 48829),
    ("pretrain", 16, 2_000_000_000, 64, 15259, 12207),
    ("cooldown", 4, 100_000_000, 16, 3052, 2442),
    ("cooldown", 4, 1_000_000_000, 16, 30518, 24414),
    ("cooldown", 16, 100_000_000, 64, 763, 610),
    ("cooldown", 16, 1_000_000_000, 64, 7630, 6104),
]


@pytest.mark.parametrize(("stage", "micro", "tokens", "batch", "iterations", "branch"), ARITHMETIC)
def test_the_ladder_s_arithmetic_is_that_by_hand(  # noqa: PLR0917 - a row of the table
    ladder: Plan, stage: str, micro: int, tokens: int, batch: int, iterations: int, branch: int
) -> None:
    jobs = [j for j in ladder.jobs if j.stage == stage and j.params["micro_batch_size"] == micro]
    jobs = [job for job in jobs if job.params["tokens"] == tokens]

    assert len(jobs) == (2 if micro == 16 else 4)
    for job in jobs:
        assert job.params["global_batch_size"] == batch
        assert (job.params["train_iters"], job.args["train-iters"]) == (iterations, iterations)
        assert job.params["branch_iteration"] == branch
        assert isinstance(job.params["train_iters"], int)


def test_a_pretraining_is_fully_resolved(ladder: Plan) -> None:
    job = by_id(ladder)["pretrain-model25M-lr0.001-micro_batch_size16"]

    assert job.values == {"model": "25M", "lr": 0.001, "micro_batch_size": 16}
    assert job.params["wd"] == pytest.approx(0.1)
    assert {name: value for name, value in job.args.items() if name != "weight-decay"} == {
        "num-layers": 9,
        "hidden-size": 288,
        "lr": 0.001,
        "train-iters": 15259,
    }
    assert (job.resources.gpus_per_node, job.resources.walltime_s, job.no_progress_s) == (4, 21_600, 1_800)
    assert job.retry.max_attempts == 5
    assert job.gate == ("python", "/hooks/nccl_gate.py")
    assert (job.start, job.needs, job.output, job.key) == (Condition(name="all"), (), "checkpoints", "k3y")
    assert [child.id for child in job.children] == [f"convert-{job.id}"]


def test_a_stage_with_fewer_axes_is_shared_by_the_jobs_that_agree_with_it(planner: Plans) -> None:
    plan = planner("""
study: s
sweep: {params: {lr: [1, 2], model: [a, b]}}
stages:
  data: {axes: [], command: [tokenize]}
  init: {axes: model, sweep: {params: {seed: [1]}}, command: [init, "${model}", "${sibling.data.dir}"]}
  train: {command: [train, "${lr}", "${sibling.init.dir}"]}
  report: {axes: [], needs: train, command: [report]}
""").plan()

    jobs = by_id(plan)
    assert list(jobs)[:3] == ["data", "init-modela-seed1", "init-modelb-seed1"]
    assert jobs["train-lr2-modelb"].needs == ("init-modelb-seed1",)
    assert jobs["report"].needs == tuple(f"train-lr{lr}-model{model}" for lr in "12" for model in "ab")
    with pytest.raises(RecipeError, match=r"stages.t.command.0: \$\{lr\} is not defined"):
        planner("study: s\nsweep: {params: {lr: [1, 2]}}\nstages: {t: {axes: [], command: ['${lr}']}}").plan()


def test_a_cooldown_branches_off_its_own_pretraining(ladder: Plan) -> None:
    job = by_id(ladder)["cooldown-model10M-lr0.01-micro_batch_size4-tokens100000000"]
    parent = "pretrain-model10M-lr0.01-micro_batch_size4"

    assert job.values == {"model": "10M", "lr": 0.01, "micro_batch_size": 4, "tokens": 100_000_000}
    assert job.params["wd"] == pytest.approx(0.01)
    assert job.args == {"lr": 0.01, "train-iters": 3052, "lr-wsd-decay-iters": 610}
    wait = Condition(name="checkpoint_reached", params={"stage": "pretrain", "iteration": 2442}, jobs=(parent,))
    assert job.start == wait, "and no other one"
    assert job.needs == (parent,)
    assert job.prepare == (
        HookCall(
            name="cooldown_symlink",
            path="/hooks/cooldown_symlink.py",
            values={"from": f"/root/wsd-ladder/jobs/{parent}/checkpoints", "iteration": 2442},
        ),
    )


def test_previews_say_what_is_known_before_a_checkpoint_is_there(ladder: Plan) -> None:
    previews = {preview.id: preview for preview in ladder.previews}
    evaluation = previews["evaluate-convert-pretrain-model10M-lr0.01-micro_batch_size4"]

    assert evaluation.values == {"model": "10M", "lr": 0.01, "micro_batch_size": 4}
    assert evaluation.params["train_iters"] == 61036
    assert evaluation.needs == ("convert-pretrain-model10M-lr0.01-micro_batch_size4",)


# Jobs that appear


@pytest.mark.parametrize("afresh", [False, True], ids=["by the same planner", "by one that knows the plan"])
def test_a_conversion_appears_for_a_checkpoint_and_an_evaluation_for_it(planner: Plans, *, afresh: bool) -> None:
    first = planner(LADDER)
    plan = first.plan()
    parent = by_id(plan)["pretrain-model10M-lr0.01-micro_batch_size4"]
    maker = planner(LADDER) if afresh else first
    if afresh:
        maker.know(plan.jobs, plan)
    home = "/root/wsd-ladder/jobs"

    (convert,) = parent.children
    conversion = maker.appear(convert, parent, 2000)
    (evaluate,) = conversion.children
    evaluation = maker.appear(evaluate, conversion, None)

    assert conversion.id == convert.child(parent.id, 2000) == f"convert-{parent.id}@0002000"
    assert (conversion.parent, conversion.template, conversion.iteration) == (parent.id, convert.id, 2000)
    assert conversion.values == parent.values
    assert conversion.argv == (
        *("python", "/hooks/megatron_to_hf.py"),
        *("--checkpoint", f"{home}/{parent.id}/checkpoints/iter_0002000", "--output", f"{home}/{conversion.id}/hf"),
    )
    assert (conversion.start, conversion.output) == (Condition(name="all"), "hf")
    assert evaluation.id == evaluate.child(conversion.id, None) == f"evaluate-convert-{parent.id}@0002000"
    assert evaluation.argv[-1] == f"pretrained={home}/{conversion.id}/hf"
    assert (evaluation.iteration, evaluation.children) == (2000, ())
    assert evaluation.start == Condition(name="job_succeeded", params={"stage": "convert"}, jobs=(conversion.id,))


def test_a_batch_is_one_job_in_which_each_iteration_has_its_own_values(planner: Plans) -> None:
    made = planner(LADDER, "stages.convert.each.batch=3")
    parent = by_id(made.plan())["pretrain-model10M-lr0.01-micro_batch_size4"]
    pretrain, home = f"/root/wsd-ladder/jobs/{parent.id}", f"/root/wsd-ladder/jobs/convert-{parent.id}@0004000"
    (convert,) = parent.children

    conversion = made.appear(convert, parent, 4000, (2000, 4000))
    evaluation = made.appear(conversion.children[0], conversion, None)

    assert (convert.batch, conversion.id, conversion.output) == (3, f"convert-{parent.id}@0004000", "hf")
    assert (conversion.iteration, conversion.iterations, conversion.argv) == (4000, (2000, 4000), ())
    assert [run.argv[2:] for run in conversion.runs] == [
        ("--checkpoint", f"{pretrain}/checkpoints/{name}", "--output", f"{home}/{name}/hf")
        for name in ("iter_0002000", "iter_0004000")
    ]
    assert (evaluation.id, evaluation.iterations) == (f"evaluate-{conversion.id}", (2000, 4000))
    assert [run.argv[-1] for run in evaluation.runs] == [
        f"pretrained={home}/{name}/hf" for name in ("iter_0002000", "iter_0004000")
    ]
    assert evaluation.start == Condition(name="job_succeeded", params={"stage": "convert"}, jobs=(conversion.id,))


NAMED = """
study: s
stages:
  train: {command: [train]}
  convert:
    each: {checkpoint: train, batch: 2}
    params: {label: "step ${iteration}", kept: 7}
    env: {STEP: "${iteration}", KEPT: "${kept}"}
    command: [convert, "${label}", "${dir}"]
  score:
    each: {job: convert}
    command: [score, "${sibling.convert.params.label}", "${sibling.convert.dir}", "${output}"]
"""


def test_names_variables_and_folders_of_a_batch_are_those_of_each_iteration(planner: Plans) -> None:
    made = planner(NAMED)
    parent = made.plan().jobs[0]

    convert = made.appear(parent.children[0], parent, 20, (10, 20))
    score = made.appear(convert.children[0], convert, None)

    home = "/root/s/jobs/convert-train@0000020"
    assert [run.argv for run in convert.runs] == [
        ("convert", "step 10", f"{home}/iter_0000010"),
        ("convert", "step 20", f"{home}/iter_0000020"),
    ]
    assert (convert.params, convert.runs[0].params) == ({"label": "step 20", "kept": 7}, {"label": "step 10"})
    assert (convert.env, convert.runs[0].env) == ({"STEP": "20", "KEPT": "7"}, {"STEP": "10"})
    assert score.runs[0].argv == (
        *("score", "step 10", f"{home}/iter_0000010"),
        "/root/s/jobs/score-convert-train@0000020/iter_0000010",
    )


@pytest.mark.parametrize(
    ("stage", "key", "value"),
    [
        ("convert", "resources", "{cpus: '${iteration}'}"),
        ("convert", "start", "{file_exists: {path: '${checkpoint}/ready'}}"),
        ("convert", "prepare", "{cooldown_symlink: {from: '${checkpoint}'}}"),
        ("score", "start", "{file_exists: {path: '${sibling.convert.output}/ready'}}"),
    ],
)
def test_what_a_batch_has_once_must_not_depend_on_the_iteration(
    planner: Plans, stage: str, key: str, value: str
) -> None:
    with pytest.raises(RecipeError) as told:
        planner(NAMED, f"stages.{stage}.{key}={value}").plan()

    assert f"stages.{stage}.{key}: {key} differs from one iteration of a batch to the next" in told.value.what
    assert told.value.why.endswith(f"is one job for all of them, and has one {key}")


GROUPS = """
study: s
params: {lr: 1, wd: 2}
sweep: {type: list, groups: [{params: {lr: [3, 4]}}, {params: {wd: [5]}}]}
stages:
  train: {command: [train, "${lr}", "${wd}"]}
  tokenize: {axes: [], command: [tokenize]}
  check: {each: {job: tokenize}, command: [check]}
  convert: {each: {checkpoint: train}, command: [convert]}
  score: {needs: [train, check], command: [score, "${sibling.train.dir}", "${sibling.tokenize.dir}"]}
  table: {needs: convert, axes: lr, command: [table]}
"""


def test_jobs_of_groups_with_different_axes_belong_to_those_of_the_same_group(planner: Plans) -> None:
    plan = planner(GROUPS).plan()

    tokens = ["tokenize", "check-tokenize"]
    assert {job.id: sorted(jobs_of(job.start)) for job in plan.jobs if any(jobs_of(job.start))} == {
        "score-lr3": sorted(["train-lr3", *tokens]),
        "score-lr4": sorted(["train-lr4", *tokens]),
        "score-wd5": sorted(["train-wd5", *tokens]),
        "table-lr3": ["convert-train-lr3"],
        "table-lr4": ["convert-train-lr4"],
        "table": ["convert-train-wd5"],
    }


FORKED = """
study: s
sweep: {params: {lr: [1, 2]}}
stages:
  train: {command: [train, "${lr}"]}
  cool: {sweep: {params: {tokens: [3]}}, command: [cool, "${sibling.train.dir}"]}
  convert: {each: {checkpoint: [train, cool]}, command: [convert]}
  table: {needs: convert, sweep: {params: {tokens: [3]}}, command: [table]}
"""


def test_an_axis_that_one_of_several_parents_adds_keeps_no_job_of_the_others_out(planner: Plans) -> None:
    needs = {job.id: tuple(jobs_of(job.start)) for job in planner(FORKED).plan().jobs}

    assert needs["table-lr1-tokens3"] == ("convert-train-lr1", "convert-cool-lr1-tokens3")


EACH_SWEEP = """
study: s
sweep: {params: {lr: [1, 2]}}
stages:
  train: {command: [train, "${lr}"]}
  score:
    each: {checkpoint: train}
    sweep:
      configs: {task: [arc: {shots: 25}, mmlu: {shots: 5}]}
      defaults: {split: test}
    command: [score, "${task}", "${shots}", "${split}", "${lr}", "${checkpoint}", "${iteration}"]
"""


def test_an_each_stage_has_axes_of_its_own_and_what_appears_has_the_id_that_was_announced(planner: Plans) -> None:
    made = planner(EACH_SWEEP)
    plan = made.plan()
    parent = plan.jobs[1]

    appeared = [made.appear(template, parent, 7) for template in parent.children]

    assert [template.id for template in parent.children] == ["score-taskarc-train-lr2", "score-taskmmlu-train-lr2"]
    assert [job.id for job in appeared] == [template.child(parent.id, 7) for template in parent.children]
    assert appeared[0].values == {"lr": 2, "task": "arc"}
    checkpoint = "/root/s/jobs/train-lr2/checkpoints/iter_0000007"
    assert appeared[0].argv == ("score", "arc", "25", "test", "2", checkpoint, "7")


def test_each_checkpoint_is_tried_out_on_the_first_one_that_is_wanted(planner: Plans) -> None:
    text = """
study: s
stages:
  train: {command: [train]}
  score: {each: {checkpoint: train, from: 150, every: 100}, command: [score, "${calc:'1 / (${iteration} - 200)'}"]}
"""
    with pytest.raises(RecipeError) as caught:
        planner(text).plan()

    assert "recipe.yaml:5: stages.score.command.1: 1 / (${iteration} - 200) has no value" in caught.value.what
    assert "score-train@0000200" in caught.value.why


# How stages refer to each other

PAIR = """
study: s
sweep: {params: {lr: [1, 2]}}
stages:
  last:
    command: [report, "SIBLING"]
    START
  first: {command: [train], params: {note: "n${lr}"}}
"""


def pair(planner: Plans, sibling: str = "x", start: str = "") -> JobSpec:
    plan = planner(PAIR.replace("SIBLING", sibling).replace("START", start)).plan()
    return by_id(plan)["last-lr2"]


HOME = "/root/s/jobs/first-lr2"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("job", "first-lr2"),
        ("stage", "first"),
        ("study", "s"),
        ("dir", HOME),
        ("output", HOME),
        ("checkpoints", f"{HOME}/checkpoints"),
        ("params.note", "n2"),
        ("params.lr", "2"),
        ("values.lr", "2"),
    ],
)
def test_a_sibling_is_the_job_that_agrees_on_all_shared_axes_even_of_a_later_stage(
    planner: Plans, path: str, value: str
) -> None:
    assert pair(planner, f"${{sibling.first.{path}}}").argv == ("report", value)


def test_a_reference_to_a_sibling_waits_for_its_success(planner: Plans) -> None:
    job = pair(planner, "${sibling.first.dir}")

    assert job.start == Condition(name="job_succeeded", params={"stage": "first"}, jobs=("first-lr2",))
    assert job.needs == ("first-lr2",)


def test_a_reference_adds_no_wait_where_start_names_the_stage(planner: Plans) -> None:
    start = "start: {job_state: {stage: first, state: running}}"

    job = pair(planner, "${sibling.first.dir}", start)

    assert job.start.name == "job_state"
    assert (job.start.jobs, job.needs) == (("first-lr2",), ("first-lr2",))


def test_a_reference_waits_beside_what_start_says_of_other_things(planner: Plans) -> None:
    job = pair(planner, "${sibling.first.dir}", "start: {file_exists: {path: go}}")

    assert [part.name for part in job.start.parts] == ["file_exists", "job_succeeded"]


@pytest.mark.parametrize("needs", ["needs: first", "needs: [first]"])
def test_needs_means_success(planner: Plans, needs: str) -> None:
    job = pair(planner, "x", needs)

    assert job.start == Condition(name="job_succeeded", params={"stage": "first"}, jobs=("first-lr2",))
    assert job.needs == ("first-lr2",)


def test_a_param_that_only_another_stage_can_use_is_no_edge_and_no_error(planner: Plans) -> None:
    text = """
study: s
sweep: {params: {lr: [1]}}
params: {parent: "${sibling.train.dir}", half: "${calc:'${tokens} / 2'}", at: "step ${iteration}"}
stages:
  train: {command: [train]}
  cool: {sweep: {params: {tokens: [10]}}, command: [cool, "${parent}", "${half}"]}
  score: {each: {checkpoint: train}, command: [score, "${at}"]}
"""
    made = planner(text)
    plan = made.plan()
    train, cool = plan.jobs

    assert (train.needs, train.start) == ((), Condition(name="all"))
    assert train.params == {"lr": 1, "at": "step ${iteration}"}
    assert cool.argv == ("cool", "/root/s/jobs/train-lr1", "5")
    assert made.appear(train.children[0], train, 30).params["at"] == "step 30"


def test_a_stage_that_waits_for_an_each_stage_waits_for_its_templates(planner: Plans) -> None:
    text = """
study: s
sweep: {params: {lr: [1, 2]}}
stages:
  train: {command: [train]}
  score: {each: {checkpoint: train}, command: [score]}
  report: {needs: score, command: [report]}
"""
    reports = [job for job in planner(text).plan().jobs if job.stage == "report"]

    assert [report.start.templates for report in reports] == [("score-train-lr1",), ("score-train-lr2",)]
    assert [report.start.jobs for report in reports] == [(), ()]


def test_planning_twice_comes_to_the_same(planner: Plans) -> None:
    assert planner(LADDER).plan() == planner(LADDER).plan()


def test_adding_a_value_renames_nothing(planner: Plans) -> None:
    before = by_id(planner(EACH_SWEEP).plan())
    after = by_id(planner(EACH_SWEEP.replace("[1, 2]", "[0.5, 1, 2, 3]")).plan())

    assert before.keys() < after.keys()
    assert all(after[name] == job for name, job in before.items())


def test_only_the_variables_that_were_read_are_in_the_plan(planner: Plans) -> None:
    text = "study: s\nstages: {a: {command: [echo, '${oc.env:ACCOUNT}', '${oc.env:NONE,x}']}}"

    plan = planner(text, variables={"ACCOUNT": "me", "SECRET": "s"}).plan()

    assert plan.environment == {"ACCOUNT": "me"}
    assert plan.jobs[0].argv == ("echo", "me", "x")


def test_templates_stand_for_their_parents_only(planner: Plans) -> None:
    plan = planner(EACH_SWEEP).plan()

    assert plan.templates[0] == Template(
        id="score-taskarc-train-lr1",
        stage="score",
        parent="train-lr1",
        kind="checkpoint",
        axes={"task": "arc"},
        point={"split": "test", "task": "arc", "shots": 25},
    )
    assert {job.id: len(job.children) for job in plan.jobs} == {"train-lr1": 2, "train-lr2": 2}


def test_a_job_keeps_what_its_point_defines_for_the_jobs_that_appear(planner: Plans) -> None:
    assert [job.point for job in planner(EACH_SWEEP).plan().jobs] == [{"lr": 1}, {"lr": 2}]
