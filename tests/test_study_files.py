import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoexp import studies, study_files
from autoexp.errors import AutoexpError
from autoexp.machine import Machine
from autoexp.model import JobSpec, Template
from autoexp.outline import Plan
from autoexp.studies import Study
from autoexp.study_files import Difference

MACHINE = Machine(name="bench", python="/usr/bin/python3")
Specs = Callable[..., JobSpec]


def study(root: Path, *jobs: JobSpec, **fields: Any) -> Study:
    plan = Plan(study="demo", jobs=jobs, **{key: fields.pop(key) for key in ("templates", "previews") if key in fields})
    return Study(**{"dir": root / "demo", "plan": plan, "machine": MACHINE, "key": "beef", **fields})


def write(made: Study, text: str = "study: demo\n") -> Difference:
    old = studies.load(made.dir) if studies.exists(made.dir) else None
    return study_files.write(made, text, old)


def shape(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and directory below a folder, with its inode and time of change."""
    found = {}
    for path in folder.rglob("*"):
        status = path.stat()
        found[str(path.relative_to(folder))] = (status.st_ino, status.st_mtime_ns)
    return found


def run_once(made: Study, job: str) -> None:
    (made.job_dir(job) / "attempts" / "001").mkdir(parents=True)


# Writing and reading


def test_a_study_is_read_as_it_was_written(tmp_path: Path, make_spec: Specs) -> None:
    template = Template(id="eval-one", stage="eval", parent="one", kind="job")
    one, two = make_spec("one", children=(template,)), make_spec("two", params={"lr": 1e-3}, needs=("one",))
    made = study(tmp_path, one, two, templates=(template,), previews=(make_spec("eval-one", argv=()),))
    made = replace(made, recipe_sha256="abc", provenance={"recipe": "x"})

    write(made)

    assert studies.load(made.dir) == made


def test_a_study_has_the_directories_that_its_jobs_need(tmp_path: Path, make_spec: Specs) -> None:
    made = study(tmp_path, make_spec("one"))

    write(made, "text: of the recipe\n")

    assert sorted(shape(made.dir)) == [
        "jobs",
        "jobs/one",
        "jobs/one/job.yaml",
        "jobs/one/markers",
        "jobs/one/run.sh",
        "markers",
        "plan.json",
        "recipe.yaml",
    ]
    assert (made.dir / "recipe.yaml").read_text() == "text: of the recipe\n"
    assert "export PATH=/usr/bin:" in (made.job_dir("one") / "run.sh").read_text()


def test_plan_json_is_the_last_thing_written(tmp_path: Path, make_spec: Specs) -> None:
    """Whoever sees it sees a whole study."""
    made = study(tmp_path, make_spec("one"))

    write(made)

    times = {name: at for name, (_, at) in shape(made.dir).items()}
    assert times["plan.json"] == max(times.values())


def test_a_study_that_cannot_be_written_is_the_users_to_fix(tmp_path: Path, make_spec: Specs) -> None:
    (tmp_path / "demo").touch()

    with pytest.raises(AutoexpError, match="the study cannot be written to") as caught:
        study_files.write(study(tmp_path, make_spec("one")), "", None)

    assert "--root DIR" in caught.value.fix


# Planning again


def test_planning_the_same_again_touches_nothing(tmp_path: Path, make_spec: Specs) -> None:
    made = study(tmp_path, make_spec("one"), make_spec("two"))
    write(made)
    before = shape(made.dir)

    difference = write(replace(made, provenance={"revision": "another"}))

    assert not difference
    assert shape(made.dir) == before


def test_what_plan_json_cannot_tell_apart_is_no_change(tmp_path: Path, make_spec: Specs) -> None:
    made = study(tmp_path, make_spec("one", args={"saves": (55,), "of": {"tuples": ((1,), 2)}}))
    write(made)

    assert not write(made)
    assert write(study(tmp_path, make_spec("one", args={"saves": (56,), "of": {"tuples": ((1,), 2)}}))).changed == (
        "one",
    )


def test_planning_says_what_it_adds_changes_keeps_and_retires(tmp_path: Path, make_spec: Specs) -> None:
    made = study(tmp_path, *(make_spec(name) for name in ("same", "changed", "ran", "gone")))
    write(made)
    run_once(made, "ran")
    jobs = (make_spec("same"), make_spec("changed", "false"), make_spec("ran", "false"), make_spec("new"))

    difference = write(study(tmp_path, *jobs))

    assert difference == Difference(added=("new",), retired=("gone",), changed=("changed",), kept=("ran",))
    assert (made.job_dir("new") / "run.sh").exists()
    assert "false" in (made.job_dir("changed") / "run.sh").read_text()


def test_a_job_that_has_run_stays_as_it_was_planned(tmp_path: Path, make_spec: Specs) -> None:
    made = study(tmp_path, make_spec("ran", "echo first"))
    write(made)
    run_once(made, "ran")
    before = shape(made.dir)

    difference = write(study(tmp_path, make_spec("ran", "echo second")))

    assert difference == Difference(kept=("ran",))
    assert studies.load(made.dir).plan.jobs == (make_spec("ran", "echo first"),)
    assert shape(made.dir) == before


def test_what_appears_for_a_job_is_no_change_of_the_job(tmp_path: Path, make_spec: Specs) -> None:
    write(study(tmp_path, make_spec("one")))
    template = Template(id="eval-one", stage="eval", parent="one", kind="job")

    changed = study(tmp_path, make_spec("one", children=(template,)), templates=(template,), previews=(make_spec("x"),))

    assert write(changed) == Difference(recipe=True)
    assert studies.load(changed.dir).plan == changed.plan


def test_a_recipe_that_changes_only_what_is_yet_to_appear_is_taken(tmp_path: Path, make_spec: Specs) -> None:
    made = study(tmp_path, make_spec("one"), recipe_sha256="first")
    write(made, "first\n")

    difference = write(replace(made, recipe_sha256="second"), "second\n")

    assert difference == Difference(recipe=True)
    assert (made.dir / "recipe.yaml").read_text() == "second\n"
    assert studies.load(made.dir).recipe_sha256 == "second"


def test_a_name_that_a_job_only_knows_is_no_change_of_its_work_once_it_has_run(
    tmp_path: Path, make_spec: Specs
) -> None:
    made = study(tmp_path, make_spec("ran", params={"unread": 1}), make_spec("waits", params={"unread": 1}))
    write(made)
    run_once(made, "ran")

    difference = write(
        study(tmp_path, make_spec("ran", params={"unread": 2}), make_spec("waits", params={"unread": 2}))
    )

    assert difference == Difference(changed=("waits",))  # its job.yaml has all names
    assert studies.load(made.dir).plan.jobs[0].params == {"unread": 1}


def test_a_retired_job_is_remembered_because_the_journal_speaks_of_it(tmp_path: Path, make_spec: Specs) -> None:
    write(study(tmp_path, make_spec("one"), make_spec("two")))

    write(study(tmp_path, make_spec("two")))
    write(study(tmp_path, make_spec("three")))

    found = studies.load(tmp_path / "demo")
    assert found.plan.jobs == (make_spec("three"),)
    assert found.retired == (make_spec("one"), make_spec("two"))


def test_a_retired_job_that_is_planned_again_is_added_and_keeps_what_it_ran_with(
    tmp_path: Path, make_spec: Specs
) -> None:
    made = study(tmp_path, make_spec("one", "echo first"), make_spec("two"))
    write(made)
    run_once(made, "one")
    write(study(tmp_path, make_spec("two")))

    difference = write(study(tmp_path, make_spec("one", "echo second"), make_spec("two")))

    assert difference == Difference(added=("one",), kept=("one",))
    found = studies.load(made.dir)
    assert (found.plan.jobs[0], found.retired) == (make_spec("one", "echo first"), ())


def test_another_machine_changes_how_every_job_starts(tmp_path: Path, make_spec: Specs) -> None:
    made = study(tmp_path, make_spec("one"))
    write(made)

    write(replace(made, machine=replace(MACHINE, python="/opt/bin/python3")))

    assert "/opt/bin" in (made.job_dir("one") / "run.sh").read_text()
    assert studies.load(made.dir).machine.python == "/opt/bin/python3"


# Jobs that appear


def test_jobs_that_appeared_are_read_back_with_their_directories(tmp_path: Path, make_spec: Specs) -> None:
    made = study(tmp_path, make_spec("one"))
    write(made)

    study_files.add_appeared(made, [make_spec("eval-one", parent="one")])
    study_files.add_appeared(made, [make_spec("eval-two")])

    assert [spec.id for spec in studies.appeared(made.dir)] == ["eval-one", "eval-two"]
    assert (made.job_dir("eval-one") / "run.sh").exists()


def test_a_study_without_any_has_none(tmp_path: Path) -> None:
    study_files.mend(tmp_path)

    assert list(studies.appeared(tmp_path)) == []


def test_a_torn_last_line_is_left_out_and_mended(tmp_path: Path, make_spec: Specs) -> None:
    made = study(tmp_path, make_spec("one"))
    write(made)
    study_files.add_appeared(made, [make_spec("a")])
    path = made.dir / "appeared.jsonl"
    whole = path.read_bytes()
    for torn in range(1, 30, 7):
        path.write_bytes(whole + whole[:torn])

        assert [spec.id for spec in studies.appeared(made.dir)] == ["a"]
        study_files.mend(made.dir)
        assert path.read_bytes() == whole


def test_what_a_full_disk_tore_does_not_spoil_the_next_line(tmp_path: Path, make_spec: Specs) -> None:
    made = study(tmp_path, make_spec("one"))
    write(made)
    (made.dir / "appeared.jsonl").write_text('{"id":"torn')

    study_files.add_appeared(made, [make_spec("a")])

    assert [spec.id for spec in studies.appeared(made.dir)] == ["a"]


@pytest.mark.parametrize("line", ['{"id":', "[]", '{"id":"a"}', '{"unknown":1}'])
def test_a_damaged_line_names_itself(tmp_path: Path, make_spec: Specs, line: str) -> None:
    made = study(tmp_path, make_spec("one"))
    write(made)
    study_files.add_appeared(made, [make_spec("a")])
    with (made.dir / "appeared.jsonl").open("a") as file:
        file.write(f"{line}\n")

    with pytest.raises(AutoexpError, match=r"appeared\.jsonl:2: the line is damaged") as caught:
        list(studies.appeared(made.dir))

    assert caught.value.fix == "delete the line: its job appears again"


# Provenance


def git(folder: Path, *words: str) -> str:
    who = {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
    }
    variables = {**os.environ, **who, "GIT_COMMITTER_EMAIL": "a@b"}
    return subprocess.run(
        ["git", "-C", folder, *words], check=True, capture_output=True, text=True, env=variables
    ).stdout.strip()


def test_a_plan_says_which_revision_its_recipe_came_from(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("study: demo\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "r.yaml")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")

    clean = study_files.provenance(recipe)
    recipe.write_text("study: other\n")
    changed = study_files.provenance(recipe)

    assert (clean["recipe"], clean["revision"]) == (str(recipe), commit)
    assert changed["revision"] == f"{commit}+"


def test_a_recipe_outside_any_repository_has_no_revision(tmp_path: Path) -> None:
    assert study_files.provenance(tmp_path / "r.yaml")["revision"] is None


def test_a_study_that_lost_its_plan_is_known_by_its_attempts(tmp_path: Path) -> None:
    attempt = tmp_path / "jobs" / "one" / "attempts" / "001"
    attempt.mkdir(parents=True)
    (attempt / "intent.json").write_text('{"token": "one.1.abcd1234"}')

    assert study_files.key_for(tmp_path) == "abcd1234"


def test_keys_are_drawn_at_random_and_plans_hold_plain_json(tmp_path: Path, make_spec: Specs) -> None:
    made = study(tmp_path, make_spec("one"), key=study_files.key_for(tmp_path))
    write(made)

    assert len({study_files.key_for(tmp_path) for _ in range(100)}) == 100
    assert json.loads((made.dir / "plan.json").read_text())["key"] == made.key
