"""Answers `GET /api/v1/epochs/stream`: epochs as server-sent events, for clients that cannot connect to NATS.

This module sends heartbeats, resumes after `Last-Event-ID`, and limits the number of streams. A stream ends
when its hotkey leaves the subnet, when its signature is a day old, or when a request that was signed later
needs its place. The feed provides the events.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from access.requests import Proof
from http_bridge.epoch_feed import EpochFeed
from http_bridge.request_log import METHOD_SENT
from service import logs
from service.registry import RegistryView
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey

log = logs.logger()

HEARTBEAT_SECONDS = 15.0
# A stream may continue for this long after its hotkey has left the subnet.
REGISTRY_SECONDS = 5.0
MAX_OF_ONE, MAX_OF_ALL = 3, 2_000
MAX_STREAM_LIFE = timedelta(hours=24)
"""The longest time from the signing of a request to the end of its stream. After that, the client must sign a
new request."""
# The end of a stream waits this long for a client that reads slowly.
END_TIMEOUT_SECONDS = 5.0
_SEQUENCE = re.compile(r"[0-9]{1,18}")
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
HEARTBEAT = b": alive\n\n"
BEGINNING = b"retry: 1000\n\n"


@dataclass(frozen=True, slots=True)
class _Place:
    """One open stream. The timeout `life` ends it. To end a stream at once, the timeout is rescheduled."""

    signed_at: datetime
    life: asyncio.Timeout

    def end(self) -> None:
        self.life.reschedule(asyncio.get_running_loop().time())


@dataclass(slots=True)
class Listeners:
    """All open streams, by hotkey and by the request for which they were opened."""

    feed: EpochFeed
    registry: RegistryView
    clock: Clock
    _places: dict[tuple[Hotkey, str], _Place] = field(default_factory=dict)

    def respond(self, request: Request, hotkey: Hotkey, proof: Proof) -> Response:
        """Return the stream of one listener. Raises ServiceError(MALFORMED_REQUEST)."""
        since = _last_event_id(request)
        if request.scope[METHOD_SENT] == "HEAD":
            return Response(headers=_HEADERS, media_type="text/event-stream")
        return EventStream(self, hotkey, proof, self._events(hotkey, since, request))

    def count(self) -> int:
        """Return the number of open streams."""
        return len(self._places)

    @contextmanager
    def place(self, hotkey: Hotkey, proof: Proof) -> Iterator[asyncio.Timeout]:
        """Reserve a place for a stream while the context is entered. It yields a timeout, which the stream
        must enter at once. Raises ServiceError(RATE_LIMITED)."""
        self._make_room(hotkey, proof)
        left = proof.signed_at + MAX_STREAM_LIFE - self.clock.now()
        key = hotkey, proof.request_key
        place = self._places[key] = _Place(proof.signed_at, asyncio.timeout(max(0.0, left.total_seconds())))
        try:
            yield place.life
        finally:
            # If another request has ended this stream, the place is already free, and may be taken by a
            # stream with the same signed text.
            if self._places.get(key) is place:
                del self._places[key]

    def _make_room(self, hotkey: Hotkey, proof: Proof) -> None:
        """End an older stream if the hotkey has too many. An eavesdropper can repeat a request but cannot
        sign one. Therefore a signed text opens only one stream at a time, and only a request signed later
        ends a stream."""
        if (hotkey, proof.request_key) in self._places:
            raise _refusal(
                "A stream with this signature is already open. Sign a new request for another stream."
            )
        own = [key for key in self._places if key[0] == hotkey]
        if len(own) >= MAX_OF_ONE:
            oldest = min(own, key=lambda key: self._places[key].signed_at)
            if proof.signed_at <= self._places[oldest].signed_at:
                raise _refusal(
                    f"This hotkey has {MAX_OF_ONE} streams, the maximum, and all were signed later than "
                    "this request. Sign a new request."
                )
            self._places.pop(oldest).end()
        if self.count() >= MAX_OF_ALL:
            raise _refusal(f"The bridge has {MAX_OF_ALL} streams, the maximum. Try again later.")

    async def _events(self, hotkey: Hotkey, since: int | None, request: Request) -> AsyncIterator[bytes]:
        try:
            yield BEGINNING
            async for frame in self._frames(hotkey, since, request):
                yield frame
        except ServiceError as error:
            # The reply has begun, so it cannot become an error. The client reconnects with its Last-Event-ID.
            log.info("stream_ended", hotkey=hotkey, error=error.code)

    async def _frames(self, hotkey: Hotkey, since: int | None, request: Request) -> AsyncIterator[bytes]:
        spoke_at, sealed = self.clock.monotonic(), b""
        if since is not None and since > self.feed.newest > 0:
            since = None  # the id belongs to another NATS stream, so begin with the running epoch
        # A client that has disconnected is noticed only when sending fails.
        while not self.feed.closed and not await request.is_disconnected():
            self.registry.require_registered(hotkey)
            async for event in self.feed.after(since):
                yield event.frame
                since, spoke_at = event.sequence, self.clock.monotonic()
            if self.feed.sealed != sealed:
                sealed, spoke_at = self.feed.sealed, self.clock.monotonic()
                yield sealed
            if self.clock.monotonic() - spoke_at >= HEARTBEAT_SECONDS:
                yield HEARTBEAT
                spoke_at = self.clock.monotonic()
            if (since is None or since >= self.feed.newest) and self.feed.sealed == sealed:
                await self.feed.next_news(REGISTRY_SECONDS)


class EventStream(StreamingResponse):
    """A reply that reserves its place before its first byte is sent, so that simultaneous requests are
    counted."""

    def __init__(
        self, listeners: Listeners, hotkey: Hotkey, proof: Proof, events: AsyncIterator[bytes]
    ) -> None:
        super().__init__(events, 200, _HEADERS, "text/event-stream")
        self._listeners, self._hotkey, self._proof = listeners, hotkey, proof

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events. Raises ServiceError(RATE_LIMITED) before anything is sent."""
        began = False

        async def send_noted(message: Message) -> None:
            nonlocal began
            await send(message)
            began = True

        with self._listeners.place(self._hotkey, self._proof) as life:
            try:
                async with life:
                    await super().__call__(scope, receive, send_noted)
            except TimeoutError:
                if not life.expired():
                    raise
        if not life.expired():
            return
        if not began:
            raise _refusal("A request of this hotkey that was signed later has ended this stream.")
        await self._end(send)

    async def _end(self, send: Send) -> None:
        """Finish the reply. If the client does not read, give up; then the server closes the connection."""
        log.info("stream_ended", hotkey=self._hotkey, error="too_old_or_replaced")
        try:
            async with asyncio.timeout(END_TIMEOUT_SECONDS):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            log.info("stream_cut", hotkey=self._hotkey)


def _refusal(message: str) -> ServiceError:
    return ServiceError(ErrorCode.RATE_LIMITED, message, retry_after_seconds=int(HEARTBEAT_SECONDS))


def _last_event_id(request: Request) -> int | None:
    """Read `Last-Event-ID`. Raises ServiceError(MALFORMED_REQUEST)."""
    stated = request.headers.get("last-event-id", "")
    if not stated:
        return None
    if not _SEQUENCE.fullmatch(stated):
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, "Last-Event-ID must be the id of an event.")
    return int(stated)
