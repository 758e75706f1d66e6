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


def test_in_a_script_and_inside_texts_true_false_and_null_are_spelled_as_python_does(imported: Import) -> None:
    text = (
        "bias: true\nalso: '{bias}'\nnone: null\nuse: [true, false, 2]\nn: 7\nstart_condition_cmd: test {bias} = True\n"
    )
    text += "line: '--b={bias} --i={n:05d} --n={none}'\n"
    calculated = "twice: expr(2 if {bias} else 1)\n"
    made = imported(HEAD + text + calculated, t__sbatch="echo {bias} {also} {none} {use} {line} {twice}\n")

    said = [job.env for job in made.plan.jobs]
    assert [each["use"] for each in said] == ["True", "False", "2"]
    assert {(each["bias"], each["also"], each["none"]) for each in said} == {("True", "True", "None")}
    assert (said[0]["line"], said[0]["twice"]) == ("--b=True --i=00007 --n=None", "2")
    assert "test True = True" in str(made.plan.jobs[0].start)


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


JOB = "cmd: sbatch {sbatch_script}\ncheck_interval_secs: 600\nlogs: out\n"
ONE = 'template: t.sbatch\nsbatch_script: "scripts/{name}.sh"\noutput_file: "{logs}/{name}.txt"\n'
MODES = """\
mode:
  - fit:
      template: t.sbatch
      sbatch_script: "{name}.sh"
      output_file: "{logs}/{name}/fit.txt"
      nodes: 8
      termination_cmd: 'let last={passes}-1; n=`grep "pass $last" {output_file} | wc -l`; echo $(( n >= 1 ))'
  - judge:
      template: u.sbatch
      sbatch_script: "{name}_judge.sh"
      output_file: "{logs}/{name}/judge.txt"
      nodes: 1
      start_condition_cmd: "a=`ls {logs}/{name}/*.pt | wc -l`; b=`ls {logs}/{name}/*.json | wc -l`; echo $(( a > b ))"
      termination_cmd: "n=`ls {logs}/{name}/*.json | wc -l`; echo $(( n == {passes} + 1 ))"
"""
LENGTHS = "".join(
    f"        - {name}: {{rate: [0.1, 0.2], batch: 64, nodes: 4, samples: {count}, passes: 5}}\n"
    for name, count in (("short", 1_000), ("long", "1_000_000"))
)
DEEP = f"""\
plan:
  - few:
      size:
        net: [tiny, small, base]
      length:
{LENGTHS}  - many:
      size:
        net: [huge]
      length:
{LENGTHS}{MODES}data:
  - shards:
      path: "/data/{{0000..0139}}.tar"
name: "{{data}}_{{net}}_{{length}}_{{rate}}"
"""
FLAT = f"""\
data:
  - shards: {{path: "/data/{{0000..0139}}.tar"}}
size: [{{s: {{net: small}}}}, {{m: {{net: medium}}}}]
{MODES}passes: [1, 10, 100]
samples: 128_000
batch: 96
rate: 0.001
name: "{{data}}_{{size}}_{{passes}}"
"""
PLAIN = f"""\
{ONE}termination_str: "pass {{passes}}"
termination_cmd: ""
start_condition_cmd: ""
data: [{{a: {{path: "/a/{{00..12}}.tar"}}}}, {{b: {{path: "/b/{{00..23}}.tar"}}}}]
size: [{{s: {{net: small, batch: 64}}}}, {{m: {{net: medium, batch: 64}}}}]
passes: 1
nodes: 1
samples: [12_800]
rate: 0.1
name: "{{data}}_{{net}}_{{passes}}"
"""


@pytest.mark.parametrize(
    ("text", "counts", "nodes"),
    [
        pytest.param(
            f'{ONE}id: [{", ".join(map(str, range(1, 71)))}]\nname: "{{id}}"\ntermination_str: DONE\nnet: n\npath: p\n'
            "passes: 1\nrate: 1\nnodes: 1\n",
            {"t": 70},
            {"t": 1},
            id="one long axis",
        ),
        pytest.param(DEEP, {"fit": 16, "judge": 16}, {"fit": 8, "judge": 1}, id="branches of branches, in two modes"),
        pytest.param(FLAT, {"fit": 6, "judge": 6}, {"fit": 8, "judge": 1}, id="three axes, in two modes"),
        pytest.param(PLAIN, {"t": 4}, {"t": 1}, id="two named axes"),
    ],
)
def test_autoexperiment_s_own_examples_have_as_many_jobs_as_there(
    text: str, counts: dict[str, int], nodes: dict[str, int], imported: Import
) -> None:
    head = "#SBATCH --job-name={name}\n#SBATCH --nodes={nodes}\n"
    made = imported(
        JOB + text,
        t__sbatch=f"{head}fit {{net}} {{path}} {{passes}} {{rate}} --name {{name}} --to {{logs}}\n",
        u__sbatch=f"{head}judge {{net}} '{{logs}}/{{name}}/{{{{part}}}}.json'\n",
    )

    assert made.counts == counts
    assert len({job.id for job in made.plan.jobs}) == sum(counts.values())
    assert {job.stage: job.resources.nodes for job in made.plan.jobs} == nodes
    trained = [job for job in made.plan.jobs if job.stage != "judge"]
    assert len({tuple(sorted(job.env.items())) for job in trained}) == len(trained)
    assert all(".tar" not in job.env["path"] or "{0" in job.env["path"] for job in trained)
    assert "is not defined" not in made.told
