"""Locks of the scheduler: rows of a table that no other role may lock, for one transaction or on lease.

Nothing here belongs to a session, so that a pooler may stand in front of PostgreSQL.
"""

import asyncio
from datetime import timedelta

from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.database.engine import DATABASE_ERRORS
from storage.database.tables import SchedulerLock

ANSWER_SECONDS = 3.0
# The holder renews it every five seconds; if the holder vanishes, the next replica waits this long.
LEASE = timedelta(seconds=15)

# One statement, committed at once: a holder that is frozen keeps no lock.
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
    """Wait until this transaction alone holds the lock; a migration has made its row."""
    query = select(SchedulerLock.name).where(SchedulerLock.name == name).with_for_update()
    (await connection.execute(query)).one()


async def limit_waiting(connection: AsyncConnection, limit: timedelta) -> None:
    """Limit how long the rest of the transaction waits for any lock; then it fails."""
    await connection.execute(select(func.set_config("lock_timeout", milliseconds(limit), True)))


def milliseconds(limit: timedelta) -> str:
    """Return a limit as `set_config` takes it."""
    return str(limit // timedelta(milliseconds=1))


class Lease:
    """A lease of one replica; `holder` is a name that no other replica has. A holder may not notice that its
    time has passed, so the protected work needs a check of its own: the registry's key-value store compares
    revisions."""

    def __init__(self, database: AsyncEngine, name: str, holder: str) -> None:
        self._database = database
        self._name = name
        self._holder = holder

    async def held(self) -> bool:
        """Take or renew the lease; whether it is this holder's now. Raises DATABASE_ERRORS when
        PostgreSQL does not tell."""
        async with asyncio.timeout(ANSWER_SECONDS), self._database.connect() as session:
            connection = await session.execution_options(isolation_level="AUTOCOMMIT")
            taken = await connection.execute(_TAKE, {"name": self._name, "holder": self._holder})
            return taken.scalar() is not None

    async def close(self) -> None:
        """Give the lease up, if it is this holder's and PostgreSQL can be reached; otherwise it runs out."""
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
