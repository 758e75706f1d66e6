"""The report in a real browser, which is asked over its debugging pipe."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoexp import report

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")
TROUBLE = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
IN_USE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium to open a report in")


class Browser:
    """A browser with one page."""

    def __init__(self, profile: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()
        words = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}', "bash", *words],
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self.out, self.into = os.fdopen(ours[1], "wb", buffering=0), os.fdopen(theirs[0], "rb", buffering=0)
        self.rest, self.events, self.number, self.session = b"", list[dict[str, Any]](), 0, ""

    def begin(self) -> None:
        (page,) = (t for t in self.ask("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        self.out.write(
            json.dumps({**message, **({"sessionId": self.session} if self.session else {})}).encode() + b"\0"
        )
        while (said := self.hear()).get("id") != self.number:
            self.events.append(said)
        assert "error" not in said, said
        return dict(said["result"])

    def hear(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = self.into.read(1 << 16)
            assert part, "the browser is gone"
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\0")
        return dict(json.loads(line))

    def open(self, page: Path) -> None:
        self.events.clear()
        self.ask("Page.navigate", url=page.as_uri())
        while not self.seen("Page.loadEventFired"):
            self.events.append(self.hear())

    def seen(self, *methods: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") in methods]

    def value(self, expression: str) -> Any:
        return self.ask("Runtime.evaluate", expression=expression)["result"].get("value")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.out.close()
        self.into.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    found = Browser(tmp_path / "profile")
    try:
        found.begin()
        yield found
    finally:
        found.close()


def test_a_browser_shows_the_report_without_complaint_and_asks_nobody_else(maker: Any, browser: Browser) -> None:
    maker.train("pretrain-lr0.1", values={"lr": 0.1})
    maker.losses("pretrain-lr0.1", {10 * n: 5 - n / 10 for n in range(1, 20)})
    page = report.save(report.make(maker.study()))

    browser.open(page)

    assert browser.seen(*TROUBLE) == []
    assert [asked["request"]["url"] for asked in browser.seen("Network.requestWillBeSent")] == [page.as_uri()]
    assert browser.value("document.querySelectorAll('tbody tr').length") >= 1
    paper = []
    for width, scheme in ((1400, "light"), (400, "dark")):
        browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        assert browser.value(IN_USE) == 0, f"at a width of {width} it has to be moved sideways"
        paper.append(browser.value("getComputedStyle(document.body).backgroundColor"))
    assert paper[0] != paper[1]
