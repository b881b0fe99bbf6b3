"""Publishing what is due: row first, stream second, mark third.

Owns what happens when record and stream disagree. A crash between any two lines is repaired by
running it again: the stream drops what it has, the mark changes a row once.
"""

from sqlalchemy.ext.asyncio import AsyncEngine

from runtime import logs
from schedulers.stream import EpochStream, Recorded
from storage import epochs
from storage.epochs import StoredEpoch
from zipcast.clock import Clock
from zipcast.envelope import Trust, UnverifiedEnvelope, verify

log = logs.logger()


class Publisher:
    """Publishes prepared epochs. `last_id` is what the stream's newest message is known to be."""

    def __init__(self, database: AsyncEngine, stream: EpochStream, trust: Trust, clock: Clock) -> None:
        self._database = database
        self._stream = stream
        self._trust = trust
        self._clock = clock
        self._last: Recorded | None = None

    async def open(self) -> None:
        """Create the stream if need be and learn its newest message; PostgreSQL adopts it if it
        holds other bytes for that epoch."""
        await self._stream.ensure()
        self._last = await self._stream.last()
        if self._last is not None:
            await self._adopt(self._last)

    async def publish_due(self) -> None:
        """Everything that has started and is not marked, oldest first."""
        async with self._database.connect() as connection:
            due = await epochs.due_unpublished(connection)
        for stored in due:
            await self.publish(stored)

    async def publish(self, stored: StoredEpoch) -> None:
        """Exactly once, however often it is called and by however many replicas.

        The caller has waited for the start. Raises nats.errors.Error and SQLAlchemyError when a
        server is out of reach: call again."""
        recorded = await self._stream.publish(stored.envelope, after=self._last_id())
        if recorded is None:
            recorded = await self._settle(stored)
        self._last = recorded
        await self._mark(stored, recorded)

    def _last_id(self) -> str | None:
        return None if self._last is None else self._last.envelope.epoch_id

    async def _settle(self, stored: StoredEpoch) -> Recorded:
        """The stream did not take the message as new: what does it hold?"""
        self._last = await self._stream.last()
        if self._last is not None and self._last.envelope.epoch_id == stored.epoch_id:
            await self._adopt(self._last)
            return self._last
        recorded = await self._stream.publish(stored.envelope, after=self._last_id())
        if recorded is None:
            recorded = await self._find(stored.epoch_id)
        return recorded

    async def _find(self, epoch_id: str) -> Recorded:
        """The stream acknowledged the id as a duplicate, so it is there, but not last: search back."""
        newest = await self._stream.last()
        for sequence in range(newest.sequence if newest else 0, 0, -1):
            recorded = await self._stream.at(sequence)
            if recorded.envelope.epoch_id == epoch_id:
                await self._adopt(recorded)
                return recorded
        raise LookupError(f"the stream refuses epoch {epoch_id} and does not hold it")

    async def _mark(self, stored: StoredEpoch, recorded: Recorded) -> None:
        async with self._database.begin() as connection:
            marked = await epochs.mark_published(
                connection, stored.epoch_id, recorded.stored_at, recorded.sequence
            )
        late = (recorded.stored_at - stored.interval.start_at).total_seconds()
        if marked:
            log.info(
                "epoch_published",
                epoch_id=stored.epoch_id,
                sequence=recorded.sequence,
                milliseconds_after_start=round(late * 1000, 1),
            )

    async def _adopt(self, recorded: Recorded) -> None:
        """If the record has other bytes for this epoch, the stream's come into force: subscribers
        have those. Bytes that do not verify are never adopted."""
        envelope = recorded.envelope
        async with self._database.begin() as connection:
            stored = await epochs.prepared_epoch(connection, envelope.epoch_id)
            if stored is None or stored.envelope.payload == envelope.payload:
                return
            verified = verify(envelope, self._trust)
            await epochs.adopt_message(connection, envelope, verified.message, self._clock.now())
        _log_adoption(envelope)


def _log_adoption(envelope: UnverifiedEnvelope) -> None:
    log.error("record_differed_from_stream", epoch_id=envelope.epoch_id, adopted="stream")
