"""Public replies from the database as finished bytes: built by one request at a time, kept for two seconds.

Owns how many public requests may work on the database at once, so that authenticated requests, health and
opt-outs find a connection however many strangers ask. What a reply holds is its builder's.
"""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from http_bridge.current_reply import accepts_gzip
from http_bridge.middleware import SMALLEST_COMPRESSED
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import WireModel

MAX_PUBLIC_READS = 2
"""Requests that are worked on at once, of ten connections to the database; each also builds and compresses in
a thread."""
MAX_WAIT_SECONDS = 1.0
BUSY_RETRY_SECONDS = 2
KEPT_SECONDS = 2.0
"""Shorter than the five seconds that clients may keep a page: an epoch that ends shows soon enough."""
MAX_KEPT_BYTES = 64 * 2**20
_COMPRESSION_LEVEL = 6

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadyReply:
    """A JSON body as it is and compressed, both made once. Small ones are sent as they are."""

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
        """Return the reply in the encoding that the client takes."""
        headers = {"Cache-Control": cache_control}
        body = self.plain
        if self.gzipped is not None and accepts_gzip(request.headers.get("accept-encoding", "")):
            # `front` adds the same header to the plain reply.
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
            body = self.gzipped
        return Response(body, media_type="application/json", headers=headers)


@dataclass(frozen=True, slots=True)
class _Kept:
    reply: ReadyReply
    until: float


@dataclass(slots=True)
class ReadyReplies:
    """The replies of the last seconds, and those that are being built, by key."""

    clock: Clock
    wait_seconds: float = MAX_WAIT_SECONDS
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_PUBLIC_READS))
    _building: dict[str, asyncio.Task[ReadyReply]] = field(default_factory=dict)
    _kept: dict[str, _Kept] = field(default_factory=dict)
    """Oldest first."""

    async def reply(
        self, key: str, read: Callable[[], Awaitable[T]], make: Callable[[T], WireModel]
    ) -> ReadyReply:
        """Return the reply of that key. `read` asks the database, and `make` builds the reply of what it
        returned, in a thread. Requests for the same reply share it, or its error.

        Raises ServiceError(SERVICE_UNAVAILABLE) if too many others are being read, and what `read` raises."""
        kept = self._kept.get(key)
        if kept is not None and self.clock.monotonic() < kept.until:
            return kept.reply
        building = self._building.get(key)
        if building is None:
            building = self._building[key] = asyncio.create_task(self._build(key, read, make))
            # If every client has hung up, asyncio would warn that the error was never seen.
            building.add_done_callback(lambda done: done.cancelled() or done.exception())
        # A client that hangs up does not end what others wait for.
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
                f"Too many epochs are being read. Try again in {BUSY_RETRY_SECONDS} seconds.",
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
