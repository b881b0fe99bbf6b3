"""An advisory lock of PostgreSQL that lives as long as one session, for picking one of several replicas.

Owns the session: a connection that nothing else uses, opened again after it was lost. Through
a pooler that hands sessions around (PgBouncer in transaction mode) such a lock means nothing.
"""

import asyncio
from hashlib import sha256

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

ANSWER_SECONDS = 3.0
# So that PostgreSQL lets go of the lock within half a minute when the holder's machine vanishes.
_KEEPALIVES = "set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3"


def lock_key(name: str) -> int:
    """A 64-bit key that nothing but that name has."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)


class SessionLock:
    def __init__(self, database: AsyncEngine, name: str) -> None:
        self._database = database
        self._key = lock_key(name)
        self._session: AsyncConnection | None = None
        self._held = False

    async def held(self) -> bool:
        """Whether the lock is this object's now; tries to take it if not.

        Raises SQLAlchemyError or TimeoutError when PostgreSQL does not tell; then it is not held."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                session = self._session or await self._open()
                # A session that answers still has its locks.
                query = "select true" if self._held else "select pg_try_advisory_lock(:key)"
                parameters = {} if self._held else {"key": self._key}
                self._held = bool((await session.execute(text(query), parameters)).scalar())
        except (SQLAlchemyError, TimeoutError):
            await self._drop()
            raise
        return self._held

    async def close(self) -> None:
        """Let go of the lock, if it is held."""
        await self._drop()

    async def _open(self) -> AsyncConnection:
        connection = await self._database.connect()
        # Held before anything else is awaited, so that no failure leaves it behind.
        self._session = connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        for setting in _KEEPALIVES.split(";"):
            await connection.execute(text(setting))
        return connection

    async def _drop(self) -> None:
        """Closes the session itself, not only its place in the pool: the lock goes with it."""
        session, self._session, self._held = self._session, None, False
        if session is not None:
            await session.invalidate()
            await session.close()
