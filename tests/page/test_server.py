import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from autoexp.page import server
from autoexp.page.live import Live
from autoexp.page.server import STATIC, News, make

if TYPE_CHECKING:
    from tests.conftest import Room

NAMES = frozenset({"127.0.0.1"})


@pytest.fixture
def planned(room: "Room") -> "Room":
    """A study that nobody watched yet."""
    room.plan("one: {start: {file_exists: {path: never}}, command: 'true'}\n")
    return room


def client_of(room: "Room", *, may_mark: bool = False) -> TestClient:
    app = make(Live(room.root, may_mark=may_mark), "s3cret", NAMES)
    client = TestClient(app, base_url="http://127.0.0.1")
    assert client.get("/?token=s3cret").status_code == 200
    return client


def test_all_that_the_page_needs_is_here_and_nothing_else(planned: "Room") -> None:
    client = client_of(planned)

    for path in STATIC.iterdir():
        answer = client.get(f"/static/{path.name}")
        assert answer.content == path.read_bytes()
        assert "http" not in path.read_text().replace("http://www.w3.org/2000/svg", ""), "an address of elsewhere"
    for name in ("none.js", "..%2Fserver.py", "%2Fetc%2Fpasswd"):
        assert client.get(f"/static/{name}").status_code == 404


def test_what_is_known_is_told(planned: "Room") -> None:
    client, job = client_of(planned), {"study": "demo", "job": "one"}

    assert [row["job"] for row in client.get("/api/view").json()["rows"]] == ["one"]
    assert client.get("/api/where", params={"text": 'job == "one"'}).json() == [["demo", "one"]]
    assert client.get("/api/job", params=job).json()["text"][0] == "demo/one is waiting: never is not there"
    assert client.get("/api/log", params={**job, "attempt": "1", "place": "9" * 20}).json()["lines"] == []
    assert client.get("/api/curves", params=job).json() == {"points": [], "note": ""}
    assert client.get("/api/answers", params=job).json() == []


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("/api/where?text=lr+%3D", "chooses no jobs"),
        ("/api/job?study=demo&job=two", "there is no job demo/two"),
        ("/api/job?study=..&job=one", "there is no job ../one"),
        ("/api/log?job=../../etc/passwd&study=demo", "there is no job"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(planned: "Room", address: str, why: str) -> None:
    assert why in client_of(planned).get(address).json()["refused"]


def test_a_page_that_only_reads_has_no_way_to_drop_markers(planned: "Room") -> None:
    assert client_of(planned).post("/api/mark", json={}).status_code == 404
    assert client_of(planned, may_mark=True).get("/api/mark").status_code == 405


def test_a_marker_is_dropped_as_mark_does(planned: "Room") -> None:
    client = client_of(planned, may_mark=True)

    told = client.post("/api/mark", json={"study": "demo", "job": "one", "verb": "hold", "reason": "the disk"}).json()

    path = planned.job_dir("one") / "markers" / "hold"
    assert (told["dropped"], told["watched"]) == (str(path), False)
    assert path.read_text() == "the disk"
    planned.run("watch", planned.root, "--once")
    (answer,) = client.get("/api/answers", params={"study": "demo", "job": "one"}).json()
    assert (answer["verdict"], answer["to"], answer["said"]) == ("taken", "held", "the disk")
    assert answer["at"] >= told["at"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"study": "demo", "job": "one", "verb": "../x"}, "'../x' is no verb"),
        ({"study": "demo", "job": "one", "verb": ["hold"]}, "is no verb"),
        ({"study": "demo", "job": ["one"], "verb": "hold"}, "there is no job"),
        ({"study": "demo", "verb": "hold"}, "there is no job"),
    ],
)
def test_only_known_verbs_for_known_jobs_are_dropped(planned: "Room", asked: dict[str, Any], why: str) -> None:
    client = client_of(planned, may_mark=True)

    assert why in client.post("/api/mark", json=asked).json()["refused"]
    assert [path.name for path in (planned.job_dir("one") / "markers").iterdir()] == []


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"[]", 400), (b" " * 20000, 413)])
def test_what_is_no_request_is_none(planned: "Room", body: bytes, status: int) -> None:
    assert client_of(planned, may_mark=True).post("/api/mark", content=body).status_code == status


async def told(stream: AsyncIterator[bytes]) -> dict[str, Any]:
    """The next news."""
    async for part in stream:
        if b"data: " in part:
            return dict(json.loads(part.partition(b"data: ")[2]))
    raise AssertionError("it has ended")


def test_news_come_within_a_second_and_none_while_nothing_changes(
    planned: "Room", monkeypatch: pytest.MonkeyPatch
) -> None:
    planned.watch()
    planned.wait_for({"one": "waiting"})
    shown = Live(planned.root)
    monkeypatch.setattr(server, "BREATH_S", 0.05)

    async def listen() -> list[dict[str, Any]]:
        shown.look()
        news = News(shown)
        stream = news.stream(0)
        first = await told(stream)
        planned.touch("one", "hold")
        second = await asyncio.wait_for(told(stream), 1.0)
        assert await anext(stream) == b": nothing new\n\n"
        await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(2 * server.LOOK_S)
        assert news._task is not None
        assert news._task.done(), "nobody listens, and nothing is looked at"
        return [first, second]

    first, second = asyncio.run(listen())

    assert [row["state"] for row in first["rows"]] == ["waiting"]
    assert [row["state"] for row in second["rows"]] == ["held"]
    assert second["version"] > first["version"]
