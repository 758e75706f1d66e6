"""The README's pictures, taken of the demo while it runs: `make pictures`.

A test tells when the page or the terminal's screen has changed since they were taken.
"""

import hashlib
import re
import sys
import tempfile
from html import escape
from pathlib import Path

from tests.browser import Browser
from tests.conftest import REPOSITORY, Room, room_in
from tests.terminal import Terminal

FOLDER = REPOSITORY / "docs" / "pictures"
HEIGHTS = {"overview": 300, "graph": 800}
WIDTH = 1280
HOME = "/home/me"
"""What stands in the pictures for the folder where the demo was run."""
SHOWN = [
    *sorted((REPOSITORY / "autoexp" / "page" / "static").iterdir()),
    *(REPOSITORY / "autoexp" / name for name in ("overview.py", "screen.py", "page/live.py")),
]
"""What decides what the pictures show."""
OVER = 3
"""How many jobs of the demo have succeeded when they are taken."""
SUCCEEDED = "return Number(/(\\d+) succeeded/.exec(document.querySelector('.counts')?.innerText)?.[1] ?? 0)"
PATIENCE_S = 1800.0
TERM_COLUMNS = 100
CHARACTER, LINE = 8.4, 18
COLORS = {"31": "#ff8a80", "32": "#5fd6a2", "33": "#f0b95a", "34": "#6db3ff", "36": "#6db3ff"}


def fingerprint() -> str:
    """Sum up what decides what the pictures show."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in SHOWN)).hexdigest()


def drawn(lines: list[str]) -> str:
    """Draw a terminal's lines, with its colours, as SVG."""
    columns = max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in lines)
    width, height = round((columns + 2) * CHARACTER), (len(lines) + 1) * LINE
    rows = "".join(f'<text x="{CHARACTER}" y="{(n + 1) * LINE}">{_row(line)}</text>\n' for n, line in enumerate(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="ui-monospace, Liberation Mono, monospace" font-size="14" fill="#e8eaed">\n'
        f'<rect width="{width}" height="{height}" rx="6" fill="#14171c"/>\n{rows}</svg>\n'
    )


def _row(line: str) -> str:
    first, *others = re.split(r"\x1b\[([\d;]*)m", line.replace(" ", "\N{NO-BREAK SPACE}"))  # others would be joined
    colored = zip(others[::2], others[1::2], strict=True)
    return escape(first) + "".join(
        f'<tspan fill="{COLORS[code]}">{escape(text)}</tspan>' if code in COLORS else escape(text)
        for code, text in colored
    )


def take(room: Room) -> None:
    """Take both pictures of a demo that is at work."""
    browser, terminal = Browser(room.home), Terminal(room.home)
    try:
        address = room.serve()
        browser.open(address)
        browser.until(lambda: browser.run(SUCCEEDED) >= OVER, f"{OVER} jobs that succeeded", PATIENCE_S)
        for view, height in HEIGHTS.items():
            browser.look_like((WIDTH, height), "light")
            browser.open(f"{address}#/{view}")
            browser.wait_for("main", "evaluate")
            browser.picture(FOLDER / f"{view}.png")
        terminal.start({**room.environment(), "TERM": "xterm-256color"}, TERM_COLUMNS)
        terminal.type(f"clear; {sys.executable} -m autoexp status {room.root} --follow", "Enter")
        terminal.wait_for("pretrain", is_drawn=True)
        lines = [line.replace(str(room.home), HOME) for line in terminal.shown("-e")[:-1]]
        (FOLDER / "terminal.svg").write_text(drawn(lines), encoding="utf-8")
    finally:
        terminal.close()
        browser.close()


def main() -> None:
    """Run the demo, take the pictures while it does, and write down of what they are."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home, room_in(Path(home)) as room:
        (Path(home) / "recipes").symlink_to(REPOSITORY / "recipes")
        room.start("run", "recipes/demo.yaml", "--machine", "local")
        room.wait_until((room.root / "demo" / "plan.json").exists, "a plan")
        take(room)
    (FOLDER / "of.txt").write_text(f"{fingerprint()}\n", encoding="ascii")


if __name__ == "__main__":
    main()
