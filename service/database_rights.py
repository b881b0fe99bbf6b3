"""A process runs only with a database login of few rights, whose settings are fixed.

A process that only reads epochs refuses, in production, a login that could read them before they start,
rather than trust itself alone not to.
"""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from service import logs
from service.database_reads import PATIENCE_SECONDS, RECORD_ERRORS
from storage.database.rights import SESSION_SETTINGS, may_read_pending, old_pooler, wrong_setting

log = logs.logger()


async def unfit(database: AsyncEngine, *, reader_of: str | None) -> str | None:
    """Why the process must not start, naming the setting and what to do; None if it may. `reader_of`: the
    role whose rights the login may have, of a process that only reads epochs. A database that is away is let
    pass, and the log says so: reads go on without it."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), database.connect() as connection:
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
            f"DATABASE_URL: its login may read epochs before they start; use a member of {reader_of} instead"
        )
    return None
