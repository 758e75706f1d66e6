"""A terminal for tests, kept by a real tmux of its own: programs run in it, and what it shows can be read."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import wait_until


@dataclass
class Terminal:
    """One window; its tmux has its own socket, so nobody else's is met."""

    folder: Path
    socket: Path = field(init=False)

    def __post_init__(self) -> None:
        self.socket = self.folder / "tmux"

    def tmux(self, *words: str, environment: Mapping[str, str] | None = None) -> str:
        command = ("tmux", "-S", str(self.socket), "-f", "/dev/null", *words)
        variables = {**os.environ, **(environment or {})}
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=variables).stdout

    def start(self, environment: Mapping[str, str], columns: int = 80, lines: int = 24) -> None:
        """Begin with a shell's prompt, where a program is started by typing it."""
        size = ("-x", str(columns), "-y", str(lines))
        given = [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
        self.tmux("new-session", "-d", *size, *given, "bash", "--norc", environment=environment)  # PATH is its client's

    def type(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        self.tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def shown(self, *options: str) -> list[str]:
        """The lines on the screen, without spaces at their ends."""
        return [line.rstrip() for line in self.tmux("capture-pane", "-p", *options).split("\n")[:-1]]

    def wait_for(self, regex: str, *, is_drawn: bool = False) -> list[str]:
        """Wait until the screen has a line that matches, and return all of it; `is_drawn` waits for whole pictures."""
        found: list[str] = []

        def has() -> bool:
            *found[:], cursor, height = self.tmux(
                *("capture-pane", "-p", ";", "display-message", "-p", "#{cursor_y}\n#{pane_height}")
            ).splitlines()
            at_rest = not is_drawn or int(cursor) + 1 == int(height)
            return at_rest and any(re.search(regex, line) for line in found)

        wait_until(has, f"a line with {regex!r} on the screen: {found}")
        return [line.rstrip() for line in found]

    def close(self) -> None:
        subprocess.run(("tmux", "-S", str(self.socket), "kill-server"), check=False, capture_output=True)
