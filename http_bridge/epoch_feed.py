"""Provides epochs to the event streams: the newest few from memory, older ones from the database.

It decides which epochs a listener still needs, and wakes listeners when there is a new epoch. An event's id
is the sequence number in the NATS stream. Epochs come from NATS, and once a second from the database, so that
the streams continue if NATS is down. Epochs that do not verify are never sent.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from nats.aio.msg import Msg
from sqlalchemy.ext.asyncio import AsyncEngine

from service import logs
from service.database_reads import record_of
from storage.database import history
from zipcast.clock import Clock
from zipcast.protocol.envelope import EnvelopeError, Trust, UnverifiedEnvelope, verify
from zipcast.protocol.errors import ServiceError
from zipcast.protocol.sealing import SealedEpoch

log = logs.logger()

CHECK_SECONDS = 1.0
HELD = 16
PAGE = 50
MAX_STEP = 10_000
SEQUENCE_HEADER = "Nats-Sequence"


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One epoch as an event. `frame` has the bytes to send."""

    sequence: int
    epoch_id: str
    frame: bytes


@dataclass(slots=True)
class EpochFeed:
    """The newest epochs as events, for all open streams."""

    database: AsyncEngine
    trust: Trust
    clock: Clock
    closed: bool = field(default=False)
    sealed: bytes = field(default=b"")
    """The event of the newest sealed epoch."""
    _held: deque[FeedEvent] = field(default_factory=lambda: deque(maxlen=HELD))
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def newest(self) -> int:
        """Return the sequence number of the newest epoch, or 0 if there is no epoch yet."""
        return self._held[-1].sequence if self._held else 0

    async def receive(self, message: Msg) -> None:
        """Receive a message of the epoch subject."""
        headers = message.headers or {}
        try:
            self._tell(
                int(headers.get(SEQUENCE_HEADER, "")), UnverifiedEnvelope.from_headers(headers, message.data)
            )
        except (EnvelopeError, ValueError) as error:
            log.error("epoch_refused", reason=type(error).__name__)

    def tell_sealed(self, sealed: SealedEpoch) -> None:
        """Pass on a verified sealed epoch."""
        self.sealed = f"event: sealed\ndata: {sealed.proof.model_dump_json(by_alias=True)}\n\n".encode()
        self._wake()

    async def run(self) -> None:
        """Check the database repeatedly until cancelled. While it is unavailable, epochs from NATS are still
        passed on."""
        while True:
            try:
                await self.check()
            except ServiceError as error:
                log.debug("feed_unread", error=type(error.__cause__).__name__)
            await self.clock.sleep(CHECK_SECONDS)

    async def check(self) -> None:
        """Pass on epochs of the database that did not arrive over NATS. Raises
        ServiceError(SERVICE_UNAVAILABLE)."""
        async with record_of(self.database) as connection:
            # At the start, read only the newest epoch; older ones are read when a listener needs them.
            found = await history.streamed_after(connection, self.newest, PAGE, newest_first=not self._held)
        for sequence, envelope in found[-1:] if not self._held else found:
            self._tell(sequence, envelope)

    def close(self) -> None:
        """End every listener's iteration."""
        self.closed = True
        self._wake()

    async def after(self, sequence: int | None) -> AsyncIterator[FeedEvent]:
        """Yield the stored epochs after this sequence number, or, without a number, only the newest.

        Raises ServiceError(SERVICE_UNAVAILABLE) if the database is needed and unavailable."""
        if sequence is None:
            for event in list(self._held)[-1:]:
                yield event
            return
        while sequence < self.newest:
            held = [event for event in self._held if event.sequence > sequence]
            # Sequence numbers have no gaps, so if the next epoch is in memory, all later ones are in memory
            # too.
            found = held if held[0].sequence == sequence + 1 else await self._recorded_after(sequence) or held
            for event in found:
                yield event
                sequence = event.sequence

    async def next_news(self, seconds: float) -> None:
        """Wait for a new epoch, but at most this many seconds."""
        news = self._news
        try:
            async with asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            return

    async def _recorded_after(self, sequence: int) -> list[FeedEvent]:
        async with record_of(self.database) as connection:
            found = await history.streamed_after(connection, sequence, PAGE)
        return [_event(*one) for one in found]

    def _tell(self, sequence: int, envelope: UnverifiedEnvelope) -> None:
        if not self._is_next(sequence, envelope.epoch_id):
            return
        try:
            verify(envelope, self.trust)
        except EnvelopeError as error:
            log.error("epoch_refused", epoch_id=envelope.epoch_id, reason=str(error))
            return
        self._held.append(_event(sequence, envelope))
        self._wake()

    def _is_next(self, sequence: int, epoch_id: str) -> bool:
        """Return whether the epoch can follow the newest one. The sequence number is not signed; a false one
        that is far ahead would make all later epochs look old."""
        if not self._held:
            return sequence > 0
        newest = self._held[-1]
        return newest.sequence < sequence <= newest.sequence + MAX_STEP and epoch_id > newest.epoch_id

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _event(sequence: int, envelope: UnverifiedEnvelope) -> FeedEvent:
    """Return the event of an epoch: one line of JSON with the members of `proof` and the epoch's id."""
    data = json.dumps(
        {
            "epochId": envelope.epoch_id,
            "payload": envelope.payload.decode(),
            "signer": envelope.signer,
            "signature": envelope.signature,
        },
        separators=(",", ":"),
    )
    return FeedEvent(sequence, envelope.epoch_id, f"id: {sequence}\ndata: {data}\n\n".encode())
