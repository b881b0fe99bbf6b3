"""Keeps one connection open. It replaces a lost connection, and retries until this succeeds.

This module decides the order of servers and the pauses between attempts. The caller makes connections and
uses them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import nats.errors
from nats.aio.client import Callback, Client

from zipcast.client.connection import CertificateRefusedError, HotkeyRefusedError, Server, close
from zipcast.clock import Clock

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 5.0
REFUSED_TIMEOUT_SECONDS = 60.0
"""The time in seconds for which all servers must refuse the hotkey before the client gives up. A service that
is starting refuses everyone for some seconds."""

Dial = Callable[[Server, Callback], Awaitable[Client]]


@dataclass(frozen=True, slots=True)
class _Link:
    server: Server
    client: Client
    lost: asyncio.Event
    since: float


class Reconnection:
    """Keeps a connection to one of the servers. `dial` makes a connection, and gets a function that the
    connection calls when it is closed. `on_lost` is called when a connection was lost."""

    def __init__(
        self, servers: Sequence[Server], dial: Dial, on_lost: Callable[[], None], clock: Clock
    ) -> None:
        self._servers = list(servers)
        self._dial = dial
        self._on_lost = on_lost
        self._clock = clock
        self._link: _Link | None = None
        self._linked = asyncio.Event()
        self._last_warning = ""
        self._refused_since: float | None = None

    async def connected(self) -> Client:
        """Wait for an open connection and return it. The caller must limit the wait."""
        while self._link is None or self._link.lost.is_set():
            self._linked.clear()
            await self._linked.wait()
        return self._link.client

    @property
    def is_connected(self) -> bool:
        """Return whether a connection is open."""
        return self._link is not None and not self._link.lost.is_set()

    @property
    def connection(self) -> Client:
        """Return the open connection. Raises nats.errors.ConnectionClosedError if there is none."""
        if self._link is None or self._link.lost.is_set():
            raise nats.errors.ConnectionClosedError
        return self._link.client

    async def open(self) -> None:
        """Connect to the first server that accepts the hotkey.

        Raises nats.errors.Error and OSError. If several servers failed, a HotkeyRefusedError or
        CertificateRefusedError takes precedence; otherwise the last error is raised."""
        failures: list[Exception] = [nats.errors.NoServersError()]
        for server in self._servers:
            try:
                self._link = await self._link_to(server)
            except (nats.errors.Error, OSError) as error:
                failures.append(error)
            else:
                self._linked.set()
                self._refused_since, self._last_warning = None, ""
                return
        refused = all(isinstance(one, HotkeyRefusedError) for one in failures[1:])
        self._refused_since = (self._refused_since or self._clock.monotonic()) if refused else None
        telling = [one for one in failures if isinstance(one, HotkeyRefusedError | CertificateRefusedError)]
        raise (telling or failures)[-1]

    async def run(self) -> None:
        """Replace each lost connection.

        Raises HotkeyRefusedError if every server has refused the hotkey for REFUSED_TIMEOUT_SECONDS. Any
        other error is a defect of this program."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            link = self._link
            if link is None:
                # Wait before the first attempt too, in case the server drops each connection at once.
                await self._clock.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
                await self._try_open()
                continue
            await link.lost.wait()
            if self._clock.monotonic() - link.since > MAX_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await self.close()

    async def leave(self) -> None:
        """Close the connection, and try its server last from now on. `run` then connects again."""
        link = self._link
        if link is not None:
            self._servers.sort(key=lambda server: server is link.server)
            await close(link.client)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        link, self._link = self._link, None
        if link is not None:
            await close(link.client)

    async def _try_open(self) -> None:
        """Try every server once. `run` tries again if servers are down or do not know the hotkey yet."""
        try:
            await self.open()
        except (nats.errors.Error, OSError) as error:
            reason = str(error) or type(error).__name__
            if reason != self._last_warning:
                log.warning("Cannot connect to NATS; trying again. Reason: %s", reason)
                self._last_warning = reason
            refused_for = self._clock.monotonic() - (self._refused_since or self._clock.monotonic())
            if refused_for >= REFUSED_TIMEOUT_SECONDS:
                raise

    async def _link_to(self, server: Server) -> _Link:
        lost = asyncio.Event()

        async def on_close() -> None:
            lost.set()
            self._on_lost()

        return _Link(server, await self._dial(server, on_close), lost, self._clock.monotonic())
