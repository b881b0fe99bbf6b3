"""Wraps the application: it adds limits, compression, and the methods HEAD and OPTIONS.

The order is: cross-origin rules, the limit per address, HEAD and OPTIONS, compression. It does not change the
content of replies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from access.rate_limits import Limits
from http_bridge.current_reply import accepts_gzip
from http_bridge.error_response import error_reply
from http_bridge.fast_current import HotPath
from http_bridge.request_log import METHOD_SENT, client_address, mark
from service.correlation import HTTP_HEADER
from service.http_server import require_small_head
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError

SMALLEST_COMPRESSED = 1024
PREFLIGHT_SECONDS = 3600
# Headers that scripts on web pages may read, in addition to those that browsers always allow.
_EXPOSED = ("ETag", "Retry-After", "Age", HTTP_HEADER)


def front(
    app: FastAPI, limits: Limits, clock: Clock, cors_origins: Sequence[str], hot: str | None = None
) -> ASGIApp:
    """Return the wrapped application. Without origins, scripts of other sites cannot read replies. `hot` is
    the path of an endpoint that is called without the framework and compresses its replies itself."""
    inner: ASGIApp = CompressedGet(app)
    if hot is not None:
        inner = HotPath(inner, app, hot)
    guarded: ASGIApp = Guard(EveryMethod(inner, app), limits, clock)
    if not cors_origins:
        return guarded
    return CORSMiddleware(
        guarded,
        allow_origins=cors_origins,
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
        max_age=PREFLIGHT_SECONDS,
    )


@dataclass(frozen=True, slots=True)
class Guard:
    """Checks a request before it is read: the limit of its address, and the size of its head."""

    app: ASGIApp
    limits: Limits
    clock: Clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.limits.charge_address(client_address(scope))
            require_small_head(scope)
        except ServiceError as error:
            mark(scope, error.code)
            more = {} if error.code is ErrorCode.RATE_LIMITED else {"Connection": "close"}
            await error_reply(error, self.clock, more)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class EveryMethod:
    """Handles HEAD for every path with GET, and OPTIONS for every path. `routed` is the application with the
    routes."""

    app: ASGIApp
    routed: FastAPI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "OPTIONS" and (allowed := allowed_methods(self.routed, scope)):
            await Response(status_code=204, headers={"Allow": ", ".join(allowed)})(scope, receive, send)
        elif method == "HEAD":
            scope["method"] = "GET"
            await self.app(scope, receive, _without_body(send))
        else:
            await self.app(scope, receive, send)


class CompressedGet:
    """Compresses replies to GET if the client accepts compression, except replies with credentials. Replies
    to HEAD are not compressed."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(app, minimum_size=SMALLEST_COMPRESSED, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Leave out HEAD requests. Their method was changed to GET before; METHOD_SENT has the original
        # method.
        reads = scope["method"] == scope.get(METHOD_SENT, "GET") == "GET"
        # Leave out assets, because `assets` compresses them itself.
        reads = reads and not scope["path"].startswith("/assets/")
        if reads and not accepts_gzip(Headers(scope=scope).get("accept-encoding", "")):
            # Starlette would treat `gzip;q=0` as acceptance, so remove the header to keep the reply plain.
            scope["headers"] = [(n, value) for n, value in scope["headers"] if n != b"accept-encoding"]
        app = self._compressed if reads else self._plain
        await app(scope, receive, send)


def allowed_methods(app: FastAPI, scope: Scope) -> list[str]:
    """Return the methods that the path accepts; an empty list if there is no such path."""
    found = set(_route_methods(app, scope))
    if "GET" in found:
        found.add("HEAD")
    return sorted(found | {"OPTIONS"}) if found else []


def _route_methods(app: FastAPI, scope: Scope) -> Iterator[str]:
    for route in app.router.routes:
        if route.matches(scope)[0] is not Match.NONE:
            yield from getattr(route, "methods", None) or ("GET",)


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {
                "type": "http.response.body",
                "body": b"",
                "more_body": message.get("more_body", False),
            }
        await send(message)

    return send_head
