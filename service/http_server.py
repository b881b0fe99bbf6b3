"""Serves HTTP within a process: uvicorn without its own signal handlers, log lines and headers, and with
limits on the size and duration of a request."""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from h11 import DONE, IDLE, MUST_CLOSE, SEND_BODY, SEND_RESPONSE, Data, EndOfMessage, Request, Response
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import error_body

# Running requests may continue for this long when the process stops.
GRACE_SECONDS = 1
# The time limit for receiving a request, from the start of the connection or the first byte of the request to
# its last byte. uvicorn itself has no such limit.
ARRIVAL_SECONDS = 10.0
# Idle connections are kept for this long, which is longer than httpx (5 s) and aiohttp (15 s) keep them, so
# that the client closes first. A request that is sent just when the server closes the connection gets no
# reply.
KEEP_ALIVE_SECONDS = 20
MAX_HEAD_BYTES = 16 * 1024
"""The largest size of a request's head, in bytes. h11 checks this only while the head is incomplete."""


_HEAD_END = re.compile(rb"\n\r?\n")
MAX_HEAD_LINES = 100
"""The largest number of lines of a head. Parsing a line takes 4 µs, however short it is, before the sender's
limits apply."""
MAX_UNREAD_BYTES = 1024**2
"""The largest size of a body, in bytes. It applies even if the body is not read because its request was
refused early."""


def require_small_head(scope: Scope) -> None:
    """Check the size of the head. Raises ServiceError(MALFORMED_REQUEST) if request line and headers together
    have more than MAX_HEAD_BYTES."""
    size = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"])
    size += sum(len(name) + len(value) + len(b": \r\n") for name, value in scope["headers"])
    if size > MAX_HEAD_BYTES:
        raise ServiceError(
            ErrorCode.MALFORMED_REQUEST,
            f"Request line and headers must have at most {MAX_HEAD_BYTES} bytes.",
        )


class BoundedConnection(h11.Connection):
    """h11's parser with further limits. It treats a head with too many lines, a chunked body, and a body with
    too many bytes as malformed. Chunks and trailers take long to parse, however short they are, and no client
    of Zipcast sends them."""

    is_chunked = False
    _bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event. Raises h11.RemoteProtocolError."""
        self._require_small_head()
        event = super().next_event()
        if isinstance(event, Request):
            self.is_chunked = any(name == b"transfer-encoding" for name, _ in event.headers)
            if self.is_chunked:
                raise h11.RemoteProtocolError("the body comes in chunks")
            self._bytes = 0
        elif isinstance(event, Data):
            self._bytes += len(event.data)
            if self._bytes > MAX_UNREAD_BYTES:
                raise h11.RemoteProtocolError("the body has too many bytes")
        return event

    def _require_small_head(self) -> None:
        """Check the bytes that are not parsed yet. Raises h11.RemoteProtocolError."""
        if self.their_state is not IDLE:
            return
        received, _ = self.trailing_data
        end = _HEAD_END.search(received)
        head = received if end is None else received[: end.start()]
        if head.count(b"\n") > MAX_HEAD_LINES or len(head) > MAX_HEAD_BYTES:
            raise h11.RemoteProtocolError("the head is too large")


class PunctualProtocol(H11Protocol):
    """A connection that is closed if a request does not arrive in time."""

    conn: BoundedConnection
    _late: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.conn = BoundedConnection(h11.SERVER, MAX_HEAD_BYTES)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        self._expect()
        super().data_received(data)
        if self.conn.their_state in {DONE, MUST_CLOSE}:
            self._arrived()

    def on_response_complete(self) -> None:
        """After a reply, start the time limit again if the rest of the body is missing, or if bytes of the
        next request have arrived."""
        super().on_response_complete()
        if self.conn.their_state is SEND_BODY or self.conn.trailing_data[0]:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request, a head that is too large, or a chunked body with an error reply. If the
        reply has begun already, only close the connection."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in {IDLE, SEND_RESPONSE}:
            self.transport.close()
            return
        error = (
            ServiceError(
                ErrorCode.LENGTH_REQUIRED, "Send the body with Content-Length, without Transfer-Encoding."
            )
            if self.conn.is_chunked
            else ServiceError(
                ErrorCode.MALFORMED_REQUEST, "The request is not well-formed HTTP, or its head is too large."
            )
        )
        body = json.dumps(error_body(error)).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("connection", "close"),
        ]
        for event in (Response(status_code=error.status, headers=headers), Data(data=body), EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _expect(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(ARRIVAL_SECONDS, self.transport.abort)

    def _arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class Server(uvicorn.Server):
    """An HTTP server. It listens only after `serve` is called, and ends when `should_exit` is set. It trusts
    X-Forwarded-For and X-Forwarded-Proto only from `trusted_proxies` (addresses or networks)."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        trusted_proxies: Sequence[str] = (),
        grace_seconds: int = GRACE_SECONDS,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=PunctualProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=list(trusted_proxies),
                server_header=False,
                timeout_graceful_shutdown=grace_seconds,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers, because the process has its own."""
        yield
