"""Migrates a database to the current schema in one transaction, under a lock, so that all replicas may
try."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from storage.database.engine import open_engine
from storage.database.tables import SCHEMA, SEARCH_PATH

PROCESS_ROLES = ("zipcast_schedulers", "zipcast_responder", "zipcast_bridge")
# This query returns the login if a role is missing that the login cannot create; otherwise it returns no row.
_LOGIN_WITHOUT_RIGHT = """
select rolname from pg_catalog.pg_roles
where rolname = current_user and not rolcreaterole and not rolsuper
  and exists (
    select from unnest(cast(:roles as text[])) as needed(name)
    where name not in (select rolname from pg_catalog.pg_roles)
  )
"""
MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


class ForeignSchemaError(Exception):
    """The schema belongs to another login, which could change all tables in it."""


class MissingRightError(Exception):
    """The login has no right to create the roles of the processes, and they do not exist yet."""


def alembic_config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def migrate(database_url: str, revision: str = "head", *, down: bool = False) -> None:
    """Upgrade (or downgrade) to `revision`. If a step fails, nothing is changed. If a lock on a table is not
    granted within 5 s, the migration fails rather than block the service; try again when the other
    transaction has ended.

    Raises ForeignSchemaError and MissingRightError."""
    asyncio.run(_migrate(database_url, command.downgrade if down else command.upgrade, revision))


async def _migrate(database_url: str, run: Callable[[Config, str], None], revision: str) -> None:
    engine = open_engine(database_url, application_name="zipcast-migrate", pool_size=1)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_make_schema)
        async with engine.begin() as connection:
            await connection.run_sync(_run, run, revision)
    finally:
        await engine.dispose()


def _run(connection: Connection, run: Callable[[Config, str], None], revision: str) -> None:
    # Objects of other schemas must not be used instead of ours, or instead of PostgreSQL's operators.
    _set(connection, "search_path", SEARCH_PATH)
    connection.execute(text(f"lock table {SCHEMA}.migration_lock in exclusive mode"))
    _set(connection, "lock_timeout", "5s")
    _set(connection, "statement_timeout", "10min")
    run(alembic_config(connection), revision)


def _make_schema(connection: Connection) -> None:
    """Create the schema, and the table that is locked while migrating, on which no other login has any
    right."""
    with connection.begin():
        login = connection.execute(text(_LOGIN_WITHOUT_RIGHT), {"roles": list(PROCESS_ROLES)}).scalar()
    if login is not None:
        raise MissingRightError(
            f"the login {login} has no right to create roles. As a superuser, run: "
            f'alter role "{login}" createrole'
        )
    for attempt in ("first", "second"):
        try:
            with connection.begin():
                connection.execute(text(f"create schema if not exists {SCHEMA}"))
                connection.execute(text(f"create table if not exists {SCHEMA}.migration_lock ()"))
            break
        except DBAPIError:  # another migration has created the schema or the table at the same moment
            if attempt == "second":
                raise
    owned = text(
        "select nspowner = (select oid from pg_catalog.pg_roles where rolname = current_user) "
        "from pg_catalog.pg_namespace where nspname = :name"
    )
    if not connection.execute(owned, {"name": SCHEMA}).scalar():
        raise ForeignSchemaError(
            f"the schema {SCHEMA} belongs to another login: migrate with that login if it is yours, "
            "or drop the schema"
        )


def _set(connection: Connection, name: str, value: str) -> None:
    """Set a parameter for this transaction only."""
    connection.execute(
        text("select pg_catalog.set_config(:name, :value, true)"), {"name": name, "value": value}
    )
