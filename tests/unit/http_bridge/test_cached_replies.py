"""Tests that public replies are built once for all clients, a few at a time, and cached briefly."""

import asyncio
import gzip
import threading
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from starlette.requests import Request

from http_bridge import cached_replies
from http_bridge.cached_replies import KEPT_SECONDS, MAX_PUBLIC_READS, ReadyReplies, ReadyReply
from http_bridge.middleware import SMALLEST_COMPRESSED
from tests.support.fakes import FakeClock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import WireModel


class Told(WireModel):
    text: str


class Desk:
    """A database that replies when the test allows it. It notes which threads make replies."""

    def __init__(self, *, open_now: bool = True) -> None:
        self.clock = FakeClock()
        self.replies = ReadyReplies(self.clock, wait_seconds=0)
        self.reads: Counter[str] = Counter()
        self.makers: set[int] = set()
        self.fault: ServiceError | None = None
        self.opened = asyncio.Event()
        if open_now:
            self.opened.set()

    def reading(self, key: str) -> Callable[[], Awaitable[str]]:
        async def read() -> str:
            self.reads[key] += 1
            await self.opened.wait()
            if self.fault is not None:
                raise self.fault
            return key

        return read

    def make(self, found: str) -> Told:
        self.makers.add(threading.get_ident())
        return Told(text=found * SMALLEST_COMPRESSED)

    async def ask(self, key: str) -> ReadyReply:
        return await self.replies.reply(key, self.reading(key), self.make)


def request(accepted: str) -> Request:
    return Request({"type": "http", "headers": [(b"accept-encoding", accepted.encode())]})


async def test_all_who_ask_for_one_reply_at_once_share_it_and_it_is_made_apart_from_the_loop() -> None:
    desk = Desk(open_now=False)
    asking = [asyncio.create_task(desk.ask("a")) for _ in range(100)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    desk.opened.set()
    answers = await asyncio.gather(*asking[1:])
    assert desk.reads == {"a": 1}
    assert len({id(answer) for answer in answers}) == 1
    assert threading.get_ident() not in desk.makers


async def test_a_reply_is_kept_for_a_moment() -> None:
    desk = Desk()
    first = await desk.ask("a")
    assert await desk.ask("a") is first
    await desk.clock.sleep(KEPT_SECONDS)
    assert await desk.ask("a") is not first
    assert desk.reads == {"a": 2}


async def test_beyond_the_places_others_are_told_to_come_back() -> None:
    desk = Desk(open_now=False)
    reading = [asyncio.create_task(desk.ask(str(number))) for number in range(MAX_PUBLIC_READS)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert desk.reads.total() == MAX_PUBLIC_READS
    for _ in range(3):
        with pytest.raises(ServiceError) as refused:
            await desk.ask("one more")
        assert (refused.value.code, refused.value.status) == (ErrorCode.SERVICE_UNAVAILABLE, 503)
        assert refused.value.retry_after_seconds == cached_replies.BUSY_RETRY_SECONDS
    desk.opened.set()
    await asyncio.gather(*reading)
    await desk.ask("one more")
    assert desk.reads["one more"] == 1


async def test_a_failure_is_shared_and_not_kept_and_its_place_is_free_again() -> None:
    desk = Desk()
    desk.fault = ServiceError(ErrorCode.EPOCH_NOT_FOUND, "No epoch of that id has ended.")
    for _ in range(2 * MAX_PUBLIC_READS):
        found = await asyncio.gather(desk.ask("a"), desk.ask("a"), return_exceptions=True)
        assert found == [desk.fault, desk.fault]
    desk.fault = None
    await desk.ask("a")
    assert desk.reads["a"] == 2 * MAX_PUBLIC_READS + 1


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    size = (await desk.ask("0")).size_bytes
    monkeypatch.setattr(cached_replies, "MAX_KEPT_BYTES", 3 * size)
    for number in range(1, 10):
        await desk.ask(str(number))
    for number in (7, 8, 9, 6):
        await desk.ask(str(number))
    assert [desk.reads[str(number)] for number in (9, 8, 7, 6)] == [1, 1, 1, 2]
    await desk.clock.sleep(KEPT_SECONDS)
    await desk.ask("new")
    assert list(desk.replies._kept) == ["new"]


def test_the_client_chooses_the_encoding() -> None:
    reply = ReadyReply.of(b"x" * SMALLEST_COMPRESSED)
    zipped = reply.response(request("br, gzip"), "public, max-age=5")
    assert (zipped.headers["content-encoding"], zipped.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(bytes(zipped.body)) == reply.plain
    for accepted in ("", "identity", "gzip;q=0"):
        plain = reply.response(request(accepted), "public, max-age=5")
        assert plain.body == reply.plain
        assert "content-encoding" not in plain.headers


def test_a_small_reply_is_never_compressed() -> None:
    small = ReadyReply.of(b"{}").response(request("gzip"), "no-store")
    assert (small.body, "content-encoding" in small.headers) == (b"{}", False)
