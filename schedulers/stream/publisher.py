"""Publishes epochs that are due. The prepared row comes first, then the message in the stream, then the mark
in the row.

A crash between these steps is repaired by repeating them: the stream ignores a message that it has, and the
mark changes a row only once. Publishing waits for no lock and no reply of PostgreSQL. At the same time,
`opening` opens the epoch's rows for the other processes. If database and stream differ, `adoption` and
`rebuild` repair them.
"""

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
from storage.database.epochs import StoredEpoch
from storage.database.locks import limit_waiting
from storage.database.pending_epochs import open_epoch
from zipcast.protocol.envelope import Trust

log = logs.logger()

LOCK_WAIT = timedelta(seconds=5)


class Publisher:
    """Publishes prepared epochs. `_last` is the stream's newest known message."""

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

    async def open(self) -> None:
        """Make sure that the stream exists and is complete, read its newest message, and copy its epochs to
        the database.

        Raises nats.errors.Error and DATABASE_ERRORS if a server is unavailable; then call it again."""
        rebuilt = await self._rebuild.ensure_whole()
        self._last = await self._stream.last()
        thoroughly = rebuilt or not self._compared
        # Compare thoroughly only once, even if that fails, because epochs must not wait for a comparison that
        # takes too long.
        self._compared = True
        if self._last is not None:
            await self._adoption.reconcile(self._last, thoroughly=thoroughly)

    async def publish_due(self, now: datetime) -> None:
        """Publish all epochs that have started by `now` and are not marked as published, oldest first."""
        async with self._database.connect() as connection:
            due = await epochs.due_unpublished(connection, now)
        for stored in due:
            await self.publish(stored)

    async def publish(self, stored: StoredEpoch) -> None:
        """Publish the epoch exactly once, however often and by however many replicas this is called.

        The caller must have waited for the start in `epochs.start_gate`. Raises nats.errors.Error and
        DATABASE_ERRORS if a server is unavailable; then call it again."""
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

    async def _settle(self, stored: StoredEpoch) -> Recorded | None:
        """Find the stream's message of this epoch, after the stream did not accept ours as new. Return None
        if the stream has newer epochs but not this one, because an old epoch is never sent after a newer
        one."""
        newest = await self._stream.last()
        while newest is None or newest.epoch_id < stored.epoch_id:
            # The stream's newest message was not the expected one, so publish after the actual newest one.
            # Meanwhile, another replica may have published an older epoch; then try again.
            recorded = await self._stream.publish(stored.envelope, after=newest)
            if recorded is not None:
                return recorded
            expected, newest = newest, await self._stream.last()
            if newest == expected:
                break  # the stream has lost this epoch's message, but remembers its id
        self._last = newest
        return await self._find(stored.epoch_id, newest)

    async def _find(self, epoch_id: str, newest: Recorded | None) -> Recorded | None:
        """Search for the epoch's message, backwards from the stream's newest message."""
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
