"""Tests one listener: heartbeats, new epochs, and the end when its hotkey leaves or the bridge stops."""

import asyncio
from typing import cast

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request

from http_bridge.epoch_feed import EpochFeed
from http_bridge.event_stream import BEGINNING, HEARTBEAT, HEARTBEAT_SECONDS, REGISTRY_SECONDS, Listeners
from tests.contract.documents import epoch_message
from tests.support.fakes import MINER_HOTKEY, SIGNER, SIGNER_HOTKEY, FakeClock, registry, snapshot
from zipcast.protocol import envelope
from zipcast.protocol.envelope import Trust

TRUST = Trust(frozenset({SIGNER_HOTKEY}), "test", 46)


class There:
    """A request whose sender stays connected."""

    async def is_disconnected(self) -> bool:
        return False


THERE = cast(Request, There())


class PatientFeed(EpochFeed):
    """A feed whose waiting only moves the fake clock."""

    async def next_news(self, seconds: float) -> None:
        await self.clock.sleep(seconds)


def make() -> tuple[Listeners, EpochFeed]:
    feed = PatientFeed(cast(AsyncEngine, None), TRUST, FakeClock())
    return Listeners(feed, registry(), feed.clock), feed


def tell(feed: EpochFeed, sequence: int) -> bytes:
    message = epoch_message().model_copy(update={"network": "test"})
    feed._tell(sequence, envelope.seal(message, SIGNER))
    return f"id: {sequence}\n".encode()


async def test_silence_is_broken_by_a_heartbeat() -> None:
    listeners, feed = make()
    stream = listeners._events(MINER_HOTKEY, None, THERE)
    assert await anext(stream) == BEGINNING
    assert await anext(stream) == HEARTBEAT
    assert feed.clock.monotonic() == HEARTBEAT_SECONDS
    mark = tell(feed, 7)
    assert mark in await anext(stream)
    await stream.aclose()
    assert listeners.count() == 0


async def test_nobody_who_has_left_is_told_the_next_epoch() -> None:
    listeners, feed = make()
    stream = listeners._events(MINER_HOTKEY, None, THERE)
    await anext(stream)
    listeners.registry.adopt(snapshot([], block=101))
    tell(feed, 7)
    assert [frame async for frame in stream] == []
    assert feed.clock.monotonic() <= REGISTRY_SECONDS
    assert listeners.count() == 0


async def test_a_bridge_that_stops_ends_every_stream() -> None:
    listeners, feed = make()
    stream = listeners._events(MINER_HOTKEY, None, THERE)
    await anext(stream)
    feed.close()
    assert [frame async for frame in stream] == []


async def test_waiting_ends_with_the_news() -> None:
    feed = EpochFeed(cast(AsyncEngine, None), TRUST, FakeClock())
    waiting = asyncio.create_task(feed.next_news(60))
    await asyncio.sleep(0)
    tell(feed, 1)
    await asyncio.wait_for(waiting, 5)


async def test_what_does_not_verify_or_is_not_newer_is_told_to_nobody() -> None:
    feed = EpochFeed(cast(AsyncEngine, None), TRUST, FakeClock())
    tell(feed, 5)
    tell(feed, 4)
    forged = envelope.seal(epoch_message().model_copy(update={"network": "other"}), SIGNER)
    feed._tell(6, forged)
    assert feed.newest == 5
