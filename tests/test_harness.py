import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoexp import harness
from autoexp.errors import HookRefused
from autoexp.harness import Request
from tests import majority


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for models, tasks and caches."""
    folder = tmp_path_factory.mktemp("home, with a comma")
    with majority.offline(folder):
        yield folder


@pytest.fixture(scope="module")
def request_(home: Path) -> Request:
    tasks = majority.save_tasks(home / "tasks")
    return Request(model=majority.save_model(home / "model"), tasks=("most", "half"), task_folder=tasks, few_shot=2)


@pytest.fixture(scope="module")
def evaluated(request_: Request, home: Path) -> dict[str, Any]:
    """One run for all tests that only look at it."""
    (home / "out").mkdir()
    (home / "out" / "results_of_yesterday.json").write_text("{}")
    return harness.evaluate(request_, home / "out")


def test_each_task_has_the_accuracy_that_counting_gives_and_its_standard_error(evaluated: dict[str, Any]) -> None:
    found = {score["task"]: score for score in evaluated["scores"]}

    assert {task: score["value"] for task, score in found.items()} == {"most": 0.75, "half": 0.5}
    for task, score in found.items():
        right = majority.hits(task, few_shot=2)
        assert score["value"] == statistics.mean(right)
        assert score["stderr"] == pytest.approx(statistics.stdev(right) / math.sqrt(len(right)))
        assert (score["metric"], score["higher_is_better"]) == ("acc", True)


def test_beside_the_scores_stands_what_was_asked_of_what(evaluated: dict[str, Any], request_: Request) -> None:
    beside = ("few_shot", "samples", "samples_in_all", "version")
    assert [tuple(score[name] for name in beside) for score in evaluated["scores"]] == [(2, 4, 4, 2.0)] * 2
    assert (evaluated["model"], evaluated["tasks"]) == (str(request_.model), ["most", "half"])
    assert (evaluated["limit"], evaluated["dtype"], "note" in evaluated) == (None, "float32", False)
    assert evaluated["lm_eval"]


def test_examples_are_what_makes_the_difference() -> None:
    assert statistics.mean(majority.hits("most", few_shot=0)) == 0.25


# Failures that must not look like results.


@pytest.fixture
def program(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a program in the harness' place, for what it does only when something is broken."""
    del home

    def put(script: str) -> None:
        (tmp_path / "lm_eval").mkdir()
        (tmp_path / "lm_eval" / "__init__.py").touch()
        (tmp_path / "lm_eval" / "__main__.py").write_text(script)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return put


@pytest.mark.parametrize(
    ("script", "what", "why"),
    [
        pytest.param("print('all is well')", "ended well, and left 0 files", "all is well", id="no result"),
        pytest.param("import os; os.kill(os.getpid(), 9)", "ended with signal SIGKILL", "said nothing", id="killed"),
        pytest.param("raise SystemExit('no room\\n\\n')", "ended with 1", "no room", id="failed"),
    ],
)
def test_a_program_that_left_no_result_has_failed(
    program: Callable[[str], None], request_: Request, tmp_path: Path, *, script: str, what: str, why: str
) -> None:
    program(script)

    with pytest.raises(HookRefused, match=what) as refused:
        harness.evaluate(request_, tmp_path / "out")

    assert why in refused.value.why


@pytest.mark.parametrize("text", ["", '{"results": {', "[]"])
def test_a_file_of_results_that_is_torn_has_none(
    program: Callable[[str], None], request_: Request, tmp_path: Path, text: str
) -> None:
    program(
        "import pathlib, sys\n"
        "out = pathlib.Path(sys.argv[sys.argv.index('--output_path') + 1])\n"
        f"out.with_name('results_now.json').write_text({text!r})\n"
    )

    with pytest.raises(HookRefused, match="gave no result"):
        harness.evaluate(request_, tmp_path / "out")


def results(text: str, **more: Any) -> dict[str, Any]:
    return {"results": {"most": {"alias": "most", **json.loads(text)}}, **more}


@pytest.mark.parametrize(
    ("found", "what"),
    [
        pytest.param(results('{"acc,none": NaN, "acc_stderr,none": 0.1}'), "acc of most is nan", id="no number"),
        pytest.param(results('{"f1,none": 1, "acc,none": Infinity}'), "acc of most is inf", id="infinite"),
        pytest.param(results('{"acc,none": null}'), "acc of most is None", id="null"),
        pytest.param(results('{"acc,none": "0.5"}'), "acc of most is '0.5'", id="text"),
        pytest.param(results('{"acc,none": true}'), "acc of most is True", id="truth"),
        pytest.param(results('{"acc_stderr,none": 0.1}'), "task most has no score", id="only its error"),
        pytest.param(results("{}"), "task most has no score", id="no metric"),
        pytest.param(results('{"acc,none": 1}', configs={"half": {}}), "task half has no score", id="a task missing"),
        pytest.param({"results": {}}, "there are no scores", id="no task"),
        pytest.param({}, "there are no scores", id="nothing"),
    ],
)
def test_a_score_that_means_nothing_is_none(found: dict[str, Any], what: str) -> None:
    with pytest.raises(HookRefused, match=what):
        list(harness.scores(found))


def test_a_metric_without_a_standard_error_has_none() -> None:
    (score,) = harness.scores(results('{"acc,none": 1, "acc_stderr,none": "N/A"}'))
    assert (score["value"], score["stderr"]) == (1, None)


def test_filters_of_answers_tell_metrics_apart_and_groups_need_no_score_of_their_own() -> None:
    found = results('{"match,strict": 0.25, "match_stderr,strict": 0.1, "match,flexible": 0.5}')
    found["results"]["all"] = {"alias": "all"}
    found["group_subtasks"] = {"all": ["most"]}

    scored = {score["metric"]: (score["value"], score["stderr"]) for score in harness.scores(found)}

    assert scored == {"match,strict": (0.25, 0.1), "match,flexible": (0.5, None)}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"few_shot": -1}, "--few-shot -1 makes no sense"),
        ({"limit": 0}, "--limit 0 makes no sense"),
        ({"batch_size": 0}, "nothing to evaluate"),
        ({"tasks": ("most", "")}, "nothing to evaluate"),
        ({"task_folder": Path("nowhere")}, "nowhere holds no tasks"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(request_: Request, change: dict[str, Any], what: str) -> None:
    with pytest.raises(HookRefused, match=what):
        harness.check(replace(request_, **change))


def test_without_the_harness_the_way_to_it_is_told(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)

    with pytest.raises(HookRefused, match="lm_eval is not installed") as refused:
        harness.check(request_)

    assert refused.value.fix == 'pip install "autoexp[evaluate]"'
