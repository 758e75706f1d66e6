from collections.abc import Callable
from dataclasses import replace
from textwrap import dedent, indent
from typing import Any

import pytest

from autoexp import selection
from autoexp.lint import names_read
from autoexp.machine import Machine, Partition
from autoexp.plan import Planner

Plans = Callable[..., Planner]


@pytest.fixture
def warned(planner: Plans) -> Callable[..., list[dict[str, Any]]]:
    """Plan a recipe of these stages, and return what is odd about it."""

    def plan(stages: str, more: str = "", **world: Any) -> list[dict[str, Any]]:
        text = f"study: s\n{dedent(more)}stages:\n{indent(dedent(stages), '  ')}"
        return [dict(warning) for warning in planner(text, **world).plan().warnings]

    return plan


Warned = Callable[..., list[dict[str, Any]]]


def test_a_plan_without_slips_is_told_nothing(warned: Warned) -> None:
    more = """
        sweep:
          params: {lr: [1, 2], single: 3}
          configs: {model: [{small: {width: 1}}, {large: {width: 2}}]}
          groups: [{params: {seed: [1, 2]}}]
        """

    assert warned("a: {command: [run, '${lr}', \"${calc:'${width} + 1'}\", '${ seed }']}\n", more) == []


def test_an_axis_that_nothing_reads_is_told_once_with_its_place(warned: Warned) -> None:
    more = """
        sweep:
          params: {lr: [1, 2]}
          groups:
            - configs: {model: [{small: {width: 1}}, {large: {width: 2}}]}
        """
    stages = """
        a: {command: [run, "${lr}"], sweep: {params: {seed: [1, 2]}}}
        b: {command: [run, "${lr}"]}
        """

    found = warned(stages, more)

    assert [(each["code"], each["where"].partition(" ")[2]) for each in found] == [
        ("unused-axis", "sweep.groups.0.configs.model"),
        ("unused-axis", "stages.a.sweep.params.seed"),
    ]
    assert "nothing reads the axis model" in found[0]["message"]


@pytest.mark.parametrize(
    ("sweep", "path"),
    [
        pytest.param("{configs: [{lr: 1, wd: 2}, {lr: 2, wd: 2}]}", "configs.0.lr", id="of whole configurations"),
        pytest.param(
            "{configs: {m: [{a: {params: {depth: [1, 2]}}}]}}", "configs.m.0.a.params.depth", id="of an entry"
        ),
        pytest.param("{params: {lr: [1, 2, 3]}, filter: \"${calc:'${lr} < 3'}\"}", "params.lr", id="only filtered"),
    ],
)
def test_an_axis_that_makes_no_job_another_one_is_told_wherever_it_stands(
    planner: Callable[..., Planner], sweep: str, path: str
) -> None:
    recipe = f"study: s\nsweep: {sweep}\nstages: {{a: {{command: [run]}}}}"

    told = [warning for warning in planner(recipe).plan().warnings if warning["code"] == "unused-axis"]

    assert [str(warning["where"]).partition(": ")[2] for warning in told] == [f"sweep.{path}"]


def test_a_stage_s_own_axis_is_read_by_that_stage_and_by_what_appears_for_it(warned: Warned) -> None:
    more = "sweep: {params: {seed: [1, 2]}}\n"
    train = "train: {command: [run, '${seed}']}\n"
    data = "data: {axes: [], sweep: {params: {seed: [3, 4]}}, command: [tokenize%s]}\n"

    (found,) = warned(train + data % "", more)
    assert (found["code"], found["where"].partition(": ")[2]) == ("unused-axis", "stages.data.sweep.params.seed")
    assert warned(train + data % ", '${seed}'", more) == []
    assert warned(f"{train}{data % ''}after: {{each: {{job: data}}, command: [say, '${{seed}}']}}\n", more) == []
    asking = "after: {axes: [], sweep: {params: {seed: [3, 4]}}, command: [say, '${sibling.data.params.seed}']}\n"
    assert [each["where"].partition(": ")[2] for each in warned(train + data % "" + asking, more)] == []


def test_a_param_that_an_axis_stands_over_is_told(warned: Warned) -> None:
    more = "sweep: {params: {lr: [1, 2]}}\nparams: {lr: 0}\n"

    (found,) = warned("a: {params: {lr: 3}, command: [run, '${lr}']}\n", more)

    assert (found["code"], found["where"].partition(": ")[2]) == ("hidden-param", "stages.a.params.lr")
    assert warned("a: {axes: [], params: {lr: 3}, command: [x, '${lr}']}\nb: {command: [x, '${lr}']}", more) == []
    (found,) = warned("a: {command: [x, '${lr}']}\nb: {each: {job: a}, params: {lr: 3}, command: [x, '${lr}']}", more)
    assert found["where"].partition(": ")[2] == "stages.b.params.lr"
    some = "sweep: {configs: {model: [{a: {w: 1}}, b]}}\n"
    assert warned("a: {params: {w: 3}, command: [x, '${w}']}", some) == []


@pytest.mark.parametrize(
    "sweep",
    [
        pytest.param("{type: zip, params: {a: [1, 2], b: [3, 4]}}", id="zipped"),
        pytest.param("{configs: [{a: 1, b: 3}, {a: 2, b: 4}]}", id="whole configurations"),
        pytest.param("{configs: {m: [{s: {type: zip, params: {a: [1, 2], b: [3, 4]}}}]}}", id="zipped in an entry"),
        pytest.param("{type: zip, params: {b: [3, 4]}, groups: [{params: {a: [1, 2]}}]}", id="zipped with a group"),
    ],
)
def test_an_axis_that_makes_no_points_of_its_own_may_go_unread(warned: Warned, sweep: str) -> None:
    assert warned("t: {command: [run, '${a}']}\n", f"sweep: {sweep}\n") == []
    both = "t: {command: [run, '${a} ${b}']}\nu: {command: [run, '${a}']}\n"
    assert warned(both, f"sweep: {sweep}\n") == []
    assert {each["code"] for each in warned("t: {command: [run]}\n", f"sweep: {sweep}\n")} == {"unused-axis"}


BY_GROUP = """
study: v
sweep: {type: list, groups: [{params: {a: [1]}}, {params: {b: [1]}}]}
stages: {t: {params: {a: 5, b: 6}, command: [echo, "${a} ${b}"]}}
"""


def test_what_the_sweep_stands_over_in_the_chosen_jobs_alone_is_read_by_the_others(planner: Plans) -> None:
    plan = planner(BY_GROUP).plan(selection.read("b == 1"))

    assert [job.id for job in plan.jobs] == ["t-b1"]
    assert plan.warnings == ()


ENTRIES = """
study: h
params: {lr: 5, seed: 1}
sweep: {configs: {m: [{x: {lr: 1}}, {y: {lr: 2}}]}}
stages: {t: {command: [echo, "${lr} ${seed}"]}}
"""


def test_a_param_of_the_command_line_that_changes_nothing_is_told(planner: Plans) -> None:
    (told,) = planner(ENTRIES, "lr=7").plan().warnings

    assert (told["code"], told["where"]) == ("hidden-param", "the command line (lr=7): params.lr")
    assert "stands over this param in all jobs, and setting it changes nothing; pin m" in str(told["message"])
    assert planner(ENTRIES, "seed=7").plan().warnings == ()
    assert planner(ENTRIES.replace("y: {lr: 2}", "y: {}"), "lr=7").plan().warnings == ()
    assert planner(ENTRIES).plan().warnings == ()


def test_an_axis_that_no_stage_has_is_told_as_that(warned: Warned) -> None:
    more = "sweep: {params: {lr: [1, 2], seed: [1, 2]}}\n"

    (found,) = warned("a: {axes: [lr], command: [run, '${lr}']}\nb: {each: {job: a}, command: [say]}\n", more)

    assert found["message"] == "no stage has the axis seed; name it in the axes: of one, or remove it"


def test_a_stage_whose_jobs_do_the_same_work_is_told_which_axis_makes_them(warned: Warned) -> None:
    more = "sweep: {params: {lr: [1, 2]}, configs: {model: [{a: {w: 1}}, {b: {w: 2}}]}}\nparams: {rate: '${lr}'}\n"
    train = "train: {command: [run, '${rate}', '${w}']}\n"

    (found,) = warned(f"data: {{command: [tokenize, '${{w}}']}}\n{train}", more)
    assert (found["code"], found["jobs"]) == ("same-work", [])
    assert "nothing in data reads the axis lr: its jobs do the same work several times; name the" in found["message"]
    assert warned(f"data: {{axes: model, command: [tokenize, '${{w}}']}}\n{train}", more) == []
    lent = more.replace("lr: [1, 2]}", "lr: [1, 2]}, defaults: {wd: '${lr}'}")
    assert warned(f"{train}data: {{command: [tokenize, '${{w}}', '${{wd}}']}}\n", lent) == []
    assert warned(f"{train}score: {{needs: train, command: [score]}}\n", more) == [], "they wait for different jobs"
    assert warned(f"{train}score: {{command: [score, '${{sibling.train.dir}}']}}\n", more) == []


def test_a_flag_called_filter_reads_an_axis_as_any_other(warned: Warned) -> None:
    stages = "a: {backend: command, params: {program: run}, args: {filter: '${lr}'}}"

    assert warned(stages, "sweep: {params: {lr: [1, 2]}}\n") == []


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


def test_what_a_job_cannot_do_without_and_is_not_there_is_told(warned: Warned) -> None:
    stages = """
        train:
          sweep: {params: {data: [here, there, nowhere]}}
          requires: ["/data/${data}", /tokenizer]
          command: [run, "${data}"]
        score: {requires: "${dir}", command: [run]}
        """
    asked: list[str] = []

    def exists(path: str) -> bool:
        asked.append(path)
        return path != "/data/nowhere"

    (found,) = warned(stages, exists=exists)

    assert (found["code"], found["jobs"]) == ("missing-path", ["train-datanowhere"])
    assert "/data/nowhere is not there" in found["message"]
    assert asked == ["/data/here", "/tokenizer", "/data/there", "/data/nowhere", "/root/s/jobs/score"]


def test_more_gpu_hours_than_the_budget_has_are_told(warned: Warned) -> None:
    stages = "train: {command: [run], resources: {gpus_per_node: 8, walltime: 3h}}\n"

    assert warned(stages, "budget: {gpu_hours: 24}\n") == []
    (found,) = warned(stages, "budget: {gpu_hours: 23}\n")
    assert "one attempt of each job may take 24 GPU hours, and the budget is 23" in found["message"]


def test_more_than_the_machine_has_is_told_where_it_is_asked_for_and_planned_all_the_same(warned: Warned) -> None:
    small = Partition(walltime_s=3600, nodes=2)
    machine = Machine(name="m", executor="slurm", options={"partition": "small"}, partitions={"small": small})
    stages = """
        train: {backend: megatron, resources: {nodes: 2, walltime: 2h}}
        score: {each: {checkpoint: train}, command: [s, '${checkpoint}'], resources: {nodes: 3, walltime: 1h}}
        """

    train, score = warned(stages, machine=machine)
    assert (train["code"], train["jobs"]) == ("over-limit", ["train"])
    assert train["where"].endswith("stages.train.resources.walltime")
    assert "asks for walltime: 2h, and partition small of machine m allows 1h; ask for at most 1h" in train["message"]
    assert score["where"].endswith("stages.score.resources.nodes")
    assert warned("a: {command: [a], resources: {nodes: 9, partition: other}}\n", machine=machine) == []
    (other,) = warned(
        "a: {command: [a], resources: {partition: other}}\n", machine=replace(machine, all_partitions=True)
    )
    assert "it asks for the partition other, and machine m has small" in other["message"]


def test_many_jobs_are_counted(warned: Warned) -> None:
    branches = ", ".join(str(150 + 100 * number) for number in range(5))

    (found,) = warned(WSD % ("", branches, ""))

    assert found["message"].startswith(
        "cooldown-branch150, cooldown-branch250, cooldown-branch350 and 2 more: it branches"
    )
    assert len(found["jobs"]) == 5


def test_a_flag_that_megatron_does_not_know_is_told_with_the_next_best(warned: Warned) -> None:
    stages = """
        a:
          backend: megatron
          sweep: {params: {lr: [1, 2]}}
          args: {train-iters: 9, lr: "${lr}", save_interval: 3, swiglu: true, frobnicate: 1}
        """

    known = {each["where"].rpartition(".")[2]: each for each in warned(stages)}

    assert {each["code"] for each in known.values()} == {"unknown-argument"}
    assert known["save_interval"]["message"].endswith("has no --save_interval; did you mean --save-interval?")
    assert known["frobnicate"]["message"].endswith("has no --frobnicate; correct it, unless your copy has it")
    assert known["frobnicate"]["jobs"] == ["a-lr1", "a-lr2"]


def test_other_programs_have_flags_of_their_own(warned: Warned) -> None:
    stages = "a: {backend: megatron, params: {program: autoexp.trainers.gpt}, args: {frobnicate: 1}}"
    machine = Machine(name="m", programs={"megatron": "/x/pretrain_other.py"})

    assert warned(stages) == []
    assert warned("a: {backend: megatron, args: {frobnicate: 1}}", machine=machine) == []
    machine = Machine(name="m", programs={"megatron": "/x/pretrain_gpt.py"})
    assert len(warned("a: {backend: megatron, args: {frobnicate: 1}}", machine=machine)) == 1


@pytest.mark.parametrize(
    "program",
    [
        "backend: megatron, args: {seed: '${a}', save: /data/run}",
        "command: [train, --seed, '${a}', --output_dir, /data/run/]",
        "command: [train, --seed, '${a}', --save=/data/run]",
        "command: 'train --seed ${a} --output-path /data/run'",
    ],
)
def test_two_jobs_that_write_to_one_place_are_told(warned: Warned, program: str) -> None:
    (found,) = warned(f"one: {{{program}, sweep: {{params: {{a: [1, 2, 3]}}}}}}")

    assert (found["code"], found["jobs"]) == ("shared-output", ["one-a2", "one-a3"])
    assert "it writes to /data/run, and so does one-a1" in found["message"]


def test_jobs_that_write_in_their_own_directories_share_nothing(warned: Warned) -> None:
    stages = """
        one: {command: [train, '${a}', --save, "${dir}/out", --output, out], sweep: {params: {a: [1, 2]}}}
        two: {backend: megatron, args: {seed: "${a}"}, sweep: {params: {a: [1, 2]}}}
        """

    assert warned(stages) == []


def test_a_variable_that_the_program_never_reads_is_told(warned: Warned) -> None:
    stages = """
        one:
          command: [python3, /code/train.py, "${a}"]
          sweep: {params: {a: [1, 2]}}
          env: {BATCH_SIZE: "${a}", GRAD_ACC: 2, NCCL_DEBUG: INFO}
        """

    def source(path: str) -> str:
        return "os.environ['PER_DEVICE_BATCH_SIZE'], os.environ['GRAD_ACC']" if path == "/code/train.py" else ""

    (found,) = warned(stages, source=source)
    assert (found["code"], found["jobs"]) == ("unread-variable", ["one-a1", "one-a2"])
    assert "BATCH_SIZE is exported, and /code/train.py never reads it" in found["message"]
    assert warned(stages) == []  # nobody can read the program


def test_a_variable_that_the_command_itself_reads_is_read(warned: Warned) -> None:
    stages = "one: {command: '/code/train.sh --batch $BATCH', env: {BATCH: 8}}"

    assert warned(stages, source=lambda _: "train") == []


def test_names_are_found_in_values_of_any_shape() -> None:
    raw = {"a": ["${x}", ("${ y }/${z.w}", 3)], "b": "${calc:'${v} + 1'}"}

    assert [*names_read(raw)] == ["x", "y", "z", "calc", "v"]


# Stages whose jobs appear later


def test_what_is_wrong_with_jobs_that_will_appear_is_told_with_their_first_one(warned: Warned) -> None:
    stages = """
        train: {backend: megatron, args: {train-iters: 100, save-interval: 10}}
        same: {each: {checkpoint: train}, command: [run, --output, /shared/hf]}
        own: {each: {checkpoint: train}, command: [run, --output, "/shared/${iteration}"]}
        here: {each: {checkpoint: train}, command: [run, --output, "${dir}/hf"]}
        lacking: {each: {checkpoint: train}, command: [run], requires: /nonexistent/tok}
        again: {each: {job: same}, backend: megatron, args: {train-iters: 1, lrr: 2}}
        """

    found = warned(stages, exists=lambda path: path != "/nonexistent/tok")

    assert sorted((each["code"], each["where"].partition(": ")[2]) for each in found) == [
        ("missing-path", "stages.lacking.requires"),
        ("shared-output", "stages.same"),
        ("unknown-argument", "stages.again.args.lrr"),
    ]


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


# Stages that never start


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


# Schedules


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


# Where things are looked for


def test_a_relative_path_is_looked_for_where_the_job_begins(warned: Warned) -> None:
    asked: list[str] = []

    def exists(path: str) -> bool:
        asked.append(path)
        return True

    warned("train: {command: [run], requires: [data/tok, /data/tok]}", exists=exists)

    assert [path.endswith("/s/jobs/train/data/tok") or path == "/data/tok" for path in asked] == [True, True]


OWN = ("USER_BATCH", "PATHS_X", "LANGUAGE_MODEL", "TERMS", "CUDATA")
OF_OTHERS = ("PATH", "LANG", "PYTHONPATH", "https_proxy", "CUDA_VISIBLE_DEVICES", "MPICH_GPU_SUPPORT_ENABLED")


@pytest.mark.parametrize("name", [*OWN, *OF_OTHERS])
def test_only_what_others_are_known_to_read_is_passed_over(warned: Warned, name: str) -> None:
    found = warned(f"train: {{command: [bash, /run.sh], env: {{{name}: 1}}}}", source=lambda _: "echo hello")

    assert [each["code"] for each in found] == (["unread-variable"] if name in OWN else [])


def test_a_param_that_only_the_stage_s_own_sweep_reads_is_not_called_hidden(warned: Warned) -> None:
    stages = """
        train:
          sweep: {params: {steps: ["${calc:'${steps} * 2'}", 5]}}
          params: {steps: 10}
          command: [run, "${steps}"]
        """

    assert codes(warned(stages)) == {}


def test_a_stage_that_appears_for_the_longest_trainings_only_is_fine(warned: Warned) -> None:
    stages = """
        train: {backend: megatron, args: {train-iters: "${iters}", save-interval: 100}}
        late: {each: {checkpoint: train, from: %s}, command: [run]}
        """
    sweep = "sweep: {params: {iters: [400, 4000]}}\n"

    assert codes(warned(stages % 1000, sweep)) == {}
    assert {*codes(warned(stages % 5000, sweep))} == {"never-starts"}
