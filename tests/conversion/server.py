"""A small hub on this computer: as much of its HTTP API as an upload of a model needs, by git-lfs' basic transfer.

https://huggingface.co/docs/hub/api, https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Hub(ThreadingHTTPServer):
    """One repository, `owner/name`; requests whose path has a key of `broken` in it get its status instead."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.broken: dict[str, int] = {}
        self.private = False
        self.branches: dict[str, dict[str, str]] = {}
        """Each branch's files, by path: a hash of large ones, nothing of small ones."""
        self.stored: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.tokens: set[str | None] = set()


@contextmanager
def running() -> Iterator[Hub]:
    with Hub() as hub:
        thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _do(self) -> None:
        hub, body = self.server, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        hub.calls.append(f"{self.command} {path}")
        if "/owner/name" in path:  # its client has other errands, too
            hub.tokens.add(self.headers.get("Authorization"))
        status = next((status for part, status in hub.broken.items() if part in path), 0)
        status, said = (status, {"error": "broken"}) if status else self._answer(path.strip("/").split("/"), body)
        text = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = _do  # noqa: N815 - as the base class calls them

    def _answer(self, path: list[str], body: bytes) -> tuple[int, Any]:
        hub = self.server
        said: Any = {}
        match path:
            case ["api", "repos", "create"]:
                said = {"url": f"{hub.url}/owner/name"}
            case ["api", "models", "owner", "name"] | ["api", "models", "owner", "name", "revision", _]:
                said = {"id": "owner/name", "private": hub.private, "sha": "0" * 40, "siblings": [], "tags": []}
            case ["api", "models", "owner", "name", "branch", branch] if branch not in hub.branches:
                hub.branches[branch] = {}
            case ["api", "models", "owner", "name", "branch", _]:
                return 409, {"error": "it is there"}
            case ["api", "models", "owner", "name", "tree", branch]:
                return 200, [_entry(name, oid) for name, oid in hub.branches[branch].items()]
            case ["api", "models", "owner", "name", "preupload", _]:
                said = {"files": [_mode(file["path"]) for file in json.loads(body)["files"]]}
            case ["owner", "name.git", "info", "lfs", "objects", "batch"]:
                objects = [self._object(each["oid"], each["size"]) for each in json.loads(body)["objects"]]
                said = {"transfer": "basic", "objects": objects}
            case ["store", oid]:
                hub.stored[oid] = body
            case ["api", "models", "owner", "name", "commit", branch]:
                said = self._commit(branch, [json.loads(line) for line in body.splitlines()])
            case _:
                return 404, {"error": "/".join(path)}
        return 200, said

    def _commit(self, branch: str, lines: list[dict[str, Any]]) -> dict[str, str]:
        files = (line["value"] for line in lines if line["key"] in {"file", "lfsFile"})
        self.server.branches[branch] |= {file["path"]: file.get("oid", "") for file in files}
        return {"commitUrl": f"{self.server.url}/owner/name/commit/{'0' * 40}", "commitOid": "0" * 40}

    def _object(self, oid: str, size: int) -> dict[str, Any]:
        actions = {} if oid in self.server.stored else {"upload": {"href": f"{self.server.url}/store/{oid}"}}
        return {"oid": oid, "size": size, **({"actions": actions} if actions else {})}


def _mode(path: str) -> Mapping[str, Any]:
    mode = "lfs" if path.endswith(".safetensors") else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False}


def _entry(name: str, oid: str) -> Mapping[str, Any]:
    large = {"lfs": {"oid": oid, "size": 1, "pointerSize": 1}} if oid else {}
    return {"type": "file", "path": name, "oid": "0" * 40, "size": 1, **large}
