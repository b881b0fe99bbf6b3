"""Wraps the application: it adds each request's correlation id, log line and metrics, and the headers that
every reply has.

It never logs a request's query, which contains signatures, nor its headers or its body.
"""

from dataclasses import dataclass
from typing import Final, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from access.source_addresses import UNKNOWN, stated_address
from http_bridge.metrics import BridgeMetrics
from service import logs
from service.correlation import HTTP_HEADER, correlated, correlation_id
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode

log = logs.logger()

ANSWERED: Final = "ok"
CUT_OFF: Final = "cut_off"
ELSEWHERE = "other"
MAX_METHOD, MAX_PATH = 16, 256
METHOD_SENT = "zipcast.method"
"""The method that the client sent and signed. It differs from the request's method for HEAD, which is handled
as a GET without the body."""
RawHeaders = list[tuple[bytes, bytes]]
_ID_HEADER = HTTP_HEADER.lower().encode()
_GUARDS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_TLS_ONLY = (b"strict-transport-security", b"max-age=31536000")
_CORRELATION, _RESULT = "zipcast.correlation_id", "zipcast.result"


def correlation_of(scope: Scope) -> str:
    """Return the id that `Access` gave the request."""
    given: str = scope[_CORRELATION]
    return given


def client_address(scope: Scope) -> str:
    """Return the client's IP address, or the one that a trusted proxy states; "unknown" if it is not an
    address."""
    client = scope.get("client")
    return stated_address(client[0]) if client else UNKNOWN


def mark(scope: Scope, result: ErrorCode | Literal["cut_off"]) -> None:
    """Note why a request was refused or ended early, for its log line and metrics."""
    scope[_RESULT] = str(result)


@dataclass(frozen=True, slots=True)
class Access:
    """The outermost application, which uvicorn serves."""

    app: ASGIApp
    metrics: BridgeMetrics
    clock: Clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = _header(scope, _ID_HEADER)
        scope[_CORRELATION] = identity = correlation_id(given)
        scope[METHOD_SENT] = scope["method"]
        began, status = self.clock.monotonic(), 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _guarded(message["headers"], identity, scope["scheme"])
            await send(message)

        with correlated(identity):
            try:
                await self.app(scope, receive, send_marked)
            except Exception:
                # If a status was sent, Starlette has already logged the error and replied, and only raises it
                # again.
                if not status:
                    raise
            finally:
                self._tell(scope, status, self.clock.monotonic() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        """Log and measure the request. `status` is 0 if the client disconnected before the reply."""
        self.metrics.request(_route(scope), scope.get(_RESULT, ANSWERED) if status else CUT_OFF, seconds)
        log.info(
            "http_request",
            method=scope[METHOD_SENT][:MAX_METHOD],
            path=scope["path"][:MAX_PATH],
            status=status or None,
            milliseconds=round(seconds * 1000, 1),
            client=client_address(scope),
        )


def _header(scope: Scope, name: bytes) -> str | None:
    """Return a header from the raw headers, which is fast, because this is done for every request."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def _route(scope: Scope) -> str:
    """Return the pattern of the route. All unknown paths have one common value, so that the label has few
    values."""
    return str(getattr(scope.get("route"), "path", ELSEWHERE))


def _guarded(headers: RawHeaders, identity: str, scheme: str) -> RawHeaders:
    """Add the request id, and headers that keep browsers from guessing types, framing pages or leaking URLs.
    A page's own policy is kept. This works on raw headers, because it runs for every reply."""
    more = [*_GUARDS, (_ID_HEADER, identity.encode())]
    if not any(name == _POLICY[0] for name, _ in headers):
        more.append(_POLICY)
    if scheme == "https":
        more.append(_TLS_ONLY)
    return [*headers, *more]
