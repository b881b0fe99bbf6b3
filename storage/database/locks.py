"""Provides locks for the scheduler. A lock is a row of a table that no other role may lock; it is held for
one transaction or as a lease.

No lock belongs to a session, so they work through a pooler.
"""

import asyncio
from datetime import timedelta

from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.database.engine import DATABASE_ERRORS
from storage.database.tables import SchedulerLock

ANSWER_SECONDS = 3.0
# A lease lasts this long. Its holder renews it every five seconds; if the holder disappears, the next replica
# can take it after this time.
LEASE = timedelta(seconds=15)

# Take or renew the lease in a single statement that is committed at once, so that a holder that freezes does
# not keep a row locked.
_TAKE = text(
    """
    insert into zipcast.scheduler_locks as lock (name, holder, until)
    values (:name, :holder, clock_timestamp() + :lease)
    on conflict (name) do update set holder = excluded.holder, until = excluded.until
    where lock.holder = excluded.holder or lock.until is null or lock.until < clock_timestamp()
    returning true
    """
).bindparams(bindparam("lease", LEASE))


async def lock_for_transaction(connection: AsyncConnection, name: str) -> None:
    """Wait until this transaction has the lock. A migration has created its row."""
    query = select(SchedulerLock.name).where(SchedulerLock.name == name).with_for_update()
    (await connection.execute(query)).one()


async def limit_waiting(connection: AsyncConnection, limit: timedelta) -> None:
    """Limit how long the rest of the transaction waits for any lock; then it fails."""
    await connection.execute(select(func.set_config("lock_timeout", milliseconds(limit), True)))


def milliseconds(limit: timedelta) -> str:
    """Return the limit as text in milliseconds, as `set_config` expects it."""
    return str(limit // timedelta(milliseconds=1))


class Lease:
    """A lease of one replica. `holder` must be a unique name. A holder may not notice that its lease has
    expired, so the protected work needs its own check; for the registry, the key-value store compares
    revisions."""

    def __init__(self, database: AsyncEngine, name: str, holder: str) -> None:
        self._database = database
        self._name = name
        self._holder = holder

    async def held(self) -> bool:
        """Take or renew the lease, and return whether this holder has it. Raises DATABASE_ERRORS."""
        async with asyncio.timeout(ANSWER_SECONDS), self._database.connect() as session:
            connection = await session.execution_options(isolation_level="AUTOCOMMIT")
            taken = await connection.execute(_TAKE, {"name": self._name, "holder": self._holder})
            return taken.scalar() is not None

    async def close(self) -> None:
        """Release the lease if this holder has it. If PostgreSQL is unavailable, the lease expires by
        itself."""
        ended = (
            update(SchedulerLock)
            .where(SchedulerLock.name == self._name, SchedulerLock.holder == self._holder)
            .values(until=func.clock_timestamp())
        )
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._database.begin() as connection:
                await connection.execute(ended)
        except DATABASE_ERRORS:
            return
