"""Migrations over real data: up, down and up again, and a held table stops them, not us."""

import asyncio

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy.exc import DBAPIError

from storage.migrate import ForeignSchemaError, migrate
from tests.integration.scheduling import database_with_sample, open_all, preparer, upcoming

# The tables alone; then functions and rights.
FIRST, NEWEST = "0001", "0002"
TABLES = (
    "zipcodes",
    "zipcode_imports",
    "zipcode_revisions",
    "epochs",
    "epoch_assignments",
    "epoch_messages",
    "epoch_inputs",
    "epoch_honeypots",
    "pending_epochs",
)


@pytest_asyncio.fixture(loop_scope="session")
async def old_database(database_url: str) -> str:
    """A database of the first migration, with zipcodes, an epoch, and one that is pending."""
    engine = await database_with_sample(database_url)
    first, second = upcoming(2)
    await preparer(engine).prepare(first)
    await open_all(engine)
    await preparer(engine).prepare(second)
    await engine.dispose()
    await asyncio.to_thread(migrate, database_url, FIRST, down=True)
    return database_url


async def contents(url: str) -> dict[str, object]:
    """How many rows each table has, with a digest of them."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        found: dict[str, object] = {}
        for table in TABLES:
            row = "to_jsonb(t)::text"
            query = f"select count(*), md5(string_agg({row}, '|' order by {row})) from {table} t"
            found[table] = await (await connection.execute(query)).fetchone()
        return found


async def revision(url: str) -> str:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute("select version_num from alembic_version")).fetchone()
    assert row is not None
    return row[0]


async def test_up_down_and_up_again_keep_every_row(old_database: str):
    before = await contents(old_database)
    assert [before[table][0] for table in ("epochs", "pending_epochs", "epoch_inputs")] == [1, 1, 3]
    for target, down in ((NEWEST, False), (FIRST, True), (NEWEST, False)):
        await asyncio.to_thread(migrate, old_database, target, down=down)
        assert await revision(old_database) == target
        assert await contents(old_database) == before


@pytest.mark.long
async def test_a_table_that_is_held_stops_the_migration_which_changes_nothing(old_database: str):
    async with await psycopg.AsyncConnection.connect(old_database) as holder:
        await holder.execute("lock table pending_epochs in access share mode")
        with pytest.raises(DBAPIError, match="lock timeout"):
            await asyncio.to_thread(migrate, old_database)
        await holder.rollback()
    assert await revision(old_database) == FIRST
    await asyncio.to_thread(migrate, old_database)
    assert await revision(old_database) == NEWEST


async def test_two_migrations_at_once_are_one(old_database: str):
    await asyncio.gather(*(asyncio.to_thread(migrate, old_database) for _ in range(2)))
    assert await revision(old_database) == NEWEST


async def test_two_first_migrations_at_once_are_one(servers):
    url = await servers.empty_database()
    await asyncio.gather(*(asyncio.to_thread(migrate, url) for _ in range(2)))
    assert await revision(url) == NEWEST
    await servers.drop_database(url)


async def test_a_schema_that_another_login_has_made_is_not_used(servers):
    url = await servers.empty_database()
    async with await psycopg.AsyncConnection.connect(url) as owner:
        await owner.execute("create schema zipcast authorization local_http_bridge")
    with pytest.raises(ForeignSchemaError, match="belongs to another login"):
        await asyncio.to_thread(migrate, url)
    await servers.drop_database(url)
