"""The client of the SDK: it receives epochs as they start, and sends the requests of a miner or validator.

    async with ZipcastClient(servers, wallet.hotkey, trust) as client:
        async for received in client.epochs():
            grant = await client.miner_upload()

This module decides when to request the running epoch, so that none is missed, and when the client ends.
`requests` has the requests, `signed_requests` signs them and reads errors, `reconnection` reconnects, and
`received_epochs` decides which epochs to accept.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Self

import nats.errors
from nats.aio.client import Callback, Client
from nats.aio.msg import Msg

from zipcast.client.connection import Server, close, connect
from zipcast.client.received_epochs import Arrivals, ReceivedEpoch, Via
from zipcast.client.reconnection import ConnectionKeeper
from zipcast.client.requests import Requests
from zipcast.client.signed_requests import ConnectionLostError, Requester
from zipcast.clock import Clock, SystemClock
from zipcast.protocol import subjects
from zipcast.protocol.envelope import EnvelopeError, Trust, UnverifiedEnvelope, VerifiedEpoch
from zipcast.protocol.errors import ServiceError
from zipcast.protocol.hotkeys import Hotkey, Signer
from zipcast.protocol.messages.base import HEADER_STORED_AT
from zipcast.protocol.verbs import Verb

FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 5.0
PUSH_GRACE_SECONDS = 5.0
"""How long after an epoch's end the client waits until the next epoch is pushed. After that, it requests the
epoch."""
SUBSCRIBE_TIMEOUT_SECONDS = 5

__all__ = ["ReceivedEpoch", "ZipcastClient"]


class ZipcastClient(Requests):
    """The connection of one hotkey. `trust` names the accepted signers, network and netuid."""

    def __init__(
        self, servers: Sequence[str], signer: Signer, trust: Trust, *, clock: Clock | None = None
    ) -> None:
        """Prepare a client. Raises ValueError for a malformed server address, and MalformedHotkeyError."""
        self._signer = signer
        self._trust = trust
        self._clock = clock or SystemClock()
        self._arrivals = Arrivals(trust)
        self._requester = Requester(signer, trust.signers, self._clock, self._connected)
        parsed = [Server.parse(url) for url in servers]
        self._keeper = ConnectionKeeper(parsed, self._dial, self._on_lost, self._clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._unusable: BaseException | None = nats.errors.ConnectionClosedError()
        self._news = asyncio.Event()
        self._informed_on = 0
        """The number of the connection on which an epoch was last received."""
        self.connections = 0
        """The number of connections made so far: 1 if none was lost."""
        self.refused_messages = 0
        """The number of epoch messages that failed verification and were ignored, except replies to
        `current`."""
        self.unanswered_questions = 0
        """The number of times that the client itself requested the running epoch and did not get it."""

    async def __aenter__(self) -> Self:
        """Connect and subscribe, but do not wait for the running epoch. Raises nats.errors.Error and
        OSError."""
        await self._keeper.open()
        self._unusable = None
        self._start(self._keeper.run(), "zipcast-connection")
        self._start(self._stay_informed(), "zipcast-running-epoch")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_with(nats.errors.ConnectionClosedError())
        for task in self._tasks:
            await _end(task)
        self._tasks.clear()
        await self._keeper.close()

    async def epochs(self) -> AsyncIterator[ReceivedEpoch]:
        """Yield the running epoch, then every later one as it starts, each once and in order. An epoch that
        was published only after its end, because of an outage, is skipped.

        Raises the error that ended the client: nats.errors.ConnectionClosedError if it was closed."""
        while True:
            while (received := self._arrivals.take()) is not None:
                yield received
            if self._unusable is not None:
                raise self._unusable
            self._arrivals.more.clear()
            await self._arrivals.more.wait()

    async def current(self) -> VerifiedEpoch:
        """Return the running epoch. Raises ServiceError, EnvelopeError and nats.errors.Error."""
        return self._accept(await self._requester.ask(Verb.EPOCH_CURRENT, b"{}"), "request")

    @property
    def is_informed(self) -> bool:
        """Return whether the running epoch is known. If it is, the client has nothing to request."""
        return self._informed_for_seconds() > 0

    async def _dial(self, server: Server, on_close: Callback) -> Client:
        """Connect, subscribe to epochs and return the connection. If subscribing fails, close the
        connection."""
        connection = await connect(
            server,
            self._signer,
            network=self._trust.network,
            netuid=self._trust.netuid,
            on_error=self._requester.on_error,
            on_close=on_close,
        )
        try:
            await connection.subscribe(subjects.EPOCH, cb=self._on_epoch)
            await connection.flush(timeout=SUBSCRIBE_TIMEOUT_SECONDS)
        except BaseException:
            await close(connection)
            raise
        self.connections += 1
        self._news.set()
        return connection

    def _on_lost(self) -> None:
        self._requester.interrupt(ConnectionLostError())

    async def _connected(self) -> Client:
        if self._unusable is not None:
            raise self._unusable
        return await self._keeper.connected()

    async def _on_epoch(self, message: Msg) -> None:
        try:
            self._accept(message, "push")
        except EnvelopeError:
            self.refused_messages += 1
        else:
            self._news.set()

    def _accept(self, message: Msg, via: Via) -> VerifiedEpoch:
        """Verify a message and keep its epoch. Raises EnvelopeError."""
        envelope = UnverifiedEnvelope.from_headers(message.headers, message.data)
        epoch = self._arrivals.accept(
            envelope,
            via,
            now=self._requester.now(),
            received_at=self._clock.now(),
            published_at=_published_at(message),
        )
        self._requester.prefer(Hotkey(epoch.envelope.signer))
        self._informed_on = self.connections
        return epoch

    async def _stay_informed(self) -> None:
        """Request the running epoch whenever it is not known: after reconnecting, since an epoch may have
        started in between, and when the known epoch has ended and no other was pushed."""
        pause, asked_on = FIRST_PAUSE_SECONDS, 0
        while True:
            self._news.clear()
            if self._informed_for_seconds() <= 0:
                if asked_on != self.connections:
                    pause, asked_on = FIRST_PAUSE_SECONDS, self.connections
                await self._ask_for_running()
            seconds = self._informed_for_seconds()
            if seconds > 0:
                pause = FIRST_PAUSE_SECONDS
            else:
                seconds, pause = pause, min(pause * 2, MAX_PAUSE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()

    def _informed_for_seconds(self) -> float:
        """Return the number of seconds for which no request is needed, which end shortly after the newest
        epoch."""
        newest = self._arrivals.newest
        if newest is None or self._informed_on != self.connections:
            return 0
        return (newest.message.epoch_end - self._requester.now()).total_seconds() + PUSH_GRACE_SECONDS

    async def _ask_for_running(self) -> None:
        """Request the running epoch once. Errors are logged, not raised, because the next attempt may
        succeed."""
        try:
            await self.current()
        except EnvelopeError:
            self.refused_messages += 1
            self.unanswered_questions += 1
        except (ServiceError, nats.errors.Error, OSError):
            self.unanswered_questions += 1

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._on_end)
        self._tasks.append(task)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """End the client when one of its tasks ends, because without that task the client would miss epochs
        silently."""
        if not task.cancelled() and (failure := task.exception()) is not None and self._unusable is None:
            self._end_with(failure)

    def _end_with(self, failure: BaseException) -> None:
        """End the client: from now on, `epochs` and every request raise `failure`."""
        self._unusable = failure
        self._requester.interrupt(failure)
        self._arrivals.more.set()


def _published_at(message: Msg) -> datetime | None:
    """Return when nats-server stored the pushed message, by nats-server's clock, because the local clock may
    be wrong."""
    try:
        stated = datetime.fromisoformat((message.headers or {})[HEADER_STORED_AT])
    except (KeyError, ValueError):
        return None
    return stated if stated.tzinfo is not None else None


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel the task until it has ended, since `asyncio.wait_for` of Python 3.11 may swallow a
    cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1)
