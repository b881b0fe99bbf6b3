"""Checks that the migrations lead exactly to `storage.database.tables`:
`python -m devstack.check_migrations`.

It starts a PostgreSQL, upgrades an empty database, compares it with the models, downgrades it to nothing, and
upgrades it again. It prints each difference and then exits with status 1.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from devstack.ports import chosen_ports
from devstack.postgres import create_database, database_url, postgres_part
from devstack.servers import ignore
from devstack.state import State
from devstack.supervisor import Supervisor
from storage.database.engine import open_engine
from storage.database.migrate import migrate
from storage.database.tables import SCHEMA, Base

Result = TypeVar("Result")


def _is_declared(name: str | None, kind: str, parents: object) -> bool:
    """Return whether the models declare an object. They do not declare partitions, which are made day by day,
    and the lock of the migrations."""
    if kind == "schema":
        return name == SCHEMA
    undeclared = ("credential_issuances_", "migration_lock")
    return not (kind == "table" and name is not None and name.startswith(undeclared))


def differences(connection: Connection) -> list[object]:
    """Return the changes that alembic would make to the database."""
    # If the schema were in the search path, alembic would compare its tables as tables without a schema.
    connection.execute(text("set search_path = pg_catalog"))
    connection.dialect.default_schema_name = "pg_catalog"
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": _is_declared,
        "include_schemas": True,
        "version_table_schema": SCHEMA,
    }
    found: list[object] = compare_metadata(
        MigrationContext.configure(connection, opts=options), Base.metadata
    )
    return found


def leftovers(connection: Connection) -> list[str]:
    """Return the tables that remain after a downgrade to nothing."""
    return sorted(set(inspect(connection).get_table_names(SCHEMA)) - {"alembic_version", "migration_lock"})


async def asked(url: str, question: Callable[[Connection], Result]) -> Result:
    engine = open_engine(url, application_name="check-migrations", pool_size=1)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(question)
    finally:
        await engine.dispose()


async def check(url: str) -> list[str]:
    """Upgrade, compare, downgrade and upgrade again, and return all errors."""
    await asyncio.to_thread(migrate, url)
    complaints = [
        f"the models differ from the migrations: {change}" for change in await asked(url, differences)
    ]
    await asyncio.to_thread(migrate, url, "base", down=True)
    complaints += [f"a downgrade leaves table {name}" for name in await asked(url, leftovers)]
    await asyncio.to_thread(migrate, url)
    return complaints


async def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        state = State(Path(folder) / "state")
        state.create()
        with chosen_ports(state.ports) as ports:
            supervisor = Supervisor(ignore)
            try:
                await supervisor.start(postgres_part(state, ports))
                await create_database(database_url(state, ports, "postgres"), "checked")
                complaints = await check(database_url(state, ports, "checked"))
            finally:
                await supervisor.stop()
    sys.stdout.writelines(f"{complaint}\n" for complaint in complaints or ["migrations match the models"])
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
