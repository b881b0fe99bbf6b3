"""Checks that a database login has the rights and the search path that its process needs, and no others."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import SCHEMA, SEARCH_PATH


async def may_read_pending(connection: AsyncConnection) -> bool:
    """Whether this login could learn an epoch before its start: only the scheduler's may."""
    query = select(func.has_table_privilege(f"{SCHEMA}.pending_epochs", "select"))
    return bool((await connection.execute(query)).scalar())


async def misled_search_path(connection: AsyncConnection) -> str | None:
    """Say what to do about the search path of this login; None if it is as it must be. With another one,
    objects that somebody made in another schema could stand in for ours, or for operators and functions of
    PostgreSQL."""
    query = select(func.current_setting("search_path"), func.current_user(), func.current_database())
    path, login, database = (await connection.execute(query)).one()
    if path == SEARCH_PATH:
        return None
    return (
        f"the search path of its login is {path}; run deploy/logins.sql, or "
        f'ALTER ROLE "{login}" IN DATABASE "{database}" SET search_path = {SEARCH_PATH}, and connect again'
    )
