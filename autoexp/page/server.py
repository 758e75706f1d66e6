"""The page's server: a handful of addresses over a `Live`. It keeps nothing, so it may be killed at any time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from autoexp import clock, markers
from autoexp.errors import AutoexpError
from autoexp.journal import stamp
from autoexp.lifecycle import accepted
from autoexp.model import Job, State, Verb
from autoexp.page import jobs, logs
from autoexp.page.graph import graph
from autoexp.page.guard import Guard
from autoexp.page.live import Live
from autoexp.page.timeline import timeline
from autoexp.probe import attempt_dir
from autoexp.registry import Ledger
from autoexp.view import View

LOOK_S = 0.25
"""How often we look for changes while somebody watches the page."""
BREATH_S = 15.0
"""After so long without news a word is sent, so that whoever has gone is noticed."""
STATIC = Path(__file__).parent / "static"
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
LARGEST_BODY_BYTES = 1 << 14
LONGEST_REASON, LONGEST_NUMBER = 1000, 15

Found = tuple[View, Ledger, Job]


@dataclass(slots=True)
class News:
    """Looks for changes as long as somebody listens, and wakes those who do."""

    live: Live
    is_over: Callable[[], bool] = lambda: False
    """Whether the server is being ended: nobody listens any longer then."""
    listeners: set[asyncio.Event] = field(default_factory=set)
    _task: "asyncio.Task[None] | None" = None

    async def stream(self, version: int) -> AsyncIterator[bytes]:
        """Yield what is newer than a version, again and again, as server-sent events."""
        woken = asyncio.Event()
        self.listeners.add(woken)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            while not self.is_over():
                if self.live.version > version:
                    news = await run_in_threadpool(self.live.since, version)
                    version = news["version"]
                    yield f"id: {version}\ndata: {json.dumps(news)}\n\n".encode()
                else:
                    yield b": nothing new\n\n"
                woken.clear()
                try:
                    await asyncio.wait_for(woken.wait(), BREATH_S)
                except TimeoutError:
                    continue
        finally:
            self.listeners.discard(woken)

    async def _look(self) -> None:
        known = self.live.version
        while self.listeners:
            version = await run_in_threadpool(self.live.look)
            if version != known or self.is_over():
                known = version
                for woken in self.listeners:
                    woken.set()
            await asyncio.sleep(LOOK_S)


def make(live: Live, token: str, names: frozenset[str], is_over: Callable[[], bool] = lambda: False) -> ASGIApp:
    """Make the application that a web server runs."""
    news, pages = News(live, is_over), {path.name: path.read_bytes() for path in sorted(STATIC.iterdir())}

    async def static(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in pages:
            raise HTTPException(404, "there is no such page")
        return Response(pages[name], media_type=KINDS[Path(name).suffix])

    async def events(request: Request) -> Response:
        text = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        return StreamingResponse(news.stream(number(text) or 0), media_type="text/event-stream")

    routes = [
        Route("/", static),
        Route("/static/{name}", static),
        Route("/api/events", events),
        *(Route(f"/api/{name}", _reading(read, live)) for name, read in READERS.items()),
        *([Route("/api/mark", _marking(live), methods=["POST"])] if live.may_mark else []),
    ]
    return Guard(
        GZipMiddleware(Starlette(routes=routes, exception_handlers=dict.fromkeys((AutoexpError, OSError), _refused))),
        token,
        names,
    )


def said(what: Any) -> Response:
    """Make an answer; JSON's escapes carry what no encoding has, such as half a character of a file's name."""
    return Response(json.dumps(what), media_type="application/json")


async def _refused(_: Request, error: Exception) -> Response:
    """Say what a person can mend; to the browser that is an answer like any other, and nothing for its console."""
    return said({"refused": str(error)})


def _reading(read: Callable[[Live, Request], Any], live: Live) -> Callable[[Request], Any]:
    """Make an address of a reader; reading is left to another thread, for disks may be slow."""

    async def answer(request: Request) -> Response:
        return said(await run_in_threadpool(read, live, request))

    return answer


def _view(live: Live, _: Request) -> dict[str, Any]:
    live.look()
    return live.since(0)


def _where(live: Live, request: Request) -> list[list[str]]:
    return live.chosen(request.query_params.get("text", ""))


def _job(live: Live, request: Request) -> dict[str, Any]:
    seen, ledger, job = found(live, request.query_params)
    records = list(seen.records(ledger.study.name, job.id))
    return live.undisturbed(lambda: jobs.job_page(*found(live, request.query_params), records))


def _timeline(live: Live, request: Request) -> dict[str, Any]:
    seen, study = _study(live, request)
    records = list(seen.records(study))
    return live.undisturbed(lambda: {"rows": timeline(live.view().registry.ledgers[study], records)})


def _graph(live: Live, request: Request) -> dict[str, Any]:
    _, study = _study(live, request)
    by = request.query_params.get("by", "")
    return live.undisturbed(lambda: graph(live.view().registry.ledgers[study], by))


def _study(live: Live, request: Request) -> tuple[View, str]:
    seen, study = live.view(), request.query_params.get("study", "")
    if study not in seen.registry.ledgers:
        raise AutoexpError(f"there is no study {study}", why="no plan has it", fix="go back to the overview")
    return seen, study


def _answers(live: Live, request: Request) -> list[dict[str, Any]]:
    _, ledger, job = found(live, request.query_params)
    return jobs.answers(ledger.dir_of(job.id))


def _curves(live: Live, request: Request) -> dict[str, Any]:
    _, ledger, job = found(live, request.query_params)
    return jobs.curves(ledger, job)


def _log(live: Live, request: Request) -> dict[str, Any]:
    _, ledger, job = found(live, request.query_params)
    attempt, place = (number(request.query_params.get(name, "")) for name in ("attempt", "place"))
    path = attempt_dir(ledger.dir_of(job.id), job.attempt if attempt is None else attempt) / "output.log"
    try:
        return logs.read(path, place)
    except OSError as error:
        raise AutoexpError("the log cannot be read", why=str(error), fix="see to its permissions") from error


READERS: dict[str, Callable[[Live, Request], Any]] = {
    "view": _view,
    "where": _where,
    "job": _job,
    "log": _log,
    "curves": _curves,
    "answers": _answers,
    "timeline": _timeline,
    "graph": _graph,
}


def _marking(live: Live) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        body = await request.body()
        if len(body) > LARGEST_BODY_BYTES:
            raise HTTPException(413, "a marker is short")
        try:
            asked = json.loads(body)
        except ValueError as error:
            raise HTTPException(400, "that is no JSON") from error
        if not isinstance(asked, dict):
            raise HTTPException(400, "that is no JSON object")
        return said(await run_in_threadpool(mark, live, asked))

    return answer


def mark(live: Live, asked: dict[str, Any]) -> dict[str, Any]:
    """Drop a marker for a job, as `autoexp mark` does.

    Raises:
        AutoexpError: there is no such job or verb, or the marker cannot be dropped.
    """
    seen, ledger, job = found(live, asked)
    verb, reason = asked.get("verb"), str(asked.get("reason", ""))[:LONGEST_REASON]
    if not isinstance(verb, str) or verb not in set(Verb):
        raise AutoexpError(f"{verb!r} is no verb", why=f"there are {', '.join(Verb)}", fix="use one of those")
    at = stamp(clock.now())
    try:
        path = markers.drop(ledger.dir_of(job.id) / "markers", Verb(verb), reason)
    except OSError as error:
        raise AutoexpError("the marker cannot be dropped", why=str(error), fix="see to the permissions") from error
    expected = Verb(verb) in accepted(job.state or State.WAITING)
    return {"dropped": str(path), "at": at, "watched": seen.watcher is not None, "expected": expected}


def number(text: str) -> int | None:
    """Read a number that a request has; None if it is none."""
    return int(text) if text.isdecimal() and len(text) <= LONGEST_NUMBER else None


def found(live: Live, asked: Any) -> Found:
    """Find the job that a request names; it is never a path.

    Raises:
        AutoexpError: there is none.
    """
    seen, study, name = live.view(), asked.get("study"), asked.get("job")
    ledger = seen.registry.ledgers.get(study) if isinstance(study, str) else None
    job = ledger.jobs.get(name) if ledger and isinstance(name, str) else None
    if ledger is None or job is None:
        raise AutoexpError(f"there is no job {study}/{name}", why="no plan has it", fix="go back to the list of jobs")
    return seen, ledger, job
