"""Tests a database in which PUBLIC may create objects, and a hostile login created some before our first
migration: none of them is used.

PostgreSQL before version 15 lets everybody create objects in the schema `public`, and an upgraded database
keeps that. Functions, operators and tables there could replace ours, and run with the rights of whoever uses
them.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from devstack.first_data import SAMPLE_ZIPCODES
from devstack.logins import ROLES, login_url
from devstack.servers import Servers
from schedulers.epochs.missed import record_missed
from schedulers.retention import Housekeeping
from schedulers.signals import Signals
from service.database_rights import unfit
from storage.database import epoch_changes, epoch_health, history, honeypots
from storage.database.engine import open_engine
from storage.database.locks import Lease
from storage.database.migrate import migrate
from storage.database.retention import Retention
from storage.database.statistics import read_statistics
from storage.database.tables.base import Base
from storage.zipcode_files.importing import import_zipcodes
from tests.support.scheduling import open_all, preparer, upcoming
from zipcast.clock import SystemClock

# Each function notes who ran it. PostgreSQL prefers functions with such arguments to its own if it may
# choose.
_TRAPS = """
create table public.caught (login text, trap text);
grant insert on public.caught to public;
create function public.trap(name text) returns void language plpgsql as
    $$ begin insert into public.caught values (current_user, name); end $$;
create function public.now() returns timestamptz language plpgsql as
    $$ begin perform public.trap('now'); return pg_catalog.now(); end $$;
create function public.clock_timestamp() returns timestamptz language plpgsql as
    $$ begin perform public.trap('clock'); return pg_catalog.clock_timestamp() - interval '1 year'; end $$;
create function public.epoch_is_revealed(id text) returns boolean language plpgsql as
    $$ begin perform public.trap('revealed'); return true; end $$;
create function public.next_epoch_is_prepared() returns boolean language plpgsql as
    $$ begin perform public.trap('prepared'); return true; end $$;
create function public.add_issuance_days() returns void language plpgsql as
    $$ begin perform public.trap('partitions'); end $$;
create function public.started_inputs(id varchar) returns bytea language plpgsql as
    $$ begin perform public.trap('inputs'); return null; end $$;
create function public.equal(a text, b varchar) returns boolean language plpgsql as
    $$ begin perform public.trap('='); return true; end $$;
create function public.equal(a varchar, b varchar) returns boolean language plpgsql as
    $$ begin perform public.trap('='); return true; end $$;
create function public.before(a timestamptz, b date) returns boolean language plpgsql as
    $$ begin perform public.trap('<'); return true; end $$;
create operator public.= (leftarg = text, rightarg = varchar, function = public.equal);
create operator public.= (leftarg = varchar, rightarg = varchar, function = public.equal);
create operator public.< (leftarg = timestamptz, rightarg = date, function = public.before);
"""


@pytest_asyncio.fixture(loop_scope="session")
async def hostile(servers: Servers):
    """Return the URL of a migrated database in which the bridge's login created objects before the first
    migration."""
    url = await servers.empty_database()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as owner:
        await owner.execute("grant create on schema public to public")
    async with await psycopg.AsyncConnection.connect(
        login_url(servers.state, url, "http_bridge"), autocommit=True
    ) as attacker:
        await attacker.execute(_TRAPS.encode())
        for table in Base.metadata.sorted_tables:
            await attacker.execute(f"create table public.{table.name} (epoch_id text, id int)".encode())
            await attacker.execute(f"grant all on public.{table.name} to public".encode())
        await attacker.execute("create table public.alembic_version (version_num text)")
        await attacker.execute("insert into public.alembic_version values ('0001')")
        await attacker.execute("grant all on public.alembic_version to public")
    await asyncio.to_thread(migrate, url)
    yield url
    await servers.drop_database(url)


async def caught(url: str) -> list[tuple[str, str]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await (await connection.execute("select distinct login, trap from public.caught")).fetchall()
    return [(str(login), str(trap)) for login, trap in rows]


async def work_of_the_scheduler(database: AsyncEngine) -> None:
    of = preparer(database)
    first, second, _, fourth = upcoming(4)
    await of.prepare(first)
    await open_all(database)
    await of.prepare(second)
    await record_missed(database, of, fourth)
    async with database.begin() as connection:
        await epoch_changes.mark_published(connection, first.epoch_id, first.start_at, 1)
        await epoch_changes.complete_ended(connection)
    await Signals(database, SystemClock(), 3600).flag()
    retention = Retention(timedelta(days=30), timedelta(days=60), timedelta(days=30))
    await Housekeeping(database, SystemClock(), retention).tidy()
    assert await Lease(database, "registry-reader:local:46", "this replica").held()


async def work_of_a_reader(database: AsyncEngine) -> None:
    (first, *_) = upcoming(1)
    async with database.connect() as connection:
        await epoch_health.epochs_now(connection)
        await history.ended_epochs(connection, None, 5)
        await honeypots.revelation(connection, first.epoch_id)
        assert not await honeypots.is_revealed(connection, first.epoch_id)


async def work_of_the_bridge(database: AsyncEngine) -> None:
    await work_of_a_reader(database)
    async with database.connect() as connection:
        await read_statistics(connection)


async def test_no_object_that_somebody_made_in_public_is_ever_used(servers: Servers, hostile: str):
    owner = open_engine(hostile, application_name="test")
    await import_zipcodes(owner, SAMPLE_ZIPCODES, now=datetime.now(UTC))
    await owner.dispose()
    for process, work in (
        ("schedulers", work_of_the_scheduler),
        ("http_bridge", work_of_the_bridge),
        ("responder", work_of_a_reader),
    ):
        database = open_engine(login_url(servers.state, hostile, process), application_name="test")
        assert await unfit(database, reader_of=None) is None
        await work(database)
        await database.dispose()
    assert await caught(hostile) == []
    async with await psycopg.AsyncConnection.connect(hostile) as connection:
        counts = await connection.execute(
            "select (select count(*) from public.epochs), count(*) from zipcast.epochs"
        )
        assert await counts.fetchone() == (0, 2)


async def test_the_traps_do_catch_a_login_that_searches_public(servers: Servers, hostile: str):
    """This shows that the traps work, so that the tests above show that they are not met."""
    url = login_url(servers.state, hostile, "schedulers")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("set search_path = public, zipcast")
        await connection.execute("select epoch_is_revealed('x')")
        await connection.execute("select 'a'::text = 'b'::varchar")
    assert {trap for _, trap in await caught(hostile)} == {"revealed", "="}


@pytest.mark.parametrize("process", ROLES)
async def test_a_process_does_not_start_with_a_login_that_searches_another_schema(
    servers: Servers, hostile: str, process: str
):
    url = login_url(servers.state, hostile, process)
    login = url.partition("//")[2].partition(":")[0]
    database_name = hostile.rpartition("/")[2]
    async with await psycopg.AsyncConnection.connect(hostile, autocommit=True) as owner:
        await owner.execute(
            f'alter role {login} in database "{database_name}" set search_path = public, zipcast'.encode()
        )
    database = open_engine(url, application_name="test")
    refusal = await unfit(database, reader_of=None)
    await database.dispose()
    assert refusal is not None
    assert "\n" not in refusal
    for part in ("DATABASE_URL", "public, zipcast", "deploy/logins.sql", "ALTER ROLE", login):
        assert part in refusal
    # The advice in the error message works.
    command = refusal.partition("or ")[2].partition(", and connect")[0]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as own:
        await own.execute(command.encode())
    database = open_engine(url, application_name="test")
    assert await unfit(database, reader_of=None) is None
    await database.dispose()
