"""Checks the rights and settings of a process's database login.

In production, a process that only reads epochs refuses a login that could read epochs before they start. Then
an error in the process cannot reveal such epochs.
"""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from service import logs
from service.database_reads import RECORD_ERRORS, TIMEOUT_SECONDS
from storage.database.rights import SESSION_SETTINGS, may_read_pending, old_pooler, wrong_setting

log = logs.logger()


async def unfit(database: AsyncEngine, *, reader_of: str | None) -> str | None:
    """Return why the process must not start, naming the setting and what to do, or None if it may start.
    `reader_of` is set for a process that only reads epochs: the role whose rights its login may have. If the
    database is unavailable, log that and return None, because the process can serve some requests without
    it."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), database.connect() as connection:
            wrong = await old_pooler(connection)
            wide = reader_of is not None and wrong is None and await may_read_pending(connection)
            if not wide:
                wrong = wrong or await wrong_setting(connection, SESSION_SETTINGS)
    except RECORD_ERRORS as error:
        log.warning("database_rights_unchecked", error=type(error).__name__)
        return None
    if wrong is not None:
        return f"DATABASE_URL: {wrong}"
    if wide:
        return (
            f"DATABASE_URL: this login can read epochs before they start; use a member of {reader_of} instead"
        )
    return None
