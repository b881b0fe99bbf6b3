"""Tests how many streams a hotkey may have open, which is counted before the first byte, and which of them
ends."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta

import pytest_asyncio
from starlette.requests import Request
from starlette.types import Message

from access.requests import Proof
from http_bridge.event_stream import MAX_OF_ONE, MAX_STREAM_LIFE, Listeners
from http_bridge.request_log import METHOD_SENT
from tests.support.fakes import MINER_HOTKEY, START_AT, VALIDATOR_HOTKEY, FakeClock, registry
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey


class SilentFeed:
    closed = False
    newest = 0
    sealed = b""

    async def after(self, since: int | None) -> AsyncIterator[object]:
        for nothing in ():
            yield nothing

    async def next_news(self, seconds: float) -> None:
        await asyncio.Event().wait()


class Door:
    """Clients that disconnect when the test says so. `now` is the time of the bridge's clock."""

    def __init__(self) -> None:
        self.listeners = Listeners(SilentFeed(), registry(), FakeClock(START_AT))  # type: ignore[arg-type]
        self.began: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.tasks: list[asyncio.Task[None]] = []

    def open(self, text: str, seconds: float = 0, hotkey: Hotkey = MINER_HOTKEY) -> asyncio.Task[None]:
        """Open a stream with a signed text. It was signed this many seconds after START_AT."""
        task = asyncio.create_task(self._listen(hotkey, text, START_AT + timedelta(seconds=seconds)))
        self.tasks.append(task)
        return task

    async def _listen(self, hotkey: Hotkey, text: str, signed_at: datetime) -> None:
        async def send(message: Message) -> None:
            self.began[text] += message["type"] == "http.response.start"
            self.ended[text] += message["type"] == "http.response.body" and not message.get("more_body")

        scope = {"type": "http", "method": "GET", "headers": [], METHOD_SENT: "GET"}
        request = Request(scope, self.receive)
        response = self.listeners.respond(request, hotkey, Proof(text, signed_at, ""))
        await asyncio.sleep(0)  # other tasks have come as far as this one
        await response(scope, self.receive, send)

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    def refused(self) -> list[ErrorCode]:
        failed = [task.exception() for task in self.tasks if task.done()]
        return [error.code for error in failed if isinstance(error, ServiceError)]


async def settled() -> None:
    """Let all tasks run until each of them waits."""
    for _ in range(30):
        await asyncio.sleep(0)


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    yield door
    for task in door.tasks:
        task.cancel()
        with suppress(asyncio.CancelledError, ServiceError):
            await task
    assert door.listeners.count() == 0


async def test_of_many_streams_opened_at_once_no_more_than_allowed_begin(door: Door) -> None:
    for number in range(10):
        door.open(f"text {number}")
    door.open("another's", hotkey=VALIDATOR_HOTKEY)
    await settled()
    assert door.began.total() == door.listeners.count() == MAX_OF_ONE + 1
    assert door.refused() == [ErrorCode.RATE_LIMITED] * 7


async def test_a_signed_text_opens_one_stream_at_a_time(door: Door) -> None:
    first = door.open("overheard")
    await settled()
    for _ in range(MAX_OF_ONE):
        door.open("overheard")
    await settled()
    assert door.refused() == [ErrorCode.RATE_LIMITED] * MAX_OF_ONE
    assert (door.began["overheard"], first.done()) == (1, False)
    first.cancel()
    await settled()
    again = door.open("overheard")
    await settled()
    assert (door.began["overheard"], again.done()) == (2, False)


async def test_the_owner_of_a_hotkey_gets_a_stream_whatever_was_overheard(door: Door) -> None:
    """An observer has all places. The stream that was signed first makes room, and cannot come back."""
    taken = [door.open(f"overheard {number}", number) for number in range(MAX_OF_ONE)]
    await settled()
    owner = door.open("fresh", MAX_OF_ONE)
    await settled()
    assert [task.done() for task in taken] == [True, False, False]
    assert taken[0].exception() is None
    assert (door.ended["overheard 0"], door.began["fresh"]) == (1, 1)
    for seconds in (0, 0.5, 1):
        door.open("overheard 0", seconds)
    await settled()
    assert door.refused() == [ErrorCode.RATE_LIMITED] * 3
    assert not owner.done()
    assert door.listeners.count() == MAX_OF_ONE


async def test_streams_of_other_hotkeys_make_no_room(door: Door) -> None:
    other = door.open("another's", hotkey=VALIDATOR_HOTKEY)
    await settled()
    for number in range(10):
        door.open(f"text {number}", number)
        await settled()
    assert not other.done()
    assert door.refused() == []
    assert door.listeners.count() == MAX_OF_ONE + 1


async def test_a_client_that_reads_nothing_loses_its_place_too(door: Door) -> None:
    """The stream of this client waits in `send`, so it would not notice the end by itself."""
    stuck = asyncio.Event()

    async def send(message: Message) -> None:
        if message.get("body"):
            await stuck.wait()

    scope = {"type": "http", "method": "GET", "headers": [], METHOD_SENT: "GET"}
    request = Request(scope, door.receive)
    response = door.listeners.respond(request, MINER_HOTKEY, Proof("stuck", START_AT, ""))
    task = asyncio.create_task(response(scope, door.receive, send))
    door.tasks.append(task)
    await settled()
    for number in range(1, MAX_OF_ONE + 1):
        door.open(f"later {number}", number)
    await settled()
    assert task.done()
    assert not door.refused()
    assert door.listeners.count() == MAX_OF_ONE


async def test_a_stream_ends_a_day_after_it_was_signed(door: Door) -> None:
    old = door.open("a day old", -MAX_STREAM_LIFE.total_seconds())
    young = door.open("younger", 1 - MAX_STREAM_LIFE.total_seconds() / 2)
    await asyncio.wait_for(old, 5)
    assert (door.ended["a day old"], young.done()) == (1, False)
