"""Checks that a database login has the rights and settings that its process needs, and no others.

Settings belong to the login, not to a session: through a pooler, each transaction may be in another session.
"""

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.engine import driver_of
from storage.database.tables import SCHEMA, SEARCH_PATH

# With another search path, objects in a foreign schema could take the place of ours, or of operators and
# functions of PostgreSQL. With another time zone, days would begin at another hour.
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
    """Return whether this login could learn an epoch before its start: only the scheduler's may."""
    query = select(func.has_table_privilege(f"{SCHEMA}.pending_epochs", "select"))
    return bool((await connection.execute(query)).scalar())


async def wrong_setting(connection: AsyncConnection, wanted: Mapping[str, str]) -> str | None:
    """Say what to do about the first setting of this login that is not as wanted; None if all are."""
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
    """A setting as ALTER ROLE has it: a search path is a list, anything else one text."""
    return f"{name} = {value}" if name == "search_path" else f"{name} = '{value}'"


async def old_pooler(connection: AsyncConnection) -> str | None:
    """Say what to do about a pooler that loses prepared statements between two transactions; None if there is
    none, or one that keeps them.

    A pooler tells its clients a process id of its own. PgBouncer from 1.21 on gives prepared statements names
    of its own, if max_prepared_statements is set (https://www.pgbouncer.org/config.html)."""
    driver = await driver_of(connection)
    row = await (await driver.prepare(_SERVER_AND_STATEMENTS)).fetchrow()
    if row["pid"] == driver.get_server_pid() or any(name.startswith("PGBOUNCER_") for name in row["names"]):
        return None
    return (
        "the pooler in front of the database loses prepared statements: use PgBouncer 1.21 or newer with "
        "max_prepared_statements above 0, or connect without it"
    )
