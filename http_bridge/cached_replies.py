"""Builds public replies from the database once for all simultaneous requests, and caches them for two
seconds.

It limits how many public requests use the database at once, so that authenticated requests, health and
opt-outs always find a free connection.
"""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from http_bridge.current_reply import accepts_gzip
from http_bridge.middleware import SMALLEST_COMPRESSED
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import WireModel

MAX_PUBLIC_READS = 2
"""The number of public replies that are built at once. The process has ten database connections in all. Each
reply is built and compressed in a thread."""
MAX_WAIT_SECONDS = 1.0
BUSY_RETRY_SECONDS = 2
KEPT_SECONDS = 2.0
"""How long a reply is cached. This is shorter than the five seconds for which clients may cache it."""
MAX_KEPT_BYTES = 64 * 2**20
_COMPRESSION_LEVEL = 6

T = TypeVar("T")


@dataclass(slots=True)
class Remembered(Generic[T]):
    """A value that `make` makes at most once in `seconds`, however many ask for it."""

    make: Callable[[], Awaitable[T]]
    clock: Clock
    seconds: float
    _known: T | None = field(default=None)
    _known_until: float = field(default=float("-inf"))
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def value(self) -> T:
        """Return the value. Raises the errors of `make`."""
        async with self._making:
            if self._known is None or self.clock.monotonic() >= self._known_until:
                self._known = await self.make()
                self._known_until = self.clock.monotonic() + self.seconds
            return self._known


@dataclass(frozen=True, slots=True)
class ReadyReply:
    """A JSON body, plain and compressed; both are made once. Small bodies are only sent plain."""

    plain: bytes
    gzipped: bytes | None

    @classmethod
    def of(cls, body: bytes) -> "ReadyReply":
        if len(body) < SMALLEST_COMPRESSED:
            return cls(body, None)
        return cls(body, gzip.compress(body, _COMPRESSION_LEVEL, mtime=0))

    @property
    def size_bytes(self) -> int:
        return len(self.plain) + len(self.gzipped or b"")

    def response(self, request: Request, cache_control: str) -> Response:
        """Return the reply in an encoding that the client accepts."""
        headers = {"Cache-Control": cache_control}
        body = self.plain
        if self.gzipped is not None and accepts_gzip(request.headers.get("accept-encoding", "")):
            # State `Vary` here, because `middleware` adds it only to plain replies.
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
            body = self.gzipped
        return Response(body, media_type="application/json", headers=headers)


@dataclass(frozen=True, slots=True)
class _Kept:
    reply: ReadyReply
    until: float


@dataclass(slots=True)
class ReadyReplies:
    """Cached replies, and replies that are being built, by key."""

    clock: Clock
    wait_seconds: float = MAX_WAIT_SECONDS
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_PUBLIC_READS))
    _building: dict[str, asyncio.Task[ReadyReply]] = field(default_factory=dict)
    _kept: dict[str, _Kept] = field(default_factory=dict)
    """The cached replies, oldest first."""

    async def reply(
        self, key: str, read: Callable[[], Awaitable[T]], make: Callable[[T], WireModel]
    ) -> ReadyReply:
        """Return the reply with this key. `read` queries the database, and `make` builds the reply from the
        result, in a thread. Simultaneous requests with the same key share the reply or its error.

        Raises ServiceError(SERVICE_UNAVAILABLE) if too many other replies are being built, and the errors of
        `read`."""
        kept = self._kept.get(key)
        if kept is not None and self.clock.monotonic() < kept.until:
            return kept.reply
        building = self._building.get(key)
        if building is None:
            building = self._building[key] = asyncio.create_task(self._build(key, read, make))
            # Read the error of a failed build. If all clients have disconnected, nothing else reads it, and
            # asyncio would warn.
            building.add_done_callback(lambda done: done.cancelled() or done.exception())
        # A client that disconnects must not cancel a reply for which others wait.
        return await asyncio.shield(building)

    async def _build(
        self, key: str, read: Callable[[], Awaitable[T]], make: Callable[[T], WireModel]
    ) -> ReadyReply:
        try:
            await self._take_place()
            try:
                found = await read()
                reply = await asyncio.to_thread(lambda: ReadyReply.of(make(found).to_bytes()))
            finally:
                self._places.release()
            self._keep(key, reply)
            return reply
        finally:
            del self._building[key]

    async def _take_place(self) -> None:
        try:
            async with asyncio.timeout(self.wait_seconds):
                await self._places.acquire()
        except TimeoutError:
            raise ServiceError(
                ErrorCode.SERVICE_UNAVAILABLE,
                f"Too many requests for epochs are being processed. Try again in {BUSY_RETRY_SECONDS} "
                "seconds.",
                retry_after_seconds=BUSY_RETRY_SECONDS,
            ) from None

    def _keep(self, key: str, reply: ReadyReply) -> None:
        now = self.clock.monotonic()
        self._kept.pop(key, None)
        self._kept[key] = _Kept(reply, now + KEPT_SECONDS)
        size = sum(kept.reply.size_bytes for kept in self._kept.values())
        for oldest, kept in list(self._kept.items()):
            if now < kept.until and size <= MAX_KEPT_BYTES:
                break
            size -= kept.reply.size_bytes
            del self._kept[oldest]
