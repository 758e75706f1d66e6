"""Who may ask the page's server: whoever has the token, through a name that is ours, and for changes from our own page.

The token comes with the first address; the page it opens keeps it in a cookie that no script and no other site can use.
A name that is not ours is that of a page elsewhere whose name was made to lead here.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

READING = ("GET", "HEAD")
_POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self'"),
        *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
    )
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
UNKNOWN = "403: this page opens by the address, with its token, that autoexp serve has printed\n"


@dataclass(frozen=True, slots=True)
class Guard:
    """Stands before an application, and lets through what is in order."""

    app: ASGIApp
    token: str
    names: frozenset[str]
    """What we may be called in an address."""

    @property
    def cookie(self) -> str:
        """Name our cookie: other servers on this host, whose ports cookies do not tell apart, have others."""
        return f"autoexp-{sha256(self.token.encode()).hexdigest()[:12]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        refusal = self._refusal(scope["method"], headers, asked)
        given = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        if asked and not refusal:
            given.append((b"set-cookie", f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/".encode()))

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *given]
            await send(message)

        app = PlainTextResponse(refusal, status_code=403) if refusal else self.app
        await app(scope, receive, answer)

    def _refusal(self, method: str, headers: Mapping[str, str], asked: str) -> str:
        """Say why a request is not in order; nothing if it is."""
        host = headers.get("host", "")
        if _name_in(f"//{host}") not in self.names:
            return "403: this server is not known by that name\n"
        known = asked or self._kept(headers.get("cookie", ""))
        if not hmac.compare_digest(known.encode(errors="replace"), self.token.encode()):
            return UNKNOWN
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        is_ours = site == "same-origin" and (origin is None or urlsplit(origin).netloc == host)
        return "" if method in READING or is_ours else "403: another site's page may change nothing here\n"

    def _kept(self, cookies: str) -> str:
        try:
            found = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found else ""


def _name_in(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
