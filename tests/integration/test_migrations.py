"""Migrations over real data: up, down and up again lose nothing, and a held table stops them, not us."""

import asyncio

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy.exc import OperationalError

from storage.migrate import migrate
from tests.integration.scheduling import database_with_sample, preparer, upcoming

FIRST, NEWEST = "0001", "0020"
# Of `zipcode_imports`, since 0005.
LATER_COLUMN = "trimmed_at"
# What the first schema held, in full.
TABLES = (
    "zipcodes",
    "zipcode_imports",
    "zipcode_revisions",
    "epoch_assignments",
    "epoch_messages",
    "epoch_inputs",
)


@pytest_asyncio.fixture(loop_scope="session")
async def old_database(database_url: str) -> str:
    """A database of the first schema, with zipcodes and an epoch, as a running subnet has them."""
    engine = await database_with_sample(database_url)
    await preparer(engine).prepare(upcoming(1)[0])
    await engine.dispose()
    await asyncio.to_thread(migrate, database_url, FIRST, down=True)
    return database_url


async def contents(url: str) -> dict[str, object]:
    """A digest of every row of the first schema's tables."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        found: dict[str, object] = {}
        for table in TABLES:
            row = f"(to_jsonb(t) - '{LATER_COLUMN}')::text"
            query = f"select count(*), md5(string_agg({row}, '|' order by {row})) from {table} t"
            found[table] = await (await connection.execute(query)).fetchone()
        epochs = "select epoch_id, seed, nonce, status, message_sha256 from epochs order by epoch_id"
        found["epochs"] = await (await connection.execute(epochs)).fetchall()
        return found


async def revision(url: str) -> str:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute("select version_num from alembic_version")).fetchone()
    assert row is not None
    return row[0]


async def test_up_down_and_up_again_keep_every_row(old_database: str):
    before = await contents(old_database)
    assert len(before["epochs"]) == 1
    for target, down in ((NEWEST, False), (FIRST, True), (NEWEST, False)):
        await asyncio.to_thread(migrate, old_database, target, down=down)
        assert await revision(old_database) == target
        assert await contents(old_database) == before


@pytest.mark.long
async def test_a_table_that_is_held_stops_the_migration_which_changes_nothing(old_database: str):
    async with await psycopg.AsyncConnection.connect(old_database) as holder:
        await holder.execute("lock table epochs in access share mode")
        with pytest.raises(OperationalError, match="lock timeout"):
            await asyncio.to_thread(migrate, old_database)
        await holder.rollback()
    # Each migration is a transaction of its own: those before the one that was stopped are in.
    assert await revision(old_database) in {FIRST, "0002"}
    await asyncio.to_thread(migrate, old_database)
    assert await revision(old_database) == NEWEST


async def test_two_migrations_at_once_are_one(old_database: str):
    await asyncio.gather(*(asyncio.to_thread(migrate, old_database) for _ in range(2)))
    assert await revision(old_database) == NEWEST
