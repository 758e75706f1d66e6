"""The page in a real browser, beside a watcher at work."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
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
def address(shown: "Room", serve: "Callable[..., str]") -> str:
    """A page that may drop markers."""
    return serve(shown, "--allow-markers")


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


def test_failures_stand_by_their_class_with_the_evidence(address: str, browser: "Browser", tmp_path: Path) -> None:
    browser.open(at(address, "failures"))

    browser.wait_for("main", "gpu oom 1 job", "CUDA out of memory", "bad")
    browser.picture(tmp_path / "failures.png")


def test_a_button_holds_a_job_and_the_page_shows_it_within_a_second(
    address: str, browser: "Browser", shown: "Room"
) -> None:
    browser.open(at(address, "job/demo/idle"))
    browser.wait_for("#why", "demo/idle is waiting")

    browser.run("document.querySelector('#reason').value = 'the <i>disk</i> is full'")
    browser.click('[data-verb="hold"]')
    browser.wait_for(".headline", "held", within_s=1)

    browser.wait_for(".answer", "hold was taken: waiting → held")
    browser.wait_for("#why", "the <i>disk</i> is full")
    browser.click('[data-verb="cancel"]')
    assert browser.text('[data-verb="cancel"]') == "really cancel?"
    assert shown.states()["idle"] == "held"
    browser.click('[data-verb="cancel"]')
    browser.wait_for(".headline", "cancelled")


def test_nothing_left_this_computer_and_nothing_was_complained_of(address: str, browser: "Browser") -> None:
    asked = browser.requested()

    assert len(asked) > 10
    assert [url for url in asked if not url.startswith(address.partition("?")[0])] == []
    assert browser.complaints() == []


def test_ten_thousand_jobs_open_in_two_seconds_and_change_without_a_stutter(
    many: "Room", serve: "Callable[[Room], str]", browser: "Browser"
) -> None:
    address = serve(many)
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
