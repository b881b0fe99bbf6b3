"""Checks that a database login has the rights and settings that its process needs, and no others.

Settings are made for the login and not for a session, because through a pooler each transaction may be in
another session.
"""

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.engine import driver_of
from storage.database.tables import SCHEMA, SEARCH_PATH

# The settings that every login must have. With another search path, a foreign schema could replace our
# objects, or PostgreSQL's operators and functions. With another time zone, days would begin at another hour.
OPERATOR_SETTINGS = {"search_path": SEARCH_PATH, "TimeZone": "UTC"}
SESSION_SETTINGS = OPERATOR_SETTINGS | {
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
}


_SERVER_AND_STATEMENTS = """
    select pg_catalog.pg_backend_pid() as pid,
        array(select name from pg_catalog.pg_prepared_statements) as names
"""


async def may_read_pending(connection: AsyncConnection) -> bool:
    """Return whether this login can read epochs before their start. Only the scheduler's login may."""
    query = select(func.has_table_privilege(f"{SCHEMA}.pending_epochs", "select"))
    return bool((await connection.execute(query)).scalar())


async def wrong_setting(connection: AsyncConnection, wanted: Mapping[str, str]) -> str | None:
    """Return how to fix the first wrong setting of this login, or None if all are right."""
    query = select(func.current_user(), func.current_database(), *map(func.current_setting, wanted))
    login, database, *found = (await connection.execute(query)).one()
    for (name, value), actual in zip(wanted.items(), found, strict=True):
        if actual != value:
            return (
                f"{name} of its login is {actual}; run deploy/logins.sql, or ALTER ROLE "
                f'"{login}" IN DATABASE "{database}" SET {assignment(name, value)}, and connect again'
            )
    return None


def assignment(name: str, value: str) -> str:
    """Return a setting in the syntax of ALTER ROLE, where a search path is a list and anything else a
    text."""
    return f"{name} = {value}" if name == "search_path" else f"{name} = '{value}'"


async def old_pooler(connection: AsyncConnection) -> str | None:
    """Return what to do about a pooler that loses prepared statements between transactions, or None if there
    is no pooler or it keeps them.

    A pooler shows its clients another process id than the server's. PgBouncer 1.21 and newer rename prepared
    statements if max_prepared_statements is set (https://www.pgbouncer.org/config.html)."""
    driver = await driver_of(connection)
    row = await (await driver.prepare(_SERVER_AND_STATEMENTS)).fetchrow()
    if row["pid"] == driver.get_server_pid() or any(name.startswith("PGBOUNCER_") for name in row["names"]):
        return None
    return (
        "the pooler in front of the database loses prepared statements: use PgBouncer 1.21 or newer with "
        "max_prepared_statements above 0, or connect without it"
    )
