import pytest

from autoexp.importers.oellm.names import Names
from autoexp.importers.oellm.values import Values


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        pytest.param(r"e_\${backend.megatron.lr}_\\${stage}", "e_${lr}_${stage}", id="escapes"),
        pytest.param("${.nodes}x", "${nodes}x", id="a relative path"),
        pytest.param("${job.base_output_dir}/x/${job.name}", "${dir}/x/${job}", id="words of our own"),
        pytest.param(r"\${oc.eval:'\${aux.a} > 1e-3'}", "${calc:'${a} > 1e-3'}", id="an expression"),
        pytest.param(r"${oc.eval:${aux.a}//\(2*3\)}", "${calc:'${a}//(2*3)'}", id="one without quotes"),
        pytest.param("${oc.eval:'\"${aux.a}\" == \\'x\\''}", "${calc:'${a} == \"x\"'}", id="text in one"),
        pytest.param("${oc.muli:${aux.a},2,3}", "${calc:'int(${a} * 2 * 3)'}", id="a product"),
        pytest.param("${oc.cdivi:${oc.add:1,${aux.a}},4}", "${calc:'ceil((1 + ${a}) / 4)'}", id="resolvers in another"),
        pytest.param("${oc.if:${aux.a},yes,no}", '${calc:\'"yes" if ${a} else "no"\'}', id="a choice"),
        pytest.param("${oc.concat:'p_',\"${aux.a}/q\"}", '${calc:\'"p_" + join("", [${a}, "/q"])\'}', id="texts"),
        pytest.param('${oc.env:A,""}/${oc.env:B,${aux.a}}', '${oc.env:A,""}/${oc.env:B,${a}}', id="variables"),
        pytest.param("${sibling.s.job.base_output_dir}/checkpoints/c", "${sibling.s.checkpoints}/c", id="checkpoints"),
        pytest.param("x/${oc.pad_iter:${aux.a}}/y", "x/iter_${calc:'pad(int(${a}))'}/y", id="a checkpoint's folder"),
        pytest.param("${oc.eval:'str(${aux.a}).zfill(7)'}", "${calc:'pad(int(${a}), 7)'}", id="leading zeros"),
        pytest.param("${oc.tmpl:'%/x',${aux.a}}", '${calc:\'replace("%/x", "%", str(${a}))\'}', id="a template"),
        pytest.param("${sibling.s.name}", "${sibling.s.job}", id="a sibling's name"),
        pytest.param("${sibling.s.log_path_current}", "${sibling.s.dir}/current.log", id="a sibling's log"),
        pytest.param("${sibling.s.backend.megatron.lr}", "${sibling.s.params.lr}", id="a sibling's value"),
    ],
)
def test_values_are_written_in_our_words(written: str, ours: str) -> None:
    assert Values(Names(), pytest.fail).value(written, "slurm.sbatch.x") == ours


def test_what_has_no_words_here_stays_text_and_is_told() -> None:
    told: list[str] = []

    assert Values(Names(), told.append).value("x/${oc.mapeval:${aux.a}}") == r"x/\${oc.mapeval:\${aux.a}}"
    assert len(told) == 1


@pytest.mark.parametrize("items", ["${oc.mapextractkey:aux.n,${sweep.configs}}", "${aux.list}"])
def test_a_formula_for_each_entry_is_a_list(items: str) -> None:
    known = {"sweep.configs": [{"aux.n": 10}, {"aux.n": 20}], "aux.list": [10, 20]}
    values = Values(Names(), pytest.fail, look=known.get)

    made = values.value(f"${{oc.mapeval:${{oc.maptmpl:'int(%*(1-${{aux.a}}))',{items}}}}}", "x")

    assert made == ["${calc:'int(10*(1-${a}))'}", "${calc:'int(20*(1-${a}))'}"]


@pytest.mark.parametrize("written", ["job_${oc.timestring:}", r"\\${oc.timestring:}_job", "job${oc.timestring:}"])
def test_the_time_of_a_launch_is_left_out_of_names_and_told(written: str) -> None:
    told: list[str] = []

    assert Values(Names(), told.append).value(written, "slurm.name") == "job"
    assert len(told) == 1


def test_a_choice_among_values_takes_what_there_is() -> None:
    values = Values(Names(), pytest.fail, knows={"aux.a"}.__contains__)

    assert values.value("${oc.select:aux.a,x}/${oc.select:aux.b,'y'}/${oc.select:aux.b,${aux.a}}") == "${a}/y/${a}"


def test_times_become_durations_and_other_shapes_keep_theirs() -> None:
    values = Values(Names(), pytest.fail)

    assert values.value("00:30:00", "slurm.sbatch.time") == "30m"
    assert values.value({"a": [1, "${aux.b}"], "c": None}) == {"a": [1, "${b}"], "c": None}
    assert values.read == {"aux.b"}
