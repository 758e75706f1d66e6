import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Room

CONFIG = """\
cmd: "sbatch {sbatch_script}"
name: "{word}"
word: [red, "two words"]
template: t.sbatch
output_file: out/{name}
sbatch_script: s
termination_str: "saw .*"
"""
TEMPLATE = "#!/bin/bash\n#SBATCH --nodes=1\necho \"saw {word}\" '{word}'\nfalse\n"


def write(room: "Room") -> None:
    (room.home / "config.yaml").write_text(CONFIG)
    (room.home / "t.sbatch").write_text(TEMPLATE)


def test_a_recipe_is_printed_and_what_to_know_of_it_beside(room: "Room") -> None:
    write(room)

    done = room.run("import", "autoexperiment", "config.yaml")

    assert done.stdout.startswith("# Made of config.yaml by autoexp import")
    assert "2 jobs" in done.stderr
    assert "warning: config.yaml" in done.stderr


def test_a_recipe_that_is_written_runs_as_the_original_did(room: "Room") -> None:
    write(room)

    done = room.run("import", "autoexperiment", "config.yaml", "--out", "new.yaml")
    ran = room.run("run", "new.yaml", "machine=local")

    assert "next: autoexp plan new.yaml --dry-run" in done.stderr
    assert ran.returncode == 0, ran.stderr + ran.stdout
    (log,) = room.home.glob("experiments/*/jobs/*two_words*/current.log")
    assert "saw two words two words" in log.read_text()


def test_json_is_the_plan_s(room: "Room") -> None:
    write(room)

    said = json.loads(room.run("import", "autoexperiment", "config.yaml", "--json").stdout)

    assert {job["params"]["word"] for job in said["jobs"]} == {"red", "two words"}
    assert {"code", "message", "where"} <= said["warnings"][0].keys()


def test_an_unknown_dialect_is_the_user_s_to_mend(room: "Room") -> None:
    done = room.run("import", "makefile", "config.yaml")

    assert (done.returncode, "unknown dialect 'makefile'" in done.stderr) == (1, True)


def test_a_recipe_that_is_there_is_not_written_over(room: "Room") -> None:
    write(room)
    (room.home / "new.yaml").write_text("mine")

    done = room.run("import", "autoexperiment", "config.yaml", "--out", "new.yaml")

    assert (done.returncode, "new.yaml is there already" in done.stderr) == (1, True)
    assert (room.home / "new.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    "broken", ["backend: {megatron: {data_path: '${oc.env:NO_SUCH_FOLDER}'}}", "sweep: [1]", "a: [}"]
)
def test_an_import_that_fails_writes_nothing(room: "Room", broken: str) -> None:
    (room.home / "one.yaml").write_text(broken)

    done = room.run("import", "oellm", "one.yaml", "--out", "new.yaml")

    assert (done.returncode, sorted(path.name for path in room.home.iterdir() if "new" in path.name)) == (1, [])
    assert "  fix: " in done.stderr
    assert done.stderr.startswith("autoexp: one.yaml:1: ")
    assert ("new.yaml is not written" in done.stderr) is ("cannot be planned here" in done.stderr)


def test_a_folder_that_is_not_there_is_the_user_s_to_mend(room: "Room") -> None:
    write(room)

    done = room.run("import", "autoexperiment", "config.yaml", "--out", "gone/new.yaml")

    assert (done.returncode, "gone/new.yaml cannot be written" in done.stderr) == (1, True)


def test_what_cannot_be_planned_here_is_told_with_its_line(room: "Room") -> None:
    (room.home / "one.yaml").write_text("backend: {megatron: {data_path: '${oc.env:NO_SUCH_FOLDER}'}}\n")

    done = room.run("import", "oellm", "one.yaml")

    assert done.returncode == 1
    assert done.stdout.startswith("# Made of one.yaml")
    assert "made of it cannot be planned here: line 6, stages.train.args.data-path: " in done.stderr
    assert "the environment has no NO_SUCH_FOLDER" in done.stderr


def test_what_cannot_be_planned_is_told_of_the_original(room: "Room") -> None:
    write(room)
    (room.home / "config.yaml").write_text(f"{CONFIG}n: expr(1/0)\nm: '{{n}}'\n")
    (room.home / "t.sbatch").write_text(f"{TEMPLATE}echo {{m}}\n")

    done = room.run("import", "autoexperiment", "config.yaml", "--out", "new.yaml")

    assert done.returncode == 1
    assert "autoexp: config.yaml:8: n: the recipe made of it cannot be planned here: line " in done.stderr
    assert "new.yaml:" not in done.stderr
    assert "new.yaml is not written" in done.stderr
    assert not (room.home / "new.yaml").exists()
