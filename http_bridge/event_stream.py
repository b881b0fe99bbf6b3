"""`GET /api/v1/epochs/stream`: epochs as server-sent events, for those who may not open a NATS connection.

Owns one listener's life: a heartbeat, resuming by `Last-Event-ID`, how many there may be, and its end: its
hotkey left the subnet, its signature is a day old, or a request that was signed later needs its place. What
is told, and when, is the feed's.
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
# A hotkey that left the subnet may listen for so long.
REGISTRY_SECONDS = 5.0
MOST_OF_ONE, MOST_OF_ALL = 3, 2_000
MAX_STREAM_LIFE = timedelta(hours=24)
"""The longest that a stream lasts after its signed time. Then the client comes back with a new signature."""
# The end of a stream waits for so long for a client that reads slowly.
END_TIMEOUT_SECONDS = 5.0
_SEQUENCE = re.compile(r"[0-9]{1,18}")
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
HEARTBEAT = b": alive\n\n"
BEGINNING = b"retry: 1000\n\n"


@dataclass(frozen=True, slots=True)
class _Place:
    """One open stream. `life` ends it: in time, or at once when it is rescheduled."""

    signed_at: datetime
    life: asyncio.Timeout

    def end(self) -> None:
        self.life.reschedule(asyncio.get_running_loop().time())


@dataclass(slots=True)
class Listeners:
    """Every open stream, by hotkey and by the request that was signed for it."""

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
        return len(self._places)

    @contextmanager
    def place(self, hotkey: Hotkey, proof: Proof) -> Iterator[asyncio.Timeout]:
        """Take a place among the listeners while entered. The stream must run inside the timeout that is
        yielded, entered at once. Raises ServiceError(RATE_LIMITED)."""
        self._make_room(hotkey, proof)
        left = proof.signed_at + MAX_STREAM_LIFE - self.clock.now()
        key = hotkey, proof.request_key
        place = self._places[key] = _Place(proof.signed_at, asyncio.timeout(max(0.0, left.total_seconds())))
        try:
            yield place.life
        finally:
            # An ended stream has lost its place already, perhaps to another one of the same text.
            if self._places.get(key) is place:
                del self._places[key]

    def _make_room(self, hotkey: Hotkey, proof: Proof) -> None:
        """An observer can repeat a request but sign none: so a text opens one stream at a time, and only a
        request that was signed later ends an earlier one."""
        if (hotkey, proof.request_key) in self._places:
            raise _refusal("This signature's stream is open already: sign a new request for another one.")
        own = [key for key in self._places if key[0] == hotkey]
        if len(own) >= MOST_OF_ONE:
            oldest = min(own, key=lambda key: self._places[key].signed_at)
            if proof.signed_at <= self._places[oldest].signed_at:
                raise _refusal(
                    f"At most {MOST_OF_ONE} streams a hotkey, and none of the open ones was signed earlier: "
                    "sign a new request."
                )
            self._places.pop(oldest).end()
        if self.count() >= MOST_OF_ALL:
            raise _refusal(f"At most {MOST_OF_ALL} streams in all. Try again later.")

    async def _events(self, hotkey: Hotkey, since: int | None, request: Request) -> AsyncIterator[bytes]:
        try:
            yield BEGINNING
            async for frame in self._frames(hotkey, since, request):
                yield frame
        except ServiceError as error:
            # The reply has begun: the client comes back with its Last-Event-ID.
            log.info("stream_ended", hotkey=hotkey, error=error.code)

    async def _frames(self, hotkey: Hotkey, since: int | None, request: Request) -> AsyncIterator[bytes]:
        spoke_at = self.clock.monotonic()
        if since is not None and since > self.feed.newest > 0:
            since = None  # of another stream than this: begin with the running epoch
        # A client that has hung up is noticed only when something cannot be sent to it.
        while not self.feed.closed and not await request.is_disconnected():
            self.registry.require_registered(hotkey)
            async for told in self.feed.after(since):
                yield told.frame
                since, spoke_at = told.sequence, self.clock.monotonic()
            if self.clock.monotonic() - spoke_at >= HEARTBEAT_SECONDS:
                yield HEARTBEAT
                spoke_at = self.clock.monotonic()
            if since is None or since >= self.feed.newest:
                await self.feed.next_news(REGISTRY_SECONDS)


class EventStream(StreamingResponse):
    """Takes its place before the first byte is sent, so that requests that come at once are counted."""

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
            raise _refusal("A request that was signed later took this stream's place.")
        await self._end(send)

    async def _end(self, send: Send) -> None:
        """Finish the reply, unless the client reads nothing of it: then the server closes the connection."""
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
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, "Last-Event-ID must be an event's id.")
    return int(stated)
