import re

import pytest

from autoexp.errors import RecipeError
from tests.importers.conftest import Import

HEAD = "cmd: sbatch {sbatch_script}\nname: n\ntemplate: t.sbatch\noutput_file: o\nsbatch_script: s\n"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("a: 1", 1, id="one value"),
        pytest.param("a: [1, 2]\nb: [1, 2, 3]", 6, id="a product of unions"),
        pytest.param("d: {x: [1, 2], y: [3, 4]}", 4, id="a mapping is a product"),
        pytest.param("m: [{s: {w: 1}}, {l: {w: [2, 3]}}]", 3, id="a list of names is a union"),
        pytest.param("m: [{s: 1}, {l: [2, 3]}]", 3, id="names of plain values"),
        pytest.param("m: [{s: {k: [{u: {z: 1}}, {v: {z: [1, 2]}}], w: [1, 2]}}, {l: {w: 1}}]", 7, id="deep"),
        pytest.param("a: [1, 2]\nb: ['x{a}', 'y{a}']", 4, id="values of an axis that need another one"),
        pytest.param("a: 1\nm: [{s: {a: 2}}, {l: {b: 3}}]", 2, id="branches that stand over a value"),
        pytest.param("m: [{s: {w: 1}}, {l: {w: 2}}]\nn: [{p: {w: 3}}, {q: {w: 4}}]", 4, id="branches over branches"),
        pytest.param("template: [t.sbatch, u.sbatch]\na: [1, 2]", 4, id="several templates"),
    ],
)
def test_a_file_has_as_many_jobs_as_autoexperiment_makes_of_it(text: str, count: int, imported: Import) -> None:
    head = re.sub(r"template: .*\n", "", HEAD) if "template" in text else HEAD
    made = imported(head + text, t__sbatch="true\n", u__sbatch="true\n")

    assert sum(made.counts.values()) == count


def test_values_are_what_autoexperiment_makes_of_them(imported: Import) -> None:
    text = "lr: [1e-2, 1e-3]\nwd: expr(1e-4 / {lr})\nsteps: '100'\nhalf: expr({steps} // 2)\nid: '{lr}-{half}'\n"
    made = imported(HEAD + text, t__sbatch="echo {wd} {half} {id}\n")

    assert made.params("wd", "half", "id") == [(0.01, 50, "0.01-50"), (0.1, 50, "0.001-50")]


def test_the_later_definition_counts_across_stages(imported: Import) -> None:
    text = (
        "size: [{small: {nodes: 1, gpus: 2}}, {large: {nodes: 4, gpus: 4}}]\nextra: 1\n"
        "mode: [{train: {nodes: 24, extra: 2, template: t.sbatch}}, {eval: {template: t.sbatch}}]\nextra2: 1\n"
    )
    made = imported("cmd: x\nname: n\n" + text, t__sbatch="echo {nodes} {gpus} {extra} {mode}\n")

    assert made.params("nodes", "gpus", "extra", "mode") == [
        (24, 2, 2, "train"), (24, 4, 2, "train"), (1, 2, 1, "eval"), (4, 4, 1, "eval"),
    ]  # fmt: skip


def test_what_nothing_reads_is_left_out_and_told(imported: Import) -> None:
    made = imported(f"{HEAD}idle: 1\njob_id_regexp: x\n", t__sbatch="true\n")

    assert "idle" not in made.text
    assert "nothing reads idle" in made.told
    assert "job_id_regexp is left out" in made.told


def test_a_command_that_does_more_than_sbatch_is_told(imported: Import) -> None:
    made = imported(HEAD.replace("sbatch {", "sbatch --exclusive {"), t__sbatch="true\n")

    assert "'sbatch --exclusive {sbatch_script}' in resources.options" in made.told


def test_an_empty_list_is_refused_with_its_place(imported: Import) -> None:
    with pytest.raises(RecipeError, match=r"study\.yaml:6: a: an empty list"):
        imported(f"{HEAD}a: []\n", t__sbatch="true\n")


def test_values_that_are_there_twice_count_once_and_are_told(imported: Import) -> None:
    text = "a: [1, 1, '1', 2]\nm: [{s: {w: 1}}, {l: {w: 2}}, {s: {w: 1}}]\n"
    made = imported(HEAD + text, t__sbatch="echo {a} {m} {w}\n")

    assert [job.id for job in made.plan.jobs] == ["t-a1-ms", "t-a1-ml", "t-a2-ms", "t-a2-ml"]
    assert "study.yaml:6: a: what is there twice counts once" in made.told
    assert "study.yaml:7: m: what is there twice counts once" in made.told


def test_values_whose_jobs_would_have_one_id_get_names(imported: Import) -> None:
    made = imported(HEAD + "a: [1, 1.0]\nb: [x y, x_y]\n", t__sbatch="echo {a} {b}\n")

    assert made.params("a", "b") == [(1, "x y"), (1, "x_y"), (1.0, "x y"), (1.0, "x_y")]
    assert made.plan.jobs[-1].id == "t-a_choice1.0-b_choicechoice2"
    assert [job.env["a"] for job in made.plan.jobs[1:3]] == ["1", "1.0"]


def test_branches_of_one_name_that_differ_are_refused(imported: Import) -> None:
    with pytest.raises(RecipeError, match=r"study\.yaml:6: m: two branches are called s"):
        imported(HEAD + "m: [{s: {w: 1}}, {s: {w: 2}}]\n", t__sbatch="true\n")


def test_kinds_that_share_one_name_are_told(imported: Import) -> None:
    text = "cmd: x\nname: '{lr}'\nlr: [1, 2]\nmode: [{a: {template: t.sbatch}}, {b: {template: t.sbatch}}]\n"

    assert "AutoExperiment refuses this file" in imported(text, t__sbatch="echo {lr}\n").told
