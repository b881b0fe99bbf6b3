"""Publishes what is due: prepared row first, stream second, mark third.

Owns the order in which record and stream are brought together. A crash between any two lines is repaired
by running it again: the stream drops what it has, the mark changes a row once. Publishing waits for no lock
and no answer of PostgreSQL, since `in_force` has read the message shortly before; opening the epoch's rows
for the other processes is `opening`'s, and goes on beside it. Which of record and stream is right where they
disagree, and how the other one is mended, is `adoption`'s and `rebuild`'s.
"""

import asyncio
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.epochs.fault_points import NO_FAULTS, FaultPoint, FaultPoints
from schedulers.epochs.preparation import Preparer
from schedulers.metrics import SchedulerMetrics
from schedulers.stream.adoption import Adoption
from schedulers.stream.epoch_stream import EpochStream, Recorded
from schedulers.stream.rebuild import Rebuild
from service import logs
from storage.database import epoch_changes, epochs
from storage.database.engine import DATABASE_ERRORS
from storage.database.epochs import StoredEpoch
from storage.database.locks import limit_waiting
from storage.database.pending_epochs import open_epoch
from zipcast.protocol.envelope import Trust

log = logs.logger()

# The last query for the message in force may take so long; then the one in memory is published.
LOOK_SECONDS = 0.5
LOCK_WAIT = timedelta(seconds=5)


class Publisher:
    """Publishes prepared epochs. `_last` is what the stream's newest message is known to be."""

    def __init__(
        self,
        preparer: Preparer,
        stream: EpochStream,
        trust: Trust,
        metrics: SchedulerMetrics | None = None,
        faults: FaultPoints = NO_FAULTS,
    ) -> None:
        self._database: AsyncEngine = preparer.database
        self._stream = stream
        self._metrics = metrics or SchedulerMetrics()
        self._faults = faults
        self._rebuild = Rebuild(self._database, stream, faults)
        self._adoption = Adoption(preparer, stream, trust, faults)
        self._last: Recorded | None = None
        self._compared = False
        self._looks: set[asyncio.Task[StoredEpoch | None]] = set()

    async def open(self) -> None:
        """The stream is there and whole, its newest message is known, and the record has what it holds.

        Raises nats.errors.Error and DATABASE_ERRORS when a server is out of reach: call again."""
        rebuilt = await self._rebuild.ensure_whole()
        self._last = await self._stream.last()
        thoroughly = rebuilt or not self._compared
        # Tried once: a comparison that takes too long must not keep epochs waiting for ever.
        self._compared = True
        if self._last is not None:
            await self._adoption.reconcile(self._last, thoroughly=thoroughly)

    async def publish_due(self, now: datetime) -> None:
        """Everything that has started by `now` and is not marked, oldest first."""
        async with self._database.connect() as connection:
            due = await epochs.due_unpublished(connection, now)
        for stored in due:
            await self.publish(stored)

    async def publish(self, stored: StoredEpoch) -> None:
        """Exactly once, however often it is called and by however many replicas.

        The caller has waited for the start. Raises nats.errors.Error and DATABASE_ERRORS when a
        server is out of reach: call again."""
        recorded = None
        if self._last is None or self._last.epoch_id < stored.epoch_id:
            self._faults.reached(FaultPoint.BEFORE_PUBLISH)
            recorded = await self._stream.publish(stored.envelope, after=self._last)
            self._faults.reached(FaultPoint.AFTER_PUBLISH)
        if recorded is None:
            recorded = await self._settle(stored)
        if recorded is None:
            await self._give_up(stored)
            return
        await self._mark(stored, recorded)

    async def in_force(self, stored: StoredEpoch) -> StoredEpoch:
        """Return the epoch as PostgreSQL has it now: an admin may have had the message made anew. It is
        called when the start is so near that this is no longer possible (`REGENERATION_MARGIN`).

        A query that hangs is left alone: to cancel it would mean to wait for the server once more."""
        look = asyncio.create_task(self._look(stored.epoch_id))
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)
        done, _ = await asyncio.wait({look}, timeout=LOOK_SECONDS)
        return (look.result() if done else None) or stored

    async def _look(self, epoch_id: str) -> StoredEpoch | None:
        try:
            async with self._database.begin() as connection:
                await limit_waiting(connection, timedelta(seconds=LOOK_SECONDS))
                # Wait for a command that makes the message anew at this moment.
                await epoch_changes.lock_preparation(connection)
                return await epochs.prepared_epoch(connection, epoch_id)
        except DATABASE_ERRORS as error:
            log.warning("record_unread", epoch_id=epoch_id, error=type(error).__name__)
            return None

    async def _settle(self, stored: StoredEpoch) -> Recorded | None:
        """The stream did not take the message as new: find what it holds of this epoch. None if it has
        gone past the epoch without it; an old epoch is never sent after a newer one."""
        self._last = newest = await self._stream.last()
        if newest is None or newest.epoch_id < stored.epoch_id:
            # Another epoch than we knew of came before this one: publish as its successor.
            taken = await self._stream.publish(stored.envelope, after=newest)
            return taken or await self._find(stored.epoch_id, await self._stream.last())
        return await self._find(stored.epoch_id, newest)

    async def _find(self, epoch_id: str, newest: Recorded | None) -> Recorded | None:
        """Search back from the stream's newest message."""
        recorded, following = newest, None
        while recorded is not None and recorded.epoch_id > epoch_id:
            recorded, following = await self._stream.before(recorded.sequence), recorded
        if recorded is None or recorded.epoch_id != epoch_id:
            return None
        await self._adoption.adopt(recorded, following)
        return recorded

    async def _give_up(self, stored: StoredEpoch) -> None:
        async with self._database.begin() as connection:
            await limit_waiting(connection, LOCK_WAIT)
            await open_epoch(connection, stored.epoch_id)
            await epoch_changes.give_up(connection, stored.epoch_id)
        self._metrics.missed.inc()
        log.error("epoch_missed", epoch_id=stored.epoch_id, reason="the stream has newer epochs")

    async def _mark(self, stored: StoredEpoch, recorded: Recorded) -> None:
        if self._last is None or self._last.sequence < recorded.sequence:
            self._last = recorded
        async with self._database.begin() as connection:
            await limit_waiting(connection, LOCK_WAIT)
            if await open_epoch(connection, stored.epoch_id):
                self._faults.reached(FaultPoint.BEFORE_OPEN_COMMIT)
            marked = await epoch_changes.mark_published(
                connection, stored.epoch_id, recorded.stored_at, recorded.sequence
            )
            self._faults.reached(FaultPoint.BEFORE_MARK_COMMIT)
        self._faults.reached(FaultPoint.AFTER_MARK)
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
