import builtins
import re
import signal
import socket
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from autoexp.commands import serve
from autoexp.errors import AutoexpError

if TYPE_CHECKING:
    from tests.commands.conftest import Say
    from tests.conftest import Room


@pytest.fixture
def planned(here: "Room") -> "Room":
    """A study that nobody watched yet."""
    here.plan("one: {command: 'true'}\n")
    return here


def test_it_prints_an_address_that_opens_and_ends_when_interrupted(planned: "Room") -> None:
    server = planned.start("serve", planned.root, stdout=subprocess.PIPE)
    assert server.stdout is not None
    with server.stdout as printed:
        said = [printed.readline().decode() for _ in range(3)]
    (address,) = re.findall(r"http://127\.0\.0\.1:\d+/\?token=\S{32}", said[1])

    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with browser.open(address) as page:
        assert b"<title>autoexp</title>" in page.read()
    with browser.open(f"{address.partition('?')[0]}api/events") as news:
        assert news.readline().startswith(b"id: ")
        ended = planned.stop(server, signal.SIGINT)

    assert said[0] == f"{planned.root}: read only; --allow-markers has buttons\n"
    assert "ssh -L " in said[2]
    assert ended == 130
    assert planned.said() == "", "whoever still looks is no error"


def test_several_find_a_port_each_unless_one_is_named() -> None:
    with serve.listen("127.0.0.1", None) as first, serve.listen("127.0.0.1", None) as second:
        taken = first.getsockname()[1]
        assert taken != second.getsockname()[1]
        with pytest.raises(AutoexpError, match=f"port {taken} of 127.0.0.1 cannot be listened on"):
            serve.listen("127.0.0.1", taken)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("no.such.host.invalid", None), ("::2", 0)])
def test_what_cannot_be_listened_on_is_refused(host: str, port: int | None) -> None:
    with pytest.raises(AutoexpError, match="choose another one"):
        serve.listen(host, port)


def test_only_what_is_listened_on_has_a_name() -> None:
    own = {"127.0.0.1", "localhost", "::1"}

    assert serve.names("127.0.0.1") == own
    assert serve.names("0.0.0.0") == own | {"0.0.0.0", socket.gethostname().lower(), socket.getfqdn().lower()}  # noqa: S104 - a name, not listened on


@pytest.mark.parametrize("words", [("serve", "nowhere"), ("serve", "experiments", "--var", "other")], ids=str)
def test_what_cannot_be_served_says_why(planned: "Room", say: "Say", words: tuple[str, ...]) -> None:
    planned.run("watch", planned.root, "--once")

    said = say(*words)

    assert said.status == 1
    assert "  fix: " in said.err


def test_without_the_extra_it_says_what_to_install(
    planned: "Room", say: "Say", monkeypatch: pytest.MonkeyPatch
) -> None:
    known = builtins.__import__

    def lacking(name: str, *rest: Any) -> Any:
        if name == "uvicorn":
            raise ImportError("No module named 'uvicorn'")
        return known(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)

    assert "fix: pip install 'autoexp[page]'" in say("serve", planned.root).err
