import json
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.commands.conftest import Say
    from tests.conftest import Room

GOOD = """
study: good
machine: bench
params: {words: 3}
sweep: {params: {lr: [1e-3, 1e-2]}, configs: {model: [small: {width: 1}]}}
stages:
  train: {command: [echo, "${lr}", "${words}"]}
  score: {needs: train, command: [echo, "${sibling.train.job}"]}
"""
EACH = """
study: each
machine: bench
params: {program: train.py}
stages:
  pretrain: {backend: megatron, args: {train-iters: 40}}
  convert: {each: {checkpoint: pretrain}, hook: megatron_to_hf}
  evaluate: {each: {job: convert}, command: [echo, "${sibling.convert.output}"]}
"""


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below a folder: which file it is, when it changed, and what it holds."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (status.st_ino, status.st_mtime_ns, content)
    return found


# What cannot be planned


BROKEN = {
    "an unknown key": (
        "one: {comand: 'true'}",
        "broken.yaml:4: stages.one.comand: unknown key",
        "did you mean command?",
    ),
    "an undefined name": (
        "one: {command: [echo, '${nowhere}']}",
        "stages.one.command.1: ${nowhere} is not",
        "define it",
    ),
    "a division by zero": (
        "one: {command: [echo, \"${calc:'1 / ${zero}'}\"]}",
        "1 / ${zero} has no value",
        "the value",
    ),
    "two jobs with one id": (
        "one: {sweep: {type: list, groups: [{params: {lr: [1]}}, {params: {lr: [1.0]}}]}, command: 'true'}",
        "stages.one: two jobs have the id one-lr1",
        "remove the duplicate",
    ),
    "an unknown backend": ("one: {backend: nemmo, args: {}}", "unknown backend 'nemmo'", "autoexp/backends/nemmo.py"),
    "an unknown hook": ("one: {hook: megatron_to_hff}", "unknown hook 'megatron_to_hff'", "hooks/megatron_to_hff.py"),
    "an unknown gate": ("one: {gate: nccl, command: 'true'}", "stages.one.gate: unknown hook 'nccl'", "hooks/nccl.py"),
    "an unknown hook to prepare with": (
        "one: {prepare: {link: {from: x}}, command: 'true'}",
        "stages.one.prepare: unknown hook 'link'",
        "hooks/link.py",
    ),
    "an unknown condition": ("one: {start: {file_exist: {path: x}}, command: 'true'}", "'file_exist'", "file_exists"),
    "an unknown stage": ("one: {needs: zero, command: 'true'}", "there is no stage 'zero'", "correct the name"),
    "no stages": ("{}", "", ""),
    "no YAML": ("one: {command: [true}", "broken.yaml:4: this is no YAML", "correct the line"),
}


@pytest.mark.parametrize(("stage", "what", "fix"), [pytest.param(*case, id=name) for name, case in BROKEN.items()])
@pytest.mark.parametrize("planned", [False, True], ids=["a new study", "a study that stands there already"])
def test_what_cannot_be_planned_says_what_why_and_the_fix_and_writes_nothing(
    here: "Room", say: "Say", stage: str, what: str, fix: str, *, planned: bool
) -> None:
    here.write("good.yaml", GOOD.replace("good", "broken"))
    if planned:
        assert say("plan", "good.yaml").status == 0
    here.write("broken.yaml", f"study: broken\nparams: {{zero: 0}}\nstages:\n  {stage}\n")
    before = tree(here.home)

    said = say("plan", "broken.yaml")

    assert (said.status, said.out) == (1, "")
    first, why, last = said.err.splitlines()
    assert first.startswith("autoexp: ")
    assert what in first
    assert why.startswith("  why: ")
    assert last.startswith("  fix: ")
    assert fix in last
    assert tree(here.home) == before


@pytest.mark.parametrize(
    ("words", "what", "fix"),
    [
        pytest.param(["--machine", "luna"], "unknown machine 'luna'", "machines/luna.yaml", id="an unknown machine"),
        pytest.param(
            ["lerning_rate=1"], "'lerning_rate=1' cannot be", "use one of lr, model, words", id="an unknown param"
        ),
        pytest.param(["lr"], "'lr' cannot be applied", "lr=1e-3", id="no KEY=VALUE"),
        pytest.param(["model=large"], "'model=large' cannot be", "use one of small", id="an unknown entry"),
        pytest.param(
            ["--root", "good.yaml"], "good.yaml cannot hold studies", "--root DIR", id="a root that is a file"
        ),
        pytest.param(["--root", "good.yaml/x"], "good.yaml/x cannot hold", "--root DIR", id="a root in a file"),
    ],
)
def test_what_the_command_line_gets_wrong_is_refused_and_writes_nothing(
    here: "Room", say: "Say", words: list[str], what: str, fix: str
) -> None:
    here.write("good.yaml", GOOD)
    before = tree(here.home)

    said = say("plan", "good.yaml", *words)

    assert (said.status, said.out) == (1, "")
    assert said.err.startswith(f"autoexp: {what}")
    assert fix in said.err.splitlines()[-1]
    assert tree(here.home) == before


def test_a_folder_called_like_a_recipe_of_ours_does_not_hide_it(here: "Room", say: "Say") -> None:
    (here.home / "demo").mkdir()

    assert say("plan", "demo", "--dry-run").out.startswith("demo: ")


def test_a_recipe_that_names_an_unknown_machine_is_told_where(here: "Room", say: "Say") -> None:
    here.write("broken.yaml", "study: broken\nmachine: luna\nstages:\n  one: {command: 'true'}\n")

    assert say("plan", "broken.yaml").err.startswith("autoexp: broken.yaml:2: machine: unknown machine 'luna'\n")


@pytest.mark.parametrize("recipe", ["nothing.yaml", "nothing", "machines"])
def test_a_recipe_that_is_not_there_is_the_users_to_fix(say: "Say", recipe: str) -> None:
    said = say("plan", recipe)

    assert said.status == 1
    assert len(said.err.splitlines()) == 3


@pytest.mark.parametrize("place", ["", "good", "good/jobs"], ids=["the root", "its study", "the folder of its jobs"])
def test_what_may_not_be_written_to_stays_as_it_was(here: "Room", humble: tuple[str, ...], place: str) -> None:
    here.write("good.yaml", GOOD)
    here.prefix = humble
    if place:
        assert here.run("plan", "good.yaml").returncode == 0
    folder = here.root / place
    folder.mkdir(exist_ok=True)
    here.write("more.yaml", GOOD + "  more: {command: 'true'}\n")
    folder.chmod(0o555)
    before = tree(here.home)

    refused = here.run("plan", "more.yaml")
    only_shown = here.run("plan", "more.yaml", "--dry-run")
    after = tree(here.home)
    folder.chmod(0o755)

    assert (refused.returncode, refused.stdout) == (1, "")
    assert only_shown.returncode == 0
    assert len(refused.stderr.splitlines()) == 3
    assert "choose a folder that you may write to: --root DIR" in refused.stderr
    assert after == before


def test_a_folder_that_nobody_may_enter_is_no_bug_of_ours(here: "Room", humble: tuple[str, ...]) -> None:
    here.write("locked/good.yaml", GOOD)
    here.prefix = humble
    (here.home / "locked").chmod(0)

    recipe = here.run("plan", "locked/good.yaml")
    root = here.run("plan", "demo", "--root", "locked/root")
    (here.home / "locked").chmod(0o755)

    assert (recipe.returncode, root.returncode) == (1, 1)
    assert "locked/good.yaml cannot be read" in recipe.stderr
    assert "locked may not be written to" in root.stderr


# What is planned


def test_json_names_every_job_with_what_it_is_made_of(here: "Room", say: "Say") -> None:
    here.write("good.yaml", GOOD)

    told = json.loads(say("plan", "good.yaml", "--json").out)

    assert list(told) == ["study", "jobs", "warnings", "changes"]
    assert (told["study"], told["warnings"]) == ("good", [])
    assert [job["job"] for job in told["jobs"]] == [
        *(f"train-lr{lr}-modelsmall" for lr in (0.001, 0.01)),
        *(f"score-lr{lr}-modelsmall" for lr in (0.001, 0.01)),
    ]
    assert told["jobs"][-1] == {
        "job": "score-lr0.01-modelsmall",
        "stage": "score",
        "values": {"lr": 0.01, "model": "small"},
        "params": {"words": 3, "lr": 0.01, "model": "small", "width": 1},
        "needs": ["train-lr0.01-modelsmall"],
        "each": None,
    }


def test_a_graph_comes_with_the_warnings_beside_it(here: "Room", say: "Say") -> None:
    here.write("odd.yaml", "study: odd\nsweep: {params: {n: [1, 2]}}\nstages: {one: {command: 'true'}}\n")

    drawn = say("plan", "odd.yaml", "--dry-run", "--graph", "text")
    told = say("plan", "odd.yaml", "--dry-run").out

    assert drawn.err.startswith("warning: odd.yaml:2: sweep.params.n: ")
    assert drawn.err in told
    assert "warning" not in drawn.out


def test_a_script_that_bash_cannot_read_is_told_before_it_costs_anything(here: "Room", say: "Say") -> None:
    here.write(
        "odd.yaml",
        "study: odd\nstages: {one: {command: 'if true; then echo'}, two: {command: 'shopt -s extglob; ls !(a|b)'}}\n",
    )

    told = say("plan", "odd.yaml", "--dry-run").out

    assert "stages.one: one: bash cannot read its script (line 2: syntax error: unexpected end of file)" in told
    assert told.count("warning") == 1


@pytest.mark.parametrize(
    ("walltime", "told"),
    [
        ("", "  GPU hours: unknown for one (2 without a walltime)"),
        (
            ", walltime: 3h",
            "  GPU hours: 24 at most for one attempt of each",
        ),
    ],
)
def test_gpu_hours_that_nobody_can_know_are_called_unknown(here: "Room", say: "Say", walltime: str, told: str) -> None:
    here.machine(gpus=4)
    here.write(
        "gpus.yaml",
        "study: gpus\nmachine: bench\nsweep: {params: {n: [1, 2]}}\nstages:\n"
        f"  one: {{command: 'echo ${{n}}', resources: {{gpus_per_node: 4{walltime}}}}}\n",
    )

    assert told in say("plan", "gpus.yaml", "--dry-run").out.splitlines()


def test_programs_and_graphs_are_told_too_what_a_changed_recipe_changes(here: "Room", say: "Say") -> None:
    here.write("good.yaml", GOOD)
    first = json.loads(say("plan", "good.yaml", "--json").out)
    same = say("plan", "good.yaml", "--dry-run", "--graph", "dot")
    here.write("good.yaml", GOOD.replace("1e-2", "3e-2"))

    shown = say("plan", "good.yaml", "--dry-run", "--graph", "dot")
    told = json.loads(say("plan", "good.yaml", "--json").out)["changes"]

    assert first["changes"] is None
    assert same.err == "nothing has changed since it was planned\n"
    assert shown.err.startswith("  added: train-lr0.03-modelsmall, score-lr0.03-modelsmall\n  retired: train-lr0.01")
    assert told == {
        "added": ["train-lr0.03-modelsmall", "score-lr0.03-modelsmall"],
        "changed": [],
        "retired": ["train-lr0.01-modelsmall", "score-lr0.01-modelsmall"],
        "kept": [],
    }


def test_a_stage_for_each_checkpoint_or_job_counts_once_for_its_parent(here: "Room", say: "Say") -> None:
    here.write("each.yaml", EACH)

    told = json.loads(say("plan", "each.yaml", "--json").out)
    shown = say("plan", "each.yaml").out.splitlines()

    assert {job["stage"]: job["each"] for job in told["jobs"]} == {
        "pretrain": None,
        "convert": "checkpoint",
        "evaluate": "job",
    }
    assert len(told["jobs"]) == 3
    assert shown[0] == f"each: 1 job on machine bench, in {here.root}/each"
    assert "  convert: one for each checkpoint of 1 job" in shown
    shown = say("plan", "each.yaml", "stages.convert.each.batch=8").out.splitlines()
    assert "  convert: one for each 8 checkpoints of 1 job" in shown


def test_planning_again_says_what_it_changes(here: "Room", say: "Say") -> None:
    here.write("good.yaml", GOOD)

    first = say("plan", "good.yaml").out
    same = say("plan", "good.yaml").out
    other = say("plan", "good.yaml", "lr=1e-3", "words=4").out

    assert "  added: train-lr0.001-modelsmall, train-lr0.01-modelsmall, score-lr0.001-modelsmall and 1 more" in first
    assert first.endswith(f"next: autoexp watch {here.root}\n")
    assert "nothing has changed since it was planned" in same
    assert "  retired: train-lr0.01-modelsmall, score-lr0.01-modelsmall" in other
    assert "  changed: score-lr0.001-modelsmall, train-lr0.001-modelsmall" in other


def test_a_recipe_whose_saves_are_left_to_us_is_planned_again_without_a_change(here: "Room", say: "Say") -> None:
    text = """
        study: auto
        machine: bench
        stages:
          train: {backend: megatron, args: {train-iters: 100, save-interval: 10, save-extra-steps: auto}}
          cool:
            backend: megatron
            prepare: {cooldown_symlink: {from: "${sibling.train.checkpoints}", iteration: 55}}
            start: {checkpoint_reached: {stage: train, iteration: 55}}
            args: {train-iters: 65, override-opt_param-scheduler: true}
        """
    here.write("auto.yaml", dedent(text))
    say("plan", "auto.yaml")
    before = tree(here.root)

    say("plan", "auto.yaml")

    assert tree(here.root) == before


def test_a_dry_run_says_the_same_and_writes_nothing(here: "Room", say: "Say") -> None:
    here.write("good.yaml", GOOD)
    before = tree(here.home)

    dry = say("plan", "good.yaml", "--dry-run")

    assert tree(here.home) == before
    assert dry.out.splitlines()[:-1] == say("plan", "good.yaml").out.splitlines()[:-1]
    assert dry.out.endswith("nothing was written (--dry-run)\n")


def test_a_root_is_where_it_is_asked_for(here: "Room", say: "Say", monkeypatch: pytest.MonkeyPatch) -> None:
    here.write("good.yaml", GOOD)

    say("plan", "good.yaml")
    monkeypatch.setenv("AUTOEXP_ROOT", "from/the/environment")
    say("plan", "good.yaml")
    say("plan", "good.yaml", "--root", "asked")

    found = {path.parent.parent.relative_to(here.home) for path in here.home.rglob("plan.json")}
    assert found == {Path("experiments"), Path("from/the/environment"), Path("asked")}


def test_the_machine_asked_for_stands_over_the_recipes(here: "Room", say: "Say") -> None:
    here.write("good.yaml", GOOD)
    here.write("machines/other.yaml", "executor: local\n")

    assert " on machine bench, " in say("plan", "good.yaml").out
    assert " on machine other, " in say("plan", "good.yaml", "--machine", "other").out


def test_a_recipe_that_came_along_is_found_by_its_name_and_one_s_own_comes_first(here: "Room", say: "Say") -> None:
    shipped = say("plan", "demo", "--dry-run")
    here.write("recipes/demo.yaml", GOOD)

    assert shipped.out.startswith("demo: ")
    assert say("plan", "demo", "--dry-run").out.startswith("good: ")


def test_a_plan_killed_before_its_end_is_no_study_and_the_next_one_is_whole(
    here: "Room", say: "Say", monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write("good.yaml", GOOD)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("autoexp.study_files._encode", die)
        assert say("plan", "good.yaml").status == 130
    assert json.loads(say("status", "experiments", "--json").out)["studies"] == []

    assert say("plan", "good.yaml").status == 0
    assert len(here.rows("good")) == 4


def test_the_environment_stays_out_of_the_plan_but_for_what_the_recipe_reads(
    here: "Room", say: "Say", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "dear-secret")
    monkeypatch.setenv("WORDS", "7")
    here.write("good.yaml", GOOD.replace("words: 3", 'words: "${oc.env:WORDS}"'))

    say("plan", "good.yaml")

    written = b"".join(content for _, _, content in tree(here.root).values())
    assert json.loads((here.root / "good" / "plan.json").read_bytes())["environment"] == {"WORDS": "7"}
    assert b"dear-secret" not in written


def test_what_a_plan_was_made_with_is_in_it(here: "Room", say: "Say") -> None:
    here.write("good.yaml", GOOD)
    for command in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "c", "--allow-empty"]):
        subprocess.run(["git", *command], check=True, cwd=here.home)

    say("plan", "good.yaml")

    provenance = json.loads((here.root / "good" / "plan.json").read_bytes())["provenance"]
    assert provenance["recipe"] == str(here.home / "good.yaml")
    assert len(provenance["revision"]) in {40, 41}


def test_a_machine_whose_executor_nobody_knows_is_refused_before_anything_is_written(here: "Room", say: "Say") -> None:
    here.write("good.yaml", GOOD)
    here.write("machines/bench.yaml", "description: x\nexecutor: kubernetes\n")

    for words in (("--dry-run",), ()):
        refused = say("plan", "good.yaml", *words)
        assert (refused.status, "unknown executor 'kubernetes'" in refused.err) == (1, True)

    assert not (here.home / "experiments" / "good").exists()


def test_only_the_chosen_jobs_are_planned(here: "Room", say: "Say") -> None:
    here.machine()
    here.write(
        "two.yaml", "study: two\nmachine: bench\nsweep: {params: {a: [1, 2]}}\nstages: {one: {command: [x, '${a}']}}\n"
    )

    said = say("plan", "two.yaml", "--where", "a == 2")
    assert "one: 1 job" in said.out
    assert [path.name for path in (here.root / "two" / "jobs").iterdir()] == ["one-a2"]
    assert "added: one-a1" in say("plan", "two.yaml").out


def test_what_a_program_reads_is_looked_up_beside_it(here: "Room", say: "Say") -> None:
    here.machine()
    train = here.write("code/train.py", "import settings\n")
    here.write("code/settings.py", "import os\nbatch = os.environ['BATCH']\n")
    command = f"stages: {{one: {{command: [python3, {train}], env: {{BATCH: 8, LR: 1}}}}}}"
    here.write("one.yaml", f"study: one\nmachine: bench\n{command}\n")

    (found,) = json.loads(say("plan", "one.yaml", "--dry-run", "--json").out)["warnings"]

    assert (found["code"], "LR is exported" in found["message"]) == ("unread-variable", True)
