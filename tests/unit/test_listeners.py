"""How many streams a hotkey may have open, counted before the first byte of any of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.requests import Request
from starlette.types import Message

from http_bridge.access import METHOD_SENT
from http_bridge.stream import MOST_OF_ONE, Listeners
from tests.unit.fakes import MINER_HOTKEY, VALIDATOR_HOTKEY, FakeClock, registry
from zipcast.errors import ErrorCode, ServiceError
from zipcast.hotkeys import Hotkey


class SilentFeed:
    closed = False
    newest = 0

    async def after(self, since: int | None) -> AsyncIterator[object]:
        for nothing in ():
            yield nothing

    async def next_news(self, seconds: float) -> None:
        await asyncio.Event().wait()


class Door:
    """Clients that hang up when they are told to."""

    def __init__(self) -> None:
        self.listeners = Listeners(SilentFeed(), registry(), FakeClock())  # type: ignore[arg-type]
        self.began = 0

    async def listen(self, hotkey: Hotkey) -> None:
        scope = {"type": "http", "method": "GET", "headers": [], METHOD_SENT: "GET"}
        request = Request(scope, self.receive)
        response = self.listeners.respond(request, hotkey)
        await asyncio.sleep(0)  # others are as far as this one
        await response(scope, self.receive, self.send)

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        self.began += message["type"] == "http.response.start"


async def test_of_many_streams_opened_at_once_no_more_than_allowed_begin() -> None:
    door = Door()
    opened = [asyncio.create_task(door.listen(MINER_HOTKEY)) for _ in range(10)]
    opened.append(asyncio.create_task(door.listen(VALIDATOR_HOTKEY)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert door.began == door.listeners.count() == MOST_OF_ONE + 1
    refused = [task.exception() for task in opened if task.done()]
    assert [error.code for error in refused if isinstance(error, ServiceError)] == [
        ErrorCode.RATE_LIMITED
    ] * 7
    for task in opened:
        task.cancel()
        with suppress(asyncio.CancelledError, ServiceError):
            await task
    assert door.listeners.count() == 0
