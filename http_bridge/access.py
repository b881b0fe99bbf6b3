"""Around the whole application: each request's correlation id, its line in the log, its metrics.

Owns what is told of a request: never its query, which carries signatures, nor a header or its body.
"""

from dataclasses import dataclass
from typing import Final, Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from http_bridge.error_reply import error_reply
from http_bridge.metrics import BridgeMetrics
from runtime import logs
from runtime.correlation import HTTP_HEADER, correlated, correlation_id
from runtime.limits import Limits
from zipcast.clock import Clock
from zipcast.errors import ErrorCode, ServiceError

log = logs.logger()

ANSWERED: Final = "ok"
CUT_OFF: Final = "cut_off"
ELSEWHERE = "other"
LONGEST_PATH = 256
_CORRELATION, _RESULT = "zipcast.correlation_id", "zipcast.result"


def correlation_of(request: Request) -> str:
    """The id that `Access` gave the request."""
    given: str = request.scope[_CORRELATION]
    return given


def client_address(scope: Scope) -> str:
    """Whose request it is: the peer's address, or what a trusted proxy says of it."""
    client = scope.get("client")
    return client[0] if client else "unknown"


def mark(request: Request, result: ErrorCode | Literal["cut_off"]) -> None:
    """What became of this request, unless it was answered."""
    request.scope[_RESULT] = str(result)


@dataclass(frozen=True, slots=True)
class Access:
    """The application as uvicorn serves it."""

    app: ASGIApp
    metrics: BridgeMetrics
    clock: Clock
    limits: Limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get(HTTP_HEADER)
        scope[_CORRELATION] = identity = correlation_id(given)
        began, status = self.clock.monotonic(), 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HTTP_HEADER] = identity
            await send(message)

        with correlated(identity):
            try:
                await self._pass_on(scope, receive, send_marked)
            except Exception:
                # Starlette raises again what its handler has logged and answered.
                if not status:
                    raise
            finally:
                self._tell(scope, status, self.clock.monotonic() - began)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.limits.charge_address(client_address(scope))
            _require_one_length(Headers(scope=scope))
        except ServiceError as error:
            scope[_RESULT] = str(error.code)
            more = {} if error.code is ErrorCode.RATE_LIMITED else {"Connection": "close"}
            await error_reply(error, self.clock, scope[_CORRELATION], more)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        """`status` 0: there was nobody left to answer."""
        self.metrics.request(_route(scope), scope.get(_RESULT, ANSWERED) if status else CUT_OFF, seconds)
        log.info(
            "http_request",
            method=scope["method"],
            path=scope["path"][:LONGEST_PATH],
            status=status or None,
            milliseconds=round(seconds * 1000, 1),
            client=client_address(scope),
        )


def _require_one_length(headers: Headers) -> None:
    """A proxy may go by the one length and we by the other: then what it takes for a body would be a request
    of its own. Raises ServiceError(MALFORMED_REQUEST)."""
    if "transfer-encoding" in headers and "content-length" in headers:
        raise ServiceError(
            ErrorCode.MALFORMED_REQUEST, "Content-Length and Transfer-Encoding exclude each other."
        )


def _route(scope: Scope) -> str:
    """The route's pattern, of which there are few; what strangers invent is one of its own."""
    return str(getattr(scope.get("route"), "path", ELSEWHERE))
