"""Keeping one connection open: a lost one is closed and replaced, for as long as it takes.

Owns the order of servers and the pauses between attempts. What a connection is good for, and how it
is made, is the caller's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import nats.errors
from nats.aio.client import Callback, Client

from zipcast.clock import Clock
from zipcast.connection import Server

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

Dial = Callable[[Server, Callback], Awaitable[Client]]


@dataclass(frozen=True, slots=True)
class _Link:
    client: Client
    lost: asyncio.Event
    since: float


class ConnectionKeeper:
    """`dial` makes a connection that calls back once it is closed; `on_lost` hears of each loss."""

    def __init__(
        self, servers: Sequence[Server], dial: Dial, on_lost: Callable[[], None], clock: Clock
    ) -> None:
        self._servers = servers
        self._dial = dial
        self._on_lost = on_lost
        self._clock = clock
        self._link: _Link | None = None

    @property
    def connection(self) -> Client:
        """Raises nats.errors.ConnectionClosedError while there is none."""
        if self._link is None or self._link.lost.is_set():
            raise nats.errors.ConnectionClosedError
        return self._link.client

    async def open(self) -> None:
        """The first server that lets us in. Raises nats.errors.Error, OSError."""
        failure: Exception = nats.errors.NoServersError()
        for server in self._servers:
            try:
                self._link = await self._link_to(server)
            except (nats.errors.Error, OSError) as error:
                failure = error
            else:
                return
        raise failure

    async def run(self) -> None:
        """Replace each connection that is lost. Ends only by an error nobody expected."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            link = self._link
            if link is None:
                # Also before the first attempt: a server that drops us at once is not hammered.
                await self._clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                await self._try_open()
                continue
            await link.lost.wait()
            if self._clock.monotonic() - link.since > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await self.close()

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.client.close()

    async def _try_open(self) -> None:
        try:
            await self.open()
        except (nats.errors.Error, OSError):
            return  # a server that is away, or does not know us yet: `run` tries again

    async def _link_to(self, server: Server) -> _Link:
        lost = asyncio.Event()

        async def on_close() -> None:
            lost.set()
            self._on_lost()

        return _Link(await self._dial(server, on_close), lost, self._clock.monotonic())
