"""Refills a stream that lost its messages from the database, without sending old epochs to subscribers.

A damaged stream is closed, filled and opened. The state of the stream shows which step is next, so any number
of replicas can do this at once, and any of them may die. `adoption` repairs the opposite: a database that
lacks epochs of the stream.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.epochs.fault_points import NO_FAULTS, FaultPoint, FaultPoints
from schedulers.stream.epoch_stream import STREAM_DAYS, EpochStream, StreamState
from service import logs
from storage.database import epoch_publications
from storage.database.epoch_publications import Publication

log = logs.logger()

KEPT = timedelta(days=STREAM_DAYS)
# At most this many epochs are restored. There are 180 epochs of four hours in 30 days.
MAX_PUT_BACK = 200


@dataclass(frozen=True, slots=True)
class Rebuild:
    database: AsyncEngine
    stream: EpochStream
    faults: FaultPoints = NO_FAULTS

    async def ensure_whole(self) -> bool:
        """Make sure that the stream exists, is open, and has the newest epoch that is marked as published.
        Return whether anything had to be repaired. Raises nats.errors.Error and DATABASE_ERRORS."""
        done_something = False
        while not await self._is_whole():
            done_something = True
            state = await self._closed()
            if state is not None and await self._fill(state):
                self.faults.reached(FaultPoint.REBUILD_FILLED)
                await self.stream.open(state)
                self.faults.reached(FaultPoint.REBUILD_OPENED)
        return done_something

    async def _is_whole(self) -> bool:
        # Read the database before the stream: an epoch is marked in the database only after the stream has
        # it.
        async with self.database.connect() as connection:
            newest = await epoch_publications.newest_published(connection, KEPT)
        state = await self.stream.state()
        if state is None or not state.is_open:
            return False
        if newest is None:
            return True
        held = await self.stream.last()
        return held is not None and held.epoch_id >= newest

    async def _closed(self) -> StreamState | None:
        """Close the stream, or find it closed by another replica, and return it. Return None if its state
        changed, so that the caller must check again."""
        state = await self.stream.state()
        if state is None:
            published = await self._published()
            await self.stream.create_closed(_first_sequence(published))
            self.faults.reached(FaultPoint.REBUILD_BEGUN)
            return None
        if state.is_open:
            log.error("stream_behind_database", last_sequence=state.last_sequence)
            await self.stream.close(state)
            self.faults.reached(FaultPoint.REBUILD_BEGUN)
        return await self.stream.state()

    async def _fill(self, state: StreamState) -> bool:
        """Fill and open the stream. Return False if another replica is doing so, so that the caller must
        check again."""
        held = await self.stream.last()
        sequence = state.last_sequence
        lost = [one for one in await self._published() if held is None or one.epoch_id > held.epoch_id]
        for one in lost:
            if not await self.stream.put_back(one.envelope, one.published_at, after_sequence=sequence):
                return False
            self.faults.reached(FaultPoint.REBUILD_APPENDED)
            sequence += 1
        if lost:
            log.error("stream_rebuilt", count=len(lost), last_sequence=sequence)
        return True

    async def _published(self) -> list[Publication]:
        async with self.database.connect() as connection:
            return await epoch_publications.published_within(connection, KEPT, MAX_PUT_BACK)


def _first_sequence(published: list[Publication]) -> int:
    """Return the first sequence number to use, so that the newest epoch gets its former number."""
    return max(1, published[-1].sequence - len(published) + 1) if published else 1
