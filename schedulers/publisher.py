"""Publishing what is due: row first, stream second, mark third.

Owns what happens when record and stream disagree. A crash between any two lines is repaired by
running it again: the stream drops what it has, the mark changes a row once.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from runtime import logs
from schedulers.metrics import SchedulerMetrics
from schedulers.stream import EpochStream, Recorded
from storage import epoch_changes, epoch_inputs, epochs
from storage.epochs import StoredEpoch
from zipcast.clock import Clock
from zipcast.envelope import Trust, verify
from zipcast.messages import EpochMessage

log = logs.logger()

# Called in the transaction that adopts the message.
OnAdopted = Callable[[AsyncConnection, EpochMessage], Awaitable[None]]


class Publisher:
    """Publishes prepared epochs. `last_id` is what the stream's newest message is known to be."""

    def __init__(
        self,
        database: AsyncEngine,
        stream: EpochStream,
        trust: Trust,
        clock: Clock,
        metrics: SchedulerMetrics | None = None,
        *,
        on_adopted: OnAdopted,
    ) -> None:
        """`on_adopted` records what a message from the stream does not tell of itself."""
        self._database = database
        self._stream = stream
        self._trust = trust
        self._clock = clock
        self._metrics = metrics or SchedulerMetrics()
        self._on_adopted = on_adopted
        self._last: Recorded | None = None

    async def open(self) -> None:
        """Create the stream if need be and learn its newest message; PostgreSQL adopts it if it
        holds other bytes for that epoch."""
        await self._stream.ensure()
        self._last = await self._stream.last()
        if self._last is not None:
            await self._adopt(self._last)

    async def publish_due(self, now: datetime) -> None:
        """Everything that has started by `now` and is not marked, oldest first."""
        async with self._database.connect() as connection:
            due = await epochs.due_unpublished(connection, now)
        for stored in due:
            await self.publish(stored)

    async def publish(self, stored: StoredEpoch) -> None:
        """Exactly once, however often it is called and by however many replicas.

        The caller has waited for the start. Raises nats.errors.Error and SQLAlchemyError when a
        server is out of reach: call again."""
        stored = await self._in_force(stored)
        last_id = self._last_id()
        recorded = None
        if last_id is None or last_id < stored.epoch_id:
            recorded = await self._stream.publish(stored.envelope, after=last_id)
        if recorded is None:
            recorded = await self._settle(stored)
        if recorded is None:
            await self._give_up(stored)
            return
        await self._mark(stored, recorded)

    async def _in_force(self, stored: StoredEpoch) -> StoredEpoch:
        """As the record has it now: the message may have been made anew before the start, not after it."""
        async with self._database.begin() as connection:
            return await epochs.epoch_in_force(connection, stored.epoch_id) or stored

    def _last_id(self) -> str | None:
        return None if self._last is None else self._last.envelope.epoch_id

    async def _settle(self, stored: StoredEpoch) -> Recorded | None:
        """The stream did not take the message as new: find what it holds of this epoch. None if it has
        gone past the epoch without it; an old epoch is never sent after a newer one."""
        self._last = newest = await self._stream.last()
        if newest is None or newest.envelope.epoch_id < stored.epoch_id:
            # Another epoch than we knew of came before this one: publish as its successor.
            taken = await self._stream.publish(stored.envelope, after=self._last_id())
            return taken or await self._find(stored.epoch_id, await self._stream.last())
        return await self._find(stored.epoch_id, newest)

    async def _find(self, epoch_id: str, newest: Recorded | None) -> Recorded | None:
        """Search back from the stream's newest message."""
        recorded = newest
        while recorded is not None and recorded.envelope.epoch_id > epoch_id:
            recorded = await self._stream.before(recorded.sequence)
        if recorded is None or recorded.envelope.epoch_id != epoch_id:
            return None
        await self._adopt(recorded)
        return recorded

    async def _give_up(self, stored: StoredEpoch) -> None:
        async with self._database.begin() as connection:
            await epoch_changes.give_up(connection, stored.epoch_id)
        self._metrics.missed.inc()
        log.error("epoch_missed", epoch_id=stored.epoch_id, reason="the stream has newer epochs")

    async def _mark(self, stored: StoredEpoch, recorded: Recorded) -> None:
        if self._last is None or self._last.sequence < recorded.sequence:
            self._last = recorded
        async with self._database.begin() as connection:
            marked = await epoch_changes.mark_published(
                connection, stored.epoch_id, recorded.stored_at, recorded.sequence
            )
        late = recorded.stored_at - stored.interval.start_at
        self._metrics.in_stream(stored.interval.start_at)
        if marked:
            self._metrics.marked_published(late)
            log.info(
                "epoch_published",
                epoch_id=stored.epoch_id,
                sequence=recorded.sequence,
                milliseconds_after_start=round(late.total_seconds() * 1000, 1),
            )

    async def _adopt(self, recorded: Recorded) -> None:
        """If the record has other bytes for this epoch, the stream's come into force: subscribers
        have those. Bytes that do not verify are never adopted."""
        envelope = recorded.envelope
        async with self._database.begin() as connection:
            stored = await epochs.prepared_epoch(connection, envelope.epoch_id)
            if stored is None or stored.envelope.payload == envelope.payload:
                return
            message = verify(envelope, self._trust).message
            await epoch_changes.adopt_message(connection, envelope, message, self._clock.now())
            await self._on_adopted(connection, message)
            kept = await epoch_inputs.inputs_are_stored(connection, message.next_inputs_hash)
        log.error("record_differed_from_stream", epoch_id=envelope.epoch_id, next_inputs_kept=kept)
