"""`GET /api/v1/epochs/stream`: epochs as server-sent events, for those who may not open a NATS connection.

Owns one listener's life: a heartbeat, resuming by `Last-Event-ID`, how many there may be, and that it ends
when its hotkey leaves the subnet. What is told, and when, is the feed's.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from http_bridge.access import METHOD_SENT
from http_bridge.feed import EpochFeed
from runtime import logs
from runtime.registry import RegistryView
from zipcast.clock import Clock
from zipcast.errors import ErrorCode, ServiceError
from zipcast.hotkeys import Hotkey

log = logs.logger()

HEARTBEAT_SECONDS = 15.0
# How long a hotkey that left may still listen.
REGISTRY_SECONDS = 5.0
MOST_OF_ONE, MOST_OF_ALL = 3, 2_000
_SEQUENCE = re.compile(r"[0-9]{1,18}")
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
HEARTBEAT = b": alive\n\n"
BEGINNING = b"retry: 1000\n\n"


@dataclass(slots=True)
class Listeners:
    feed: EpochFeed
    registry: RegistryView
    clock: Clock
    _listening: Counter[Hotkey] = field(default_factory=Counter)

    def respond(self, request: Request, hotkey: Hotkey) -> Response:
        """Return the stream of one listener. Raises ServiceError(MALFORMED_REQUEST)."""
        since = _last_event_id(request)
        if request.scope[METHOD_SENT] == "HEAD":
            return Response(headers=_HEADERS, media_type="text/event-stream")
        return EventStream(self, hotkey, self._events(hotkey, since, request))

    def count(self) -> int:
        return self._listening.total()

    @contextmanager
    def place(self, hotkey: Hotkey) -> Iterator[None]:
        """Take a place among the listeners while entered. Raises ServiceError(RATE_LIMITED)."""
        self._require_room(hotkey)
        self._listening[hotkey] += 1
        try:
            yield
        finally:
            self._listening[hotkey] -= 1
            if not self._listening[hotkey]:
                del self._listening[hotkey]

    def _require_room(self, hotkey: Hotkey) -> None:
        if self._listening[hotkey] >= MOST_OF_ONE or self.count() >= MOST_OF_ALL:
            raise ServiceError(
                ErrorCode.RATE_LIMITED,
                f"At most {MOST_OF_ONE} streams a hotkey, {MOST_OF_ALL} in all.",
                retry_after_seconds=int(HEARTBEAT_SECONDS),
            )

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
            since = None  # of another stream than this: what runs now is told
        # Who has hung up is noticed by itself only when something cannot be sent to him.
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

    def __init__(self, listeners: Listeners, hotkey: Hotkey, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, 200, _HEADERS, "text/event-stream")
        self._listeners, self._hotkey = listeners, hotkey

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events. Raises ServiceError(RATE_LIMITED) before anything is sent."""
        with self._listeners.place(self._hotkey):
            await super().__call__(scope, receive, send)


def _last_event_id(request: Request) -> int | None:
    """Raises ServiceError(MALFORMED_REQUEST)."""
    stated = request.headers.get("last-event-id", "")
    if not stated:
        return None
    if not _SEQUENCE.fullmatch(stated):
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, "Last-Event-ID must be an event's id.")
    return int(stated)
