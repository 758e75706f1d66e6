"""A real browser without a window."""

import base64
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FLAGS = (
    *(
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-proxy-server",
    ),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
)
WIDE, TALL, PHONE = (1280, 800), (1280, 2200), (390, 844)
PATIENCE_S = 30.0
KEYS = {"Tab": 9, "Enter": 13}


@dataclass
class Browser:
    """Chromium, driven through chromedriver's own protocol (W3C WebDriver)."""

    folder: Path
    driver: "subprocess.Popen[bytes]" = field(init=False)
    address: str = field(init=False)

    def __post_init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={port}", f"--log-path={self.folder / 'chromedriver.log'}"],
            stdout=subprocess.DEVNULL,
            env={"HOME": str(self.folder), "TMPDIR": str(self.folder), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        self.address = f"http://127.0.0.1:{port}"
        self.until(lambda: self._ask("GET", "/status")["ready"], "chromedriver")
        options = {"args": [*FLAGS, f"--user-data-dir={self.folder / 'profile'}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.address += f"/session/{session['sessionId']}"
        self.look_like(WIDE, "light")

    def close(self) -> None:
        try:
            self._ask("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(PATIENCE_S)

    def open(self, address: str) -> None:
        self._ask("POST", "/url", {"url": address})

    def run(self, script: str, *values: Any) -> Any:
        """Run a function's body in the page."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(values)})

    def text(self, selector: str) -> str:
        return str(
            self.run(
                "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText).join('\\n')", selector
            )
        )

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).click()", selector)

    def press(self, key: str) -> None:
        """Press a key, as a hand does: Tab, Enter."""
        said = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        self._order("Input.dispatchKeyEvent", {"type": "keyDown", "text": "\r" if key == "Enter" else "", **said})
        self._order("Input.dispatchKeyEvent", {"type": "keyUp", **said})

    def wait_for(self, selector: str, *texts: str, within_s: float = PATIENCE_S) -> str:
        """Wait until what this selects says all of these."""
        return str(
            self.until(
                lambda: all(text in (found := self.text(selector)) for text in texts) and found,
                f"{texts} in {selector}",
                within_s,
            )
        )

    def look_like(self, size: tuple[int, int], scheme: str) -> None:
        """Have a size, and prefer light or dark."""
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self._order("Emulation.setDeviceMetricsOverride", metrics)
        self._order("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def wait_until_it_fits(self, width: int) -> None:
        """Wait until nothing has to be scrolled sideways; what has a new size is laid out anew by and by."""
        self.until(lambda: self.run("return document.documentElement.scrollWidth") <= width, f"a page {width} wide")

    def picture(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))
        return path

    def complaints(self) -> list[str]:
        """What the console was told."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def requested(self) -> list[str]:
        """The addresses that were asked for since this was asked last, but for the browser's own first page."""
        entries = (
            json.loads(entry["message"])["message"] for entry in self._ask("POST", "/se/log", {"type": "performance"})
        )
        urls = [
            entry["params"]["request"]["url"] for entry in entries if entry["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("chrome", "data"))]

    def _order(self, command: str, values: dict[str, Any]) -> Any:
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": values})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - it is ours
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310 - as above
            return json.load(answer)["value"]

    @staticmethod
    def until(holds: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
        until = time.monotonic() + within_s
        while True:
            try:
                if found := holds():
                    return found
            except OSError:  # it is not there yet
                pass
            assert time.monotonic() < until, f"{what} did not come about within {within_s} s"
            time.sleep(0.02)
