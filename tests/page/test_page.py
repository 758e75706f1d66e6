"""The page in a real browser, beside a watcher at work."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.browser import PHONE, TALL, WIDE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser import Browser
    from tests.conftest import Room

MANY = 10_000
ODD = "<script>window.hacked=1"
TRAINER = r"""
import time
print("\x1b[31mred\x1b[0m <img src=x onerror='window.hacked=1'> \x1b]0;title\x07end", flush=True)
for step in range(1, 4000):
    said = f" iteration {step:8d}/    4000 | elapsed time per iteration (ms): 10.0 | lm loss: {3 / step:.6E} |"
    print(said, flush=True)
    if step == 30:
        print("please <b>look</b>", flush=True)
    time.sleep(0.05 if step < 40 else 0.5)
"""
STAGES = """
train:
  sweep: {params: {lr: [0.1, 0.2]}}
  backend: megatron
  params: {program: train.py}
  args: {train-iters: 4000}
  events: {look: {contains: please, do: {log: seen}}}
bad: {command: 'echo CUDA out of memory; exit 3'}
after: {needs: bad, command: 'true'}
idle: {start: {file_exists: {path: never}}, command: 'true'}
odd: {start: {file_exists: {path: never}}, command: 'true'}
done: {command: 'true'}
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, make_room: "Callable[[Path], Iterator[Room]]") -> Iterator["Room"]:
    """A study at work, with a job of a name that planning would never give."""
    with make_room(tmp_path_factory.mktemp("shown")) as room:  # type: ignore[attr-defined]
        room.plan(STAGES.replace("train.py", str(room.write("train.py", TRAINER))))
        plan = room.root / "demo" / "plan.json"
        plan.write_text(plan.read_text().replace('"id":"odd"', f'"id":{json.dumps(ODD)}'))
        (room.root / "demo" / "jobs" / "odd").rename(room.job_dir(ODD))
        room.watch()
        room.wait_for({"train-lr0.1": "running", "bad": "failed", "after": "skipped", "done": "succeeded"})
        yield room


@pytest.fixture(scope="module")
def address(shown: "Room") -> str:
    """A page that may drop markers."""
    return shown.serve("--allow-markers")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, make_room: "Callable[[Path], Iterator[Room]]") -> Iterator["Room"]:
    """A study of 10,000 jobs that wait."""
    with make_room(tmp_path_factory.mktemp("many")) as room:  # type: ignore[attr-defined]
        room.plan("one: {sweep: {params: {n: [0]}}, start: {file_exists: {path: never}}, command: 'true'}\n")
        path = room.root / "demo" / "plan.json"
        plan = json.loads(path.read_text())
        (job,) = plan["jobs"]
        plan["jobs"] = [{**job, "id": f"one-n{n}", "values": {"n": n}, "params": {"n": n}} for n in range(MANY)]
        path.write_text(json.dumps(plan))
        yield room


def at(address: str, place: str) -> str:
    return f"{address}#/{place}"


def test_a_wrong_token_or_none_is_refused(address: str) -> None:
    for wrong in (f"{address}x", address.partition("?")[0]):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(wrong)  # noqa: S310 - it is ours


def test_the_overview_fills_and_says_what_needs_a_person(address: str, browser: "Browser", tmp_path: Path) -> None:
    browser.open(address)

    browser.wait_for("#overview .trouble", "failed", "bad", "exit code 3")
    browser.wait_for("#overview .counts", "2 running", "1 failed", "1 skipped", "2 waiting", "1 succeeded")
    assert "token" not in browser.run("return location.href")
    assert "watched by pid" in browser.text("#watcher")
    for size, scheme in ((WIDE, "light"), (WIDE, "dark"), (PHONE, "light")):
        browser.look_like(size, scheme)
        browser.wait_until_it_fits(size[0])
        browser.picture(tmp_path / f"overview-{size[0]}-{scheme}.png")
    browser.look_like(WIDE, "light")


def test_the_table_is_chosen_as_status_chooses_and_sorted(address: str, browser: "Browser", tmp_path: Path) -> None:
    browser.open(at(address, "jobs"))
    browser.wait_for("#told", "7 jobs")
    assert browser.text(".row .state").split("\n")[0] == "failed"

    browser.click('[data-column="job"]')
    names = browser.text(".row .job").split("\n")
    assert names == sorted(names)
    assert ODD in names
    browser.picture(tmp_path / "jobs-wide-light.png")
    assert browser.run("return window.hacked ?? null") is None

    browser.run(
        "const t = document.querySelector('#where'); t.value = 'lr < 0.15'; t.dispatchEvent(new Event('input'))"
    )
    browser.wait_for("#told", "1 of 7 jobs")
    assert browser.text(".row .job") == "train-lr0.1"
    assert browser.text("#at-once").endswith("/experiments/demo VERB --where 'lr < 0.15'")

    browser.run("const t = document.querySelector('#where'); t.value = 'lr ='; t.dispatchEvent(new Event('input'))")
    browser.wait_for("#told", "'lr =' chooses no jobs", "fix: write for example")
    browser.look_like(PHONE, "dark")
    browser.picture(tmp_path / "jobs-phone-dark.png")
    browser.look_like(WIDE, "light")


def test_a_job_s_page_says_why_and_its_log_is_only_text(address: str, browser: "Browser", tmp_path: Path) -> None:
    browser.open(at(address, "job/demo/train-lr0.1"))

    browser.wait_for("#why", "demo/train-lr0.1 is running", "what would move it")
    browser.wait_for(
        ".log", "red <img src=x onerror='window.hacked=1'> end", "please <b>look</b>", "iteration       35/"
    )
    browser.wait_for("figcaption", "Loss", "Seconds per iteration")
    before = browser.text(".log")
    browser.wait_for(".headline", "/4000", "left")
    assert "\x1b" not in before
    assert browser.run("return document.querySelector('.log img, .log b')") is None
    assert browser.run("return window.hacked ?? null") is None
    assert browser.run("return document.querySelector('.log .told').title") == "look"
    browser.until(lambda: browser.text(".log") != before, "a log that goes on")
    for size, scheme in ((WIDE, "light"), (TALL, "dark"), (PHONE, "dark")):
        browser.look_like(size, scheme)
        browser.wait_until_it_fits(size[0])
        browser.picture(tmp_path / f"job-{size[0]}x{size[1]}-{scheme}.png")
    browser.look_like(WIDE, "light")


def test_a_job_named_like_a_program_is_shown_as_text(address: str, browser: "Browser") -> None:
    browser.open(at(address, f"job/demo/{quote(ODD)}"))

    browser.wait_for("h1", ODD)
    browser.wait_for("#why", f"demo/{ODD} is waiting", "never is not there")
    assert browser.run("return window.hacked ?? null") is None


def test_the_timeline_has_a_row_a_job_with_what_each_attempt_came_to(
    address: str, browser: "Browser", tmp_path: Path
) -> None:
    browser.open(at(address, "timeline"))

    browser.wait_for("#told", "4 of 4 jobs")
    assert browser.text(".timeline .job").split("\n") == ["train-lr0.1", "train-lr0.2", "bad", "done"]
    said = "return [...document.querySelectorAll('.timeline .track[role=img]')].map((e) => e.ariaLabel)"
    first, _, bad, done = browser.run(said)
    assert "under way" in first
    assert ("gpu oom" in bad, "success" in done) == (True, True)
    assert browser.run("return document.querySelectorAll('.timeline .run[data-ending=success]').length") == 1
    for size, scheme in ((WIDE, "light"), (PHONE, "dark")):
        browser.look_like(size, scheme)
        browser.wait_until_it_fits(size[0])
        browser.picture(tmp_path / f"timeline-{size[0]}-{scheme}.png")
    browser.look_like(WIDE, "light")
    browser.run("const s = document.querySelector('#span'); s.value = '3600'; s.dispatchEvent(new Event('change'))")
    browser.wait_for("#told", "4 of 4 jobs")


TITLED = 'return document.querySelectorAll(`.dot[title="${CSS.escape(arguments[0])}"]`).length === 1'


def test_the_graph_shows_stages_with_their_jobs_and_follows_them(
    address: str, browser: "Browser", shown: "Room", tmp_path: Path
) -> None:
    browser.open(at(address, "graph"))

    browser.wait_for("#told", "6 stages")
    browser.wait_for('[data-stage="after"]', "1 job", "after bad: job succeeded")
    assert browser.run("return document.querySelectorAll('path.arrow').length") == 1
    assert browser.run("return document.querySelectorAll('.dot').length") == 7
    browser.run("const s = document.querySelector('#by'); s.value = 'lr'; s.dispatchEvent(new Event('change'))")
    browser.wait_for('[data-stage="train"]', "lr=0.1", "lr=0.2")
    for size, scheme in ((WIDE, "light"), (PHONE, "dark")):
        browser.look_like(size, scheme)
        browser.wait_until_it_fits(size[0])
        browser.picture(tmp_path / f"graph-{size[0]}-{scheme}.png")
    browser.look_like(WIDE, "light")

    for verb, state in (("hold", "held"), ("release", "waiting")):
        (shown.job_dir(ODD) / "markers" / verb).touch()
        browser.until(lambda: browser.run(TITLED, f"{ODD}: {state}"), f"a dot that is {state}")  # noqa: B023 - used at once

    browser.click("#smaller")
    assert browser.run("return document.querySelector('.plane').style.transform") == "scale(0.85)"
    browser.click('[data-stage="train"] .label')
    browser.wait_for("#told", "1 of 7 jobs")


def test_trainings_are_compared_in_one_chart(address: str, browser: "Browser", tmp_path: Path) -> None:
    browser.open(at(address, "curves"))

    browser.wait_for("#told", "2 trainings")
    browser.wait_for("figcaption", "Loss", "Seconds per iteration")
    assert browser.run("return document.querySelectorAll('figure:first-child polyline').length") == 2
    browser.wait_for("tbody", "train-lr0.1", "train-lr0.2", "running")
    for size, scheme in ((WIDE, "light"), (PHONE, "dark")):
        browser.look_like(size, scheme)
        browser.wait_until_it_fits(size[0])
        browser.picture(tmp_path / f"curves-{size[0]}-{scheme}.png")
    browser.look_like(WIDE, "light")

    browser.run(
        "const t = document.querySelector('#where'); t.value = 'lr > 0.15'; t.dispatchEvent(new Event('input'))"
    )
    browser.wait_for("#told", "1 training")
    assert "train-lr0.1" not in browser.text("tbody")


def test_failures_stand_by_their_class_with_the_evidence(address: str, browser: "Browser", tmp_path: Path) -> None:
    browser.open(at(address, "failures"))

    browser.wait_for("main", "gpu oom 1 job", "CUDA out of memory", "bad")
    browser.picture(tmp_path / "failures.png")


TRIES = 5
"""As one of these at least: the computer has other work too."""


def test_a_button_holds_a_job_and_the_page_shows_it_within_a_second(
    address: str, browser: "Browser", shown: "Room"
) -> None:
    browser.open(at(address, "job/demo/idle"))
    browser.wait_for("#why", "demo/idle is waiting")

    for _ in range(TRIES):
        browser.run("document.querySelector('#reason').value = 'the <i>disk</i> is full'")
        clicked = time.monotonic()
        browser.click('[data-verb="hold"]')
        browser.wait_for(".headline", "held")
        if is_quick := time.monotonic() - clicked < 1:
            break
        browser.wait_for(".verbs", "release")
        browser.click('[data-verb="release"]')
        browser.wait_for(".headline", "waiting")
        browser.wait_for(".verbs", "hold")
    assert is_quick

    browser.wait_for(".answer", "hold was taken: waiting → held")
    browser.wait_for("#why", "the <i>disk</i> is full")
    browser.click('[data-verb="cancel"]')
    assert browser.text('[data-verb="cancel"]') == "really cancel?"
    assert shown.states()["idle"] == "held"
    browser.click('[data-verb="cancel"]')
    browser.wait_for(".headline", "cancelled")


AXE = Path(str(find_spec("axe_playwright_python").origin)).with_name("axe.min.js")  # type: ignore[union-attr]
SERIOUS = """
const found = await axe.run(document, {resultTypes: ["violations"]});
return found.violations.filter((each) => ["serious", "critical"].includes(each.impact))
  .map((each) => `${each.id}: ${each.nodes.map((node) => node.html).slice(0, 3).join(" ")}`);
"""


SHOWN = dict.fromkeys(("jobs", "timeline", "curves"), "train-lr0.1") | {
    "graph": "after bad",
    "job/demo/train-lr0.1": "iteration",
}
"""What is there once a view is drawn."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "view", ["", "jobs", "graph", "timeline", "curves", "failures", "job/demo/train-lr0.1", "job/demo/bad"]
)
def test_nothing_serious_keeps_anybody_from_using_it(address: str, browser: "Browser", view: str, scheme: str) -> None:
    """As axe judges: names and roles for screen readers, contrast, order, labels."""
    browser.look_like(WIDE, scheme)
    browser.open(at(address, view))
    browser.wait_for("main", SHOWN.get(view, "bad"))

    browser.run(AXE.read_text(encoding="utf-8"))
    faults = browser.run(f"return (async () => {{{SERIOUS}}})()")

    browser.look_like(WIDE, "light")
    assert faults == []


FOCUSED = """
const e = document.activeElement;
const shown = ["", "::after"].some((part) => getComputedStyle(e, part).outlineStyle !== "none");
return [(e.id || e.innerText || e.className).trim(), shown];
"""


def tabbed(browser: "Browser", until: str, most: int = 60) -> list[str]:
    """Press Tab until what has the focus says this; return all that had it, each of which must show that it has."""
    seen = []
    for _ in range(most):
        browser.press("Tab")
        name, shown = browser.run(FOCUSED)
        assert shown, f"{name} does not show that it has the focus"
        seen.append(name)
        if name == until:
            return seen
    raise AssertionError(f"{until} is not reached: {seen}")


def test_keys_alone_reach_and_work_everything(address: str, browser: "Browser", shown: "Room") -> None:
    browser.open(at(address, "jobs"))
    browser.wait_for(".row", "after")

    passed = tabbed(browser, "done")
    views, heads = (
        ["autoexp", "Overview", "Jobs", "Graph", "Timeline", "Curves", "Failures"],
        ["State", "Job", "Progress", "Attempt", "For"],
    )
    assert [*views, "where", *heads, "Reason"] == passed[: len(views) + len(heads) + 2]
    assert {"bad", "after", "train-lr0.1"} <= set(passed)
    browser.press("Enter")
    browser.wait_for("h1", "done")

    browser.wait_for(".verbs", "restart")
    passed = tabbed(browser, "restart")
    assert "reason" in passed
    browser.press("Enter")
    browser.wait_for(".verbs", "really restart?")
    browser.press("Enter")
    browser.wait_for(".answer", "restart was taken")
    shown.wait_for({"done": "succeeded"})

    browser.open(at(address, "timeline"))
    browser.wait_for("#told", "jobs; times")
    assert {"study", "span", "bad"} <= set(tabbed(browser, "done"))
    browser.press("Enter")
    browser.wait_for("h1", "done")


def test_nothing_left_this_computer_and_nothing_was_complained_of(address: str, browser: "Browser") -> None:
    asked = browser.requested()

    assert len(asked) > 10
    assert [url for url in asked if not url.startswith(address.partition("?")[0])] == []
    assert browser.complaints() == []


def test_ten_thousand_jobs_open_in_two_seconds_and_change_without_a_stutter(many: "Room", browser: "Browser") -> None:
    address = many.serve()
    browser.open(at(address, "jobs"))
    browser.wait_for("#told", f"{MANY} jobs")
    browser.open("about:blank")
    began = time.monotonic()
    browser.open(at(address, "jobs"))
    browser.wait_for("#told", f"{MANY} jobs")
    opened_s = time.monotonic() - began

    last = "return [...document.querySelectorAll('.row')].at(-1).ariaRowIndex"
    browser.run("document.querySelector('.window').scrollTop = 1e9")
    browser.until(lambda: browser.run(last) == str(MANY + 1), "the last job")
    (many.job_dir("one-n5000") / "markers").mkdir(parents=True)
    many.touch("one-n5000", "hold")
    many.watch()
    browser.run("document.querySelector('.window').scrollTop = 0")
    browser.wait_for(".row", "held", "one-n5000")
    browser.run(
        "window.long = [];"
        "const note = (list) => long.push(...list.getEntries().map((entry) => entry.duration));"
        "new PerformanceObserver(note).observe({type: 'longtask'})"
    )
    many.touch("one-n5000", "release")
    browser.until(lambda: "held" not in browser.text(".row"), "a release")

    assert browser.run("return document.querySelectorAll('.row').length") < 100
    assert opened_s < 2
    assert max(browser.run("return window.long"), default=0) < 100


def test_a_watcher_that_is_gone_is_missed(address: str, browser: "Browser", shown: "Room") -> None:
    browser.open(address)
    browser.wait_for("#watcher", "watched by pid")

    shown.stop(shown.watchers[0])

    browser.wait_for("#notices", "No watcher runs", f"autoexp watch {shown.root}")
    assert browser.text("#watcher") == "not watched"


def test_a_server_that_is_killed_disturbs_nobody(address: str, browser: "Browser", shown: "Room") -> None:
    watcher = shown.watch()
    browser.open(address)
    browser.wait_for("#watcher", f"watched by pid {watcher.pid}")

    server = next(program for program in shown.watchers if "serve" in str(program.args))
    server.kill()
    server.wait()

    browser.wait_for("#notices", "does not answer")
    assert watcher.poll() is None
    shown.touch("train-lr0.2", "cancel")
    shown.wait_for({"train-lr0.2": "cancelled"})
