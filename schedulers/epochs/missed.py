"""Stores epochs that were never prepared as `missed`, without zipcodes."""

import json
from collections.abc import Iterator
from itertools import islice, takewhile

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schedulers.epochs.fault_points import FaultPoint
from schedulers.epochs.preparation import Preparer
from service import logs
from storage.database import epoch_changes, epoch_inputs, epochs
from storage.database.epoch_changes import MissedEpoch
from zipcast.protocol.calendar import EpochCalendar, EpochInterval
from zipcast.selection import seeds

log = logs.logger()

# After a gap, at most this many missed epochs are stored, the newest ones; with four-hour epochs, these are
# 83 days. The oldest missed epoch is stored too, because the service committed to its seed, and anyone can
# check that it was revealed.
MAX_MISSED = 500


async def record_missed(database: AsyncEngine, preparer: Preparer, running: EpochInterval) -> int:
    """Store a row with the seed of each epoch in the gap between the newest row and `running`. Return how
    many were stored."""
    async with database.begin() as connection:
        await epoch_changes.lock_preparation(connection)
        missed = await record_missed_before(connection, preparer, running)
        if missed:
            preparer.faults.reached(FaultPoint.BEFORE_MISSED_COMMIT)
    return missed


async def record_missed_before(
    connection: AsyncConnection, preparer: Preparer, interval: EpochInterval
) -> int:
    """Store the missed epochs between `interval` and the row before it, in the caller's transaction and under
    its lock. Return how many were stored."""
    gap = await gap_before(connection, preparer.calendar, interval)
    if not gap:
        return 0
    recorded_at = await epochs.database_now(connection)
    rows = [await _missed(connection, preparer, one) for one in gap]
    await epoch_changes.record_missed(connection, rows, recorded_at)
    for one in reversed(gap):
        log.error("epoch_missed", epoch_id=one.epoch_id)
    return len(gap)


async def gap_before(
    connection: AsyncConnection, calendar: EpochCalendar, interval: EpochInterval
) -> list[EpochInterval]:
    """Return the epochs between `interval` and the row before it, newest first: the newest MAX_MISSED, and
    the oldest."""
    end = await epochs.newest_end(connection, interval.start_at)
    if end is None:
        return []
    earlier = takewhile(lambda one: one.start_at >= end, back_from(calendar, interval))
    gap = list(islice(earlier, MAX_MISSED))
    if len(gap) == MAX_MISSED and (promised := calendar.first_from(end)) != gap[-1]:
        gap.append(promised)
    return gap


def back_from(calendar: EpochCalendar, running: EpochInterval) -> Iterator[EpochInterval]:
    """Yield the epochs before `running`, newest first."""
    while True:
        running = calendar.before(running)
        yield running


async def _missed(connection: AsyncConnection, preparer: Preparer, interval: EpochInterval) -> MissedEpoch:
    """Return a missed epoch, with the secret for its seed if the previous epoch committed to it."""
    committed = await epoch_inputs.committed_inputs(connection, interval.epoch_id)
    secret_id = preparer.secrets.current
    if committed is not None:
        # Read only this field of the inputs, because a newer version of the program may have written the
        # others.
        secret_id = json.loads(committed)["secretId"]
    seed = preparer.seed(interval.epoch_id, secret_id)
    return MissedEpoch(interval, seed, seeds.seed_commitment(seed), secret_id)
