"""A study that shows all there is to be seen, and a page server."""

import re
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Room

Serve = Callable[..., str]


@pytest.fixture(scope="module")
def serve() -> "Callable[[Room], str]":
    """Serve a room's root; return the page's address."""

    def start(room: "Room", *options: str) -> str:
        server = room.start("serve", room.root, *options, stdout=subprocess.PIPE)
        assert server.stdout is not None
        with server.stdout as printed:
            for line in printed:
                if found := re.search(r"http://\S+", line.decode()):
                    return found[0]
        raise AssertionError(room.said())

    return start
