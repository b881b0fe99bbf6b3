"""A process in production runs only with a database login of few rights.

Row-level security does not bind the owner of the tables. So a process that only reads epochs refuses a login
that could read them before they start, rather than trust itself alone not to.
"""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from runtime import logs
from runtime.asking import PATIENCE_SECONDS, RECORD_ERRORS
from storage.rights import may_read_seeds

log = logs.logger()


async def too_wide(database: AsyncEngine, environment: str, role: str) -> str | None:
    """Why the process must not start, naming the setting; None if it may. A database that is away is let
    pass, and said so: reads go on without it."""
    if environment != "production":
        return None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), database.connect() as connection:
            wide = await may_read_seeds(connection)
    except RECORD_ERRORS as error:
        log.warning("database_rights_unchecked", error=type(error).__name__)
        return None
    if not wide:
        return None
    return f"DATABASE_URL: its login may read epochs before they start; use a member of {role} instead"
