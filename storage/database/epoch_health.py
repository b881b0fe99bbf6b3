"""Checks in the database whether the scheduler works: which epochs have started, and whether the next is
prepared.

Of an epoch that has not started, it shows only that the epoch exists.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.clock import RECORD_NOW
from storage.database.tables import Epoch
from zipcast.protocol.calendar import MAX_PREPARATION_LEAD, EpochInterval

MAX_GRACE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class EpochsNow:
    """The newest epoch that has started, and whether one after it is prepared."""

    now: datetime
    newest: EpochInterval
    is_published: bool
    next_is_prepared: bool


async def epochs_now(connection: AsyncConnection) -> EpochsNow | None:
    """Return the newest epoch that has started, or None before the first one."""
    columns = (Epoch.start_at, Epoch.end_at, Epoch.published_at)
    newest = select(func.clock_timestamp(), *columns).where(Epoch.start_at <= RECORD_NOW)
    row = (await connection.execute(newest.order_by(Epoch.start_at.desc()).limit(1))).first()
    if row is None:
        return None
    asked_at, start_at, end_at, published_at = row
    # Only schedulers may query pending epochs, but every process may call this SQL function.
    prepared = bool((await connection.execute(select(func.zipcast.next_epoch_is_prepared()))).scalar_one())
    return EpochsNow(asked_at, EpochInterval(start_at, end_at), published_at is not None, prepared)


def fault(epochs: EpochsNow | None) -> str | None:
    """Return which step the scheduler has not done in time, or None. A step may take half of the lead time
    with which epochs are prepared, but at most 10 s."""
    if epochs is None:
        return "no epoch has started yet"
    lead = min(MAX_PREPARATION_LEAD, (epochs.newest.end_at - epochs.newest.start_at) / 2)
    grace = min(MAX_GRACE, lead / 2)
    if epochs.now >= epochs.newest.end_at + grace:
        return "no epoch is running"
    if not epochs.is_published and epochs.now >= epochs.newest.start_at + grace:
        return "the newest epoch is not published"
    if not epochs.next_is_prepared and epochs.now >= epochs.newest.end_at - lead + grace:
        return "the next epoch is not prepared"
    return None
