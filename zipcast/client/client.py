"""Receives epochs over NATS as they start, and sends the requests of a miner or validator.

Programs use `Zipcast` of `async_client`, which is built on this client. This module decides when to request
the running epoch, so that no epoch is missed, and when the client ends. `requests` defines the requests,
`signed_requests` signs them and reads errors, `reconnection` reconnects, `received_epochs` decides which
epochs to accept, and `sealed_epochs` opens sealed epochs whose message does not arrive.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Self

import nats.errors
from nats.aio.client import Callback, Client
from nats.aio.msg import Msg

from zipcast.client.connection import HotkeyRefusedError, Server, close, connect
from zipcast.client.received_epochs import Arrivals, ReceivedEpoch, Via
from zipcast.client.reconnection import Reconnection
from zipcast.client.relays import Relays, relay_addresses
from zipcast.client.requests import Requests
from zipcast.client.sealed_epochs import SealedEpochs
from zipcast.client.service_time import ServiceTime
from zipcast.client.signed_requests import ConnectionLostError, Requester
from zipcast.clock import Clock, SystemClock
from zipcast.errors import NotRegisteredError
from zipcast.protocol import subjects
from zipcast.protocol.beacon import chain_of
from zipcast.protocol.envelope import (
    EnvelopeError,
    EquivocationError,
    Trust,
    UnverifiedEnvelope,
    VerifiedEpoch,
    WrongNetuidError,
    WrongNetworkError,
    WrongSignerError,
)
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey, Signer
from zipcast.protocol.messages.base import HEADER_STORED_AT, EmptyRequest
from zipcast.protocol.messages.epochs import SealedEpochReply
from zipcast.protocol.verbs import Verb

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 5.0
MAX_DISTRUSTED_REPLIES = 3
"""The client ends after this many replies in a row from a signer, network or netuid that is not trusted.
Otherwise, it would wait for ever."""
PUSH_GRACE_SECONDS = 5.0
"""The time in seconds after an epoch's end in which the next epoch should be pushed. After that, the client
requests it."""
SUBSCRIBE_TIMEOUT_SECONDS = 5
PROBE_SECONDS = 15.0
"""The longest pause in seconds between requests to a NATS server that is not responsive, while the running
epoch is known from elsewhere."""
UNRESPONSIVE_FAILURES, MAX_FAILURES, SILENCE_FAILURES = 2, 10, 5
"""After UNRESPONSIVE_FAILURES failed requests for the running epoch, the client also uses other ways than
NATS. After MAX_FAILURES, it leaves the server. A request without any reply counts as SILENCE_FAILURES,
because an honest server replies even if the responder is down."""

__all__ = ["ReceivedEpoch", "ZipcastClient"]


class ZipcastClient(Requests):
    """The connection of one hotkey. `trust` names the accepted signers, network and netuid."""

    def __init__(
        self,
        servers: Sequence[str],
        signer: Signer,
        trust: Trust,
        *,
        relays: Sequence[str] = (),
        clock: Clock | None = None,
        time: ServiceTime | None = None,
    ) -> None:
        """Prepare a client. `relays` are addresses of relays of the beacon, besides drand's public ones.
        Raises ValueError for a malformed address of a server or relay, and MalformedHotkeyError."""
        self._signer = signer
        self._trust = trust
        self._clock = clock or SystemClock()
        self._arrivals = Arrivals(trust)
        self._requester = Requester(signer, trust.signers, self._clock, self._connected, time)
        parsed = [Server.parse(url) for url in servers]
        self._reconnection = Reconnection(parsed, self._dial, self._on_lost, self._clock)
        chain = chain_of(trust.network)
        self._sealed = SealedEpochs(
            trust,
            Relays(relay_addresses(relays, chain), chain),
            self._clock,
            # Use the later of the local time and the service's time, because one of them may be wrong. Being
            # too early does no harm: the epoch can be opened only with the beacon's round.
            lambda: max(self._clock.now(), self._requester.now()),
            self._has_reached,
            # State the opening time as publication time, so that an epoch that is opened only after its end
            # is skipped, as if it were published then.
            lambda envelope: self.offer(envelope, "seal", self._clock.now()),
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._unusable: BaseException | None = nats.errors.ConnectionClosedError()
        self._reconnected = asyncio.Event()
        self._distrusted = 0
        self._informed_on = 0
        """The number of the connection on which an epoch was last received."""
        self._failures = 0
        """The failed requests for the running epoch, since an epoch last arrived over NATS."""
        self.connections = 0
        """The number of connections made so far: 1 if none was lost."""
        self.equivocations = 0
        """The number of messages that differ from another message of the same epoch."""
        self.refused_messages = 0
        """The number of messages that failed verification and were ignored, except replies to `current`."""
        self.unanswered_questions = 0
        """The number of times that the client itself requested the running epoch and did not get it."""

    async def __aenter__(self) -> Self:
        """Connect and subscribe, but do not wait for the running epoch. Raises nats.errors.Error and
        OSError."""
        await self._reconnection.open()
        self.start()
        return self

    def start(self, *, reconnect: bool = True) -> None:
        """Keep connecting in the background. `__aenter__` calls this after it has connected. Call it
        directly, instead of entering the client, if epochs can arrive in another way until NATS is connected.
        Without `reconnect`, the client never connects, and receives only epochs that are passed to `offer`
        and `receive_sealed`."""
        self._unusable = None
        self._start(self._sealed.run(), "zipcast-sealed-epochs")
        if not reconnect:
            return
        self._start(self._reconnection.run(), "zipcast-connection")
        self._start(self._stay_informed(), "zipcast-running-epoch")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_with(nats.errors.ConnectionClosedError())
        for task in self._tasks:
            await _end(task)
        self._tasks.clear()
        await self._reconnection.close()

    async def epochs(self) -> AsyncIterator[ReceivedEpoch]:
        """Yield the running epoch, then every later one as it starts, each once and in order. An epoch that
        was published only after its end, because of an outage, is skipped.

        Raises the error that ended the client: nats.errors.ConnectionClosedError if it was closed,
        NotRegisteredError if the service refuses a hotkey that it accepted before."""
        while True:
            while (received := self._arrivals.take()) is not None:
                yield received
            if self._unusable is not None:
                raise self._unusable
            self._arrivals.more.clear()
            await self._arrivals.more.wait()

    async def current(self) -> VerifiedEpoch:
        """Return the running epoch. Raises ServiceError, EnvelopeError and nats.errors.Error."""
        answer = await self._requester.ask(Verb.EPOCH_CURRENT, b"{}")
        return self.offer(UnverifiedEnvelope.from_headers(answer.headers, answer.data), "request")

    def offer(
        self, envelope: UnverifiedEnvelope, via: Via, published_at: datetime | None = None
    ) -> VerifiedEpoch:
        """Verify an envelope, however it arrived, and keep its epoch. Raises EnvelopeError."""
        epoch = self._arrivals.accept(
            envelope,
            via,
            now=self._requester.now(),
            received_at=self._clock.now(),
            published_at=published_at,
        )
        self._requester.prefer(Hotkey(epoch.envelope.signer))
        self._informed_on = self.connections
        self._distrusted = 0
        return epoch

    def receive_sealed(self, document: bytes) -> None:
        """Keep a sealed epoch, however it arrived. If it does not verify, it is counted and ignored."""
        try:
            self._arrivals.announce(self._sealed.receive(document))
        except EnvelopeError as error:
            self._note_refused(error)

    def _note_refused(self, error: EnvelopeError) -> None:
        self.refused_messages += 1
        if isinstance(error, EquivocationError):
            self.equivocations += 1
            log.error("The service contradicts itself: %s", error)

    def _has_reached(self, epoch_id: str) -> bool:
        newest = self._arrivals.newest
        return newest is not None and newest.message.epoch_id >= epoch_id

    @property
    def newest(self) -> VerifiedEpoch | None:
        """Return the newest epoch that was received, or None."""
        return self._arrivals.newest

    @property
    def is_connected(self) -> bool:
        """Return whether a connection is open."""
        return self._reconnection.is_connected

    @property
    def is_responsive(self) -> bool:
        """Return whether a connection is open and epochs arrive on it. A hostile server could accept the
        connection and send nothing."""
        return self.is_connected and self._failures < UNRESPONSIVE_FAILURES

    def service_time(self) -> datetime:
        """Return the service's time if it is known, otherwise the local time."""
        return self._requester.now()

    @property
    def is_informed(self) -> bool:
        """Return whether the running epoch is known, so that it need not be requested."""
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
            await connection.subscribe(subjects.SEALED, cb=self._on_sealed)
            await connection.flush(timeout=SUBSCRIBE_TIMEOUT_SECONDS)
        except BaseException:
            await close(connection)
            raise
        self.connections += 1
        self._reconnected.set()
        return connection

    def _on_lost(self) -> None:
        self._requester.interrupt(ConnectionLostError())

    async def _connected(self) -> Client:
        if self._unusable is not None:
            raise self._unusable
        return await self._reconnection.connected()

    async def _on_epoch(self, message: Msg) -> None:
        try:
            self.offer(
                UnverifiedEnvelope.from_headers(message.headers, message.data), "push", _published_at(message)
            )
        except EnvelopeError as error:
            self._note_refused(error)
        else:
            self._failures = 0

    async def _on_sealed(self, message: Msg) -> None:
        self.receive_sealed(message.data)

    async def _stay_informed(self) -> None:
        """Request the running epoch whenever it is not known: after reconnecting, since an epoch may have
        started in between, and when the known epoch has ended and no other was pushed."""
        pause, asked_on = FIRST_PAUSE_SECONDS, 0
        while True:
            self._reconnected.clear()
            if self._informed_for_seconds() <= 0 or self._failures >= UNRESPONSIVE_FAILURES:
                is_new = asked_on != self.connections
                if is_new:
                    pause, asked_on = FIRST_PAUSE_SECONDS, self.connections
                await self._ask_for_running()
                if is_new:
                    await self._ask_for_sealed()
            seconds, longest = self._informed_for_seconds(), MAX_PAUSE_SECONDS
            if self._failures >= UNRESPONSIVE_FAILURES and seconds > 0:
                seconds, longest = 0, PROBE_SECONDS
            if seconds > 0:
                pause = FIRST_PAUSE_SECONDS
            else:
                seconds, pause = pause, min(pause * 2, longest)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._reconnected.wait()

    def _informed_for_seconds(self) -> float:
        """Return the number of seconds until the running epoch must be requested, which is shortly after the
        end of the newest epoch. Return 0 or less if it must be requested now."""
        newest = self._arrivals.newest
        if newest is None or self._informed_on != self.connections:
            return 0
        return (newest.message.epoch_end - self._requester.now()).total_seconds() + PUSH_GRACE_SECONDS

    async def _ask_for_running(self) -> None:
        """Request the running epoch once. Errors are logged, not raised, because the next attempt may
        succeed."""
        try:
            await self.current()
        except EnvelopeError as error:
            self._note_refused(error)
            self._note_distrust(error)
            await self._note_failure()
        except ServiceError as error:
            self._note_distrust(error)
            await self._note_failure()
        except nats.errors.TimeoutError:
            await self._note_failure(SILENCE_FAILURES)
        except (nats.errors.Error, OSError):
            await self._note_failure()
        else:
            self._failures = 0

    async def _note_failure(self, weight: int = 1) -> None:
        """Count a request without the running epoch. Leave a server on which too many fail, since another one
        may have the epoch."""
        self.unanswered_questions += 1
        self._failures += weight
        if self._failures >= MAX_FAILURES:
            self._failures = UNRESPONSIVE_FAILURES
            log.warning("The NATS server does not provide the running epoch; connecting again.")
            await self._reconnection.leave()

    async def _ask_for_sealed(self) -> None:
        """Request the sealed epoch once, in case it was sent before this connection was made. If the service
        has none, it sends the next one without a request."""
        try:
            reply = await self._requester.call(Verb.EPOCH_SEALED, EmptyRequest(), SealedEpochReply)
        except (ServiceError, nats.errors.Error, OSError):
            return
        self.receive_sealed(reply.sealed.to_bytes())

    def _note_distrust(self, error: ServiceError | EnvelopeError) -> None:
        """End the client if the service is repeatedly not the one that the settings name."""
        wrong = isinstance(error, WrongSignerError | WrongNetworkError | WrongNetuidError)
        if not wrong and error.code is not ErrorCode.WRONG_RECEIVER:
            self._distrusted = 0
            return
        self._distrusted += 1
        if self._distrusted == MAX_DISTRUSTED_REPLIES:
            self.end_with(error)

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._on_end)
        self._tasks.append(task)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """End the client when one of its tasks ends, because without that task the client would miss epochs
        silently."""
        if not task.cancelled() and (failure := task.exception()) is not None and self._unusable is None:
            refused = isinstance(failure, HotkeyRefusedError) and self.connections > 0
            self.end_with(self._no_longer_registered() if refused else failure)

    def _no_longer_registered(self) -> NotRegisteredError:
        trust = self._trust
        return NotRegisteredError(
            f"The service accepted hotkey {self._signer.ss58_address} before and now refuses it. It is not "
            f"registered on subnet {trust.netuid} of network {trust.network} any longer, or it sent too much "
            "and is blocked for some minutes."
        )

    def end_with(self, failure: BaseException) -> None:
        """End the client: from now on, `epochs` and every request raise `failure`."""
        self._unusable = failure
        self._requester.interrupt(failure)
        self._arrivals.more.set()


def _published_at(message: Msg) -> datetime | None:
    """Return the time at which nats-server stored the pushed message, or None if the message does not state
    it. It is the time of nats-server's clock, because the local clock may be wrong."""
    try:
        stated = datetime.fromisoformat((message.headers or {})[HEADER_STORED_AT])
    except (KeyError, ValueError):
        return None
    return stated if stated.tzinfo is not None else None


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel the task, again every second until it has ended, because `asyncio.wait_for` of Python 3.11 may
    swallow a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1)
