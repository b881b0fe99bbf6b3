"""`python -m devstack.check_migrations`: the migrations must lead exactly to `storage.tables`.

Starts a PostgreSQL of its own, upgrades an empty database, compares it with the models, downgrades
to nothing and upgrades again. Exit status 1 names each difference.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from devstack.ports import chosen_ports
from devstack.postgres import create_database, database_url, postgres_part
from devstack.servers import ignore
from devstack.state import State
from devstack.supervisor import Supervisor
from storage.database import sqlalchemy_url
from storage.migrate import migrate
from storage.tables import SCHEMA, Base


def _is_declared(name: str | None, kind: str, parents: object) -> bool:
    """Partitions are made day by day, and the lock is the migrations' own: neither is declared."""
    if kind == "schema":
        return name == SCHEMA
    undeclared = ("request_claims_", "migration_lock")
    return not (kind == "table" and name is not None and name.startswith(undeclared))


def differences(url: str) -> list[object]:
    """What alembic would still change."""
    # A table of the default schema would be compared as one without a schema.
    engine = create_engine(sqlalchemy_url(url), connect_args={"options": "-c search_path=pg_catalog"})
    try:
        with engine.connect() as connection:
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
    finally:
        engine.dispose()


def leftovers(url: str) -> list[str]:
    """Tables that a downgrade to nothing left behind."""
    engine = create_engine(sqlalchemy_url(url))
    try:
        return sorted(set(inspect(engine).get_table_names(SCHEMA)) - {"alembic_version", "migration_lock"})
    finally:
        engine.dispose()


def check(url: str) -> list[str]:
    """Up, compare, down, up: every complaint."""
    migrate(url)
    complaints = [f"the models differ from the migrations: {change}" for change in differences(url)]
    migrate(url, "base", down=True)
    complaints += [f"a downgrade leaves table {name}" for name in leftovers(url)]
    migrate(url)
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
                complaints = await asyncio.to_thread(check, database_url(state, ports, "checked"))
            finally:
                await supervisor.stop()
    sys.stdout.writelines(f"{complaint}\n" for complaint in complaints or ["migrations match the models"])
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
