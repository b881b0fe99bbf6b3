"""Around the whole application: each request's correlation id, its line in the log, its metrics, the headers
that every reply has.

Owns what is told of a request: never its query, which carries signatures, nor a header or its body.
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
LONGEST_PATH = 256
METHOD_SENT = "zipcast.method"
"""The method as the client sent, and signed, it: a HEAD is answered as a GET without its body."""
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
    """The id that `Access` gave the request."""
    given: str = scope[_CORRELATION]
    return given


def client_address(scope: Scope) -> str:
    """Return the client's IP address: the peer's, or what a trusted proxy states; "unknown" if it is none."""
    client = scope.get("client")
    return stated_address(client[0]) if client else UNKNOWN


def mark(scope: Scope, result: ErrorCode | Literal["cut_off"]) -> None:
    """Note the result of a request that was not answered as asked."""
    scope[_RESULT] = str(result)


@dataclass(frozen=True, slots=True)
class Access:
    """The application as uvicorn serves it."""

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
                # Starlette raises again what its handler has logged and answered.
                if not status:
                    raise
            finally:
                self._tell(scope, status, self.clock.monotonic() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        """Log and measure the request. `status` 0: the client was gone before an answer."""
        self.metrics.request(_route(scope), scope.get(_RESULT, ANSWERED) if status else CUT_OFF, seconds)
        log.info(
            "http_request",
            method=scope[METHOD_SENT],
            path=scope["path"][:LONGEST_PATH],
            status=status or None,
            milliseconds=round(seconds * 1000, 1),
            client=client_address(scope),
        )


def _header(scope: Scope, name: bytes) -> str | None:
    """Read as it stands: this is done for every request."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def _route(scope: Scope) -> str:
    """The route's pattern, of which there are few; what strangers invent is one of its own."""
    return str(getattr(scope.get("route"), "path", ELSEWHERE))


def _guarded(headers: RawHeaders, identity: str, scheme: str) -> RawHeaders:
    """Add the request's id, and headers that keep a browser from guessing types, framing or leaking. A page's
    own, laxer policy stays. Works on raw headers, since it runs for every reply."""
    more = [*_GUARDS, (_ID_HEADER, identity.encode())]
    if not any(name == _POLICY[0] for name, _ in headers):
        more.append(_POLICY)
    if scheme == "https":
        more.append(_TLS_ONLY)
    return [*headers, *more]
