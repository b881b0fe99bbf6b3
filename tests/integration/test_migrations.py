"""Tests migrations of a database in use, down and up again, and that a locked table stops only the
migration."""

import asyncio
import re

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy.exc import DBAPIError

from storage.database import migrate as migrations
from storage.database.migrate import ForeignSchemaError, MissingRightError, migrate
from tests.support.scheduling import database_with_sample, open_all, preparer, upcoming

NEWEST = "0001"
# Everything in our schema, with the rights to it.
SHAPE = """
select relkind::text, relname::text, relrowsecurity::text || coalesce(relacl::text, '') from pg_class
where relnamespace = 'zipcast'::regnamespace
union all select 'column', attrelid::regclass || '.' || attname,
    concat(format_type(atttypid, atttypmod), attnotnull, attstorage, attacl)
from pg_attribute join pg_class on pg_class.oid = attrelid and relkind <> 'i'
where relnamespace = 'zipcast'::regnamespace and attnum > 0
union all select 'constraint', conname, pg_get_constraintdef(oid)
from pg_constraint where connamespace = 'zipcast'::regnamespace
union all select 'function', oid::regprocedure::text, concat(prosrc, proconfig, proacl) from pg_proc
where pronamespace = 'zipcast'::regnamespace
union all select 'policy', concat(tablename, '.', policyname), concat(roles, cmd, qual, with_check)
from pg_policies where schemaname = 'zipcast'
union all select 'schema', 'zipcast', nspacl::text from pg_namespace where nspname = 'zipcast'
"""


@pytest_asyncio.fixture(loop_scope="session")
async def used_database(database_url: str) -> str:
    """Return a database with zipcodes, a running epoch and a pending one."""
    engine = await database_with_sample(database_url)
    first, second = upcoming(2)
    await preparer(engine).prepare(first)
    await open_all(engine)
    await preparer(engine).prepare(second)
    await engine.dispose()
    return database_url


async def rows(url: str, query: str) -> set[tuple[str, ...]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return set(await (await connection.execute(query.encode())).fetchall())


async def revisions(url: str) -> set[tuple[str, ...]]:
    return await rows(url, "select version_num from alembic_version")


async def test_a_downgrade_takes_everything_and_an_upgrade_brings_it_back(used_database: str):
    before = await rows(used_database, SHAPE)
    assert len([name for kind, name, _ in before if kind == "function"]) == 13
    await asyncio.to_thread(migrate, used_database, "base", down=True)
    assert await revisions(used_database) == set()
    left = {name for kind, name, _ in await rows(used_database, SHAPE) if kind in ("r", "v", "p", "function")}
    assert left == {"alembic_version", "migration_lock"}
    roles = await rows(used_database, "select nspacl::text from pg_namespace where nspname = 'zipcast'")
    assert not any("zipcast_" in acl for (acl,) in roles if acl)
    await asyncio.to_thread(migrate, used_database)
    assert await revisions(used_database) == {(NEWEST,)}
    assert await rows(used_database, SHAPE) == before


async def test_migrating_again_changes_nothing(used_database: str):
    query = "select to_jsonb(t)::text from epochs t union all select to_jsonb(t)::text from pending_epochs t"
    before = await rows(used_database, query)
    assert len(before) == 2
    await asyncio.to_thread(migrate, used_database)
    assert await rows(used_database, query) == before


@pytest.mark.long
async def test_a_table_that_is_held_stops_the_migration_which_changes_nothing(used_database: str):
    before = await rows(used_database, SHAPE)
    async with await psycopg.AsyncConnection.connect(used_database) as holder:
        await holder.execute("lock table pending_epochs in access share mode")
        with pytest.raises(DBAPIError, match="lock timeout"):
            await asyncio.to_thread(migrate, used_database, "base", down=True)
        await holder.rollback()
    assert await revisions(used_database) == {(NEWEST,)}
    assert await rows(used_database, SHAPE) == before
    await asyncio.to_thread(migrate, used_database, "base", down=True)
    assert await revisions(used_database) == set()


async def test_two_migrations_at_once_are_one(used_database: str):
    await asyncio.to_thread(migrate, used_database, "base", down=True)
    await asyncio.gather(*(asyncio.to_thread(migrate, used_database) for _ in range(2)))
    assert await revisions(used_database) == {(NEWEST,)}


async def test_two_first_migrations_at_once_are_one(servers):
    url = await servers.empty_database()
    await asyncio.gather(*(asyncio.to_thread(migrate, url) for _ in range(2)))
    assert await revisions(url) == {(NEWEST,)}
    await servers.drop_database(url)


async def test_a_schema_that_another_login_has_made_is_not_used(servers):
    url = await servers.empty_database()
    async with await psycopg.AsyncConnection.connect(url) as owner:
        await owner.execute("create schema zipcast authorization local_http_bridge")
    with pytest.raises(ForeignSchemaError, match="belongs to another login"):
        await asyncio.to_thread(migrate, url)
    await servers.drop_database(url)


async def test_an_owner_that_cannot_create_roles_is_named_before_anything_changes(servers, monkeypatch):
    url = await servers.empty_database()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        database = admin.info.dbname
        await admin.execute("create role limited_owner login password 'limited'")
        await admin.execute(f"alter database {database} owner to limited_owner")
        limited = re.sub(r"//[^@]*@", "//limited_owner:limited@", url)
        monkeypatch.setattr(migrations, "PROCESS_ROLES", ("zipcast_not_yet_created",))
        with pytest.raises(MissingRightError, match='alter role "limited_owner" createrole'):
            await asyncio.to_thread(migrate, limited)
        found = await (await admin.execute("select 1 from pg_namespace where nspname = 'zipcast'")).fetchall()
        assert found == []
        # The owner can use roles that exist already.
        monkeypatch.undo()
        await asyncio.to_thread(migrate, limited)
        assert await revisions(url) == {(NEWEST,)}
    await servers.drop_database(url)
    async with await psycopg.AsyncConnection.connect(servers.database_url, autocommit=True) as admin:
        await admin.execute("drop role limited_owner")
