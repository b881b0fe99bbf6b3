"""Reads the last good registry snapshot from PostgreSQL, for processes that find none in NATS KV.

This is separate from `registry.py`, so that the callout, which has no database, does not import SQLAlchemy.
"""

from collections.abc import Awaitable, Callable

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from service import logs
from storage.database.engine import DATABASE_ERRORS
from storage.database.registry import newest_snapshot
from zipcast.protocol.messages.registry import RegistrySnapshot

log = logs.logger()


def recall_from(
    database: AsyncEngine, network: str, netuid: int
) -> Callable[[], Awaitable[RegistrySnapshot | None]]:
    """Return a function that reads the newest copy from the database. If it fails, it logs the reason and
    returns None."""

    async def recall() -> RegistrySnapshot | None:
        try:
            async with database.connect() as connection:
                return await newest_snapshot(connection, network, netuid)
        except (*DATABASE_ERRORS, ValidationError) as error:
            log.warning("registry_copy_unread", error=type(error).__name__)
            return None

    return recall
