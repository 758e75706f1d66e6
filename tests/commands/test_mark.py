import json
from typing import TYPE_CHECKING

import pytest

from autoexp.model import Verb

if TYPE_CHECKING:
    from tests.commands.conftest import Say
    from tests.conftest import Room


@pytest.fixture
def planned(here: "Room") -> "Room":
    """A study of two jobs that nobody watches."""
    here.plan("one: {start: {file_exists: {path: never}}, command: 'true'}\ntwo: {needs: one, command: 'true'}\n")
    return here


@pytest.mark.parametrize("verb", Verb)
def test_a_verb_is_dropped_as_a_file_for_the_next_watcher(planned: "Room", say: "Say", verb: Verb) -> None:
    said = say("mark", "demo/one", verb)

    marker = planned.job_dir("one") / "markers" / verb
    assert said.status == 0
    assert said.out == (f"dropped {marker}\nno watcher runs; the next one obeys it: autoexp watch {planned.root}\n")
    assert marker.is_file()
    assert list(marker.parent.iterdir()) == [marker]


def test_a_watcher_obeys_and_tells_the_reason(planned: "Room", say: "Say") -> None:
    planned.watch()

    said = say("mark", planned.job_dir("one"), "hold", "--reason", "the node looks odd")
    verdict, answer = planned.wait_answer("one")

    assert said.out == f"dropped {planned.job_dir('one')}/markers/hold\n"
    assert (verdict, answer["said"]) == ("taken", "the node looks odd")
    planned.wait_for({"one": "held"})
    assert json.loads(say("why", "demo/one", "--json").out)["reason"].endswith("the node looks odd")


def test_a_study_s_marker_is_for_every_job_it_has(planned: "Room", say: "Say") -> None:
    say("mark", "experiments/demo", "cancel")
    planned.run("watch", planned.root, "--once")

    assert planned.states() == {"one": "cancelled", "two": "cancelled"}


@pytest.mark.parametrize(
    ("target", "verb", "what", "why", "fix"),
    [
        pytest.param(
            "demo/one", "retr", "'retr' is no verb", "there are hold, release", "did you mean retry?", id="verb"
        ),
        pytest.param("demo/one", "xyzzy", "'xyzzy' is no verb", "there are hold,", "use one of those", id="odd verb"),
        pytest.param("demo/onne", "hold", "'demo/onne' names no job or study", "", "did you mean demo/one?", id="job"),
        pytest.param("domo", "hold", "'domo' names no job or study", "", "did you mean demo?", id="study"),
        pytest.param("demo/one", "../../x", "'../../x' is no verb", "there are", "use one of those", id="a path"),
    ],
)
def test_what_there_is_not_is_refused_with_the_nearest_name(  # noqa: PLR0917 - a row of the table
    planned: "Room", say: "Say", target: str, verb: str, what: str, why: str, fix: str
) -> None:
    said = say("mark", target, verb)

    assert (said.status, said.out) == (1, "")
    assert said.err.startswith(f"autoexp: {what}\n  why: {why}")
    assert said.err.endswith(f"  fix: {fix}\n")
    assert list((planned.job_dir("one") / "markers").iterdir()) == []


def test_a_marker_that_may_not_be_dropped_says_why(planned: "Room", humble: tuple[str, ...]) -> None:
    folder = planned.job_dir("one") / "markers"
    folder.chmod(0o555)
    planned.prefix = humble

    refused = planned.run("mark", "demo/one", "hold")
    folder.chmod(0o755)

    assert refused.returncode == 1
    assert refused.stderr.startswith("autoexp: the marker cannot be dropped\n  why: ")
    assert list(folder.iterdir()) == []
