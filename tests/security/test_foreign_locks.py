"""Tests that no login can delay the work of another process, whatever it locks and however many connections
it opens.

Each login takes every lock that PostgreSQL allows, and keeps it in an open transaction, while the scheduler
does all its steps. Locks that are not allowed are refused at once, so nothing here waits.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import func, select, text

from devstack.logins import MAX_CONNECTIONS, ROLES, login_url
from devstack.servers import Servers
from schedulers.epochs.missed import record_missed
from schedulers.epochs.opening import Opening
from schedulers.epochs.start_gate import StartGate
from schedulers.registry.lease import ReaderTurn
from schedulers.retention import Housekeeping
from schedulers.signals import Signals
from schedulers.stream.epoch_stream import EpochStream
from schedulers.stream.publisher import Publisher
from storage.database import epoch_changes, epochs
from storage.database.engine import open_engine
from storage.database.locks import Lease
from storage.database.retention import Retention
from storage.zipcode_files.importing import import_zipcodes
from tests.support.plain_nats import PlainNats
from tests.support.scheduling import (
    CALENDAR,
    TRUST,
    database_with_sample,
    open_all,
    preparer,
    statuses,
    upcoming,
)
from zipcast.clock import SystemClock

# The advisory locks of earlier versions, and some others.
ADVISORY = (94722781, 94722782, 62643378, 7378587, 94726337, 9472278, 1)
MODES = (
    "access share",
    "row share",
    "row exclusive",
    "share update exclusive",
    "share",
    "exclusive",
    "access exclusive",
)
STRENGTHS = ("key share", "share", "no key update", "update")
# A step that waits for a lock takes longer than this; a step on a busy machine does not.
STEP_SECONDS = 25.0


@pytest_asyncio.fixture(loop_scope="session")
async def database(servers: Servers, database_url: str):
    """Return the database with the scheduler's login, with zipcodes imported and one epoch open."""
    owner = await database_with_sample(database_url)
    await owner.dispose()
    engine = open_engine(login_url(servers.state, database_url, "schedulers"), application_name="test")
    (first,) = upcoming(1)
    await preparer(engine).prepare(first)
    await open_all(engine)
    yield engine
    await engine.dispose()


@pytest_asyncio.fixture(loop_scope="session")
async def stream(tmp_path) -> AsyncIterator[EpochStream]:
    """Return an empty stream."""
    async with PlainNats.running(tmp_path) as server:
        yield EpochStream((await server.connect()).jetstream(timeout=2))


@asynccontextmanager
async def everything_locked(url: str, process: str) -> AsyncIterator[set[str]]:
    """Hold all locks that this login may take, in one open transaction."""
    held: set[str] = set()
    async with AsyncExitStack() as transactions, await psycopg.AsyncConnection.connect(url) as asking:
        query = (
            "select relname from pg_class where relnamespace = 'zipcast'::regnamespace "
            "and relkind in ('r', 'p') order by 1"
        )
        tables = [name for (name,) in await (await asking.execute(query)).fetchall()]
        holder = await transactions.enter_async_context(await psycopg.AsyncConnection.connect(url))

        async def try_to(statement: str) -> None:
            await holder.execute("savepoint before")
            try:
                await holder.execute(statement.encode())
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable):
                await holder.execute("rollback to before")
            else:
                held.add(statement)

        await holder.execute("set lock_timeout = '300ms'")
        for number in ADVISORY:
            await try_to(f"select pg_advisory_lock({number})")
            await try_to(f"select pg_advisory_xact_lock({number}, 1)")
        for key in ("preparation", "partitions", "registry-reader:local:46"):
            await try_to(f"select pg_advisory_lock(hashtext('{key}'))")
        for table in tables:
            for strength in STRENGTHS:
                await try_to(f"select from {table} for {strength}")
        if process == "responder":
            # While a row refers to an epoch, that epoch's key cannot be changed or deleted.
            await try_to(
                "insert into miner_submissions (epoch_id, hotkey, status, reported_at, received_at, is_late, "
                "s3_upload_complete, request_id, body_sha256) "
                "select epoch_id, 'locker', 'FAILED', now(), now(), false, false, 'r', '' from epochs"
            )
            await try_to("insert into upload_seals (epoch_id, sealed_at) select epoch_id, now() from epochs")
        for table in tables:
            for mode in MODES:
                await try_to(f"lock table {table} in {mode} mode")
        yield held


@pytest.mark.parametrize("process", ROLES)
async def test_what_a_login_may_lock_is_its_own(servers: Servers, database, database_url: str, process: str):
    async with everything_locked(login_url(servers.state, database_url, process), process) as held:
        # This lock needs no right, but nothing depends on it.
        assert any("advisory" in statement for statement in held)
        strong = {one for one in held if one.startswith("lock table") and "access share" not in one}
    if process == "http_bridge":
        assert {one for one in strong if "request_refusals" not in one} == set()
        assert "lock table request_refusals in share update exclusive mode" not in held
    if process == "responder":
        exclusive = {one.split()[2] for one in strong if " exclusive" in one and "row exclusive" not in one}
        assert exclusive <= {"legacy_opt_outs"}


@pytest.mark.parametrize("process", ["responder", "http_bridge"])
async def test_every_step_of_the_scheduler_goes_on_while_another_login_holds_all_it_can(
    servers: Servers, database, database_url: str, stream: EpochStream, process: str
):
    of = preparer(database)
    first, second, third, _, fifth = upcoming(5)
    owner = open_engine(database_url, application_name="test")
    async with owner.begin() as connection:  # a day whose partition housekeeping has to make
        to_come = (datetime.now(UTC) + timedelta(days=7)).strftime("%Y%m%d")
        await connection.execute(text(f"drop table credential_issuances_{to_come}"))
    async with everything_locked(login_url(servers.state, database_url, process), process) as held:
        assert held

        async def step(name: str, work) -> None:
            try:
                async with asyncio.timeout(STEP_SECONDS):
                    await work
            except TimeoutError:
                pytest.fail(f"{name} was held up")

        publisher = Publisher(of, stream, TRUST)
        await step("comparing", publisher.open())
        async with database.connect() as connection:
            opened = await epochs.prepared_epoch(connection, first.epoch_id)
        await step("publishing", publisher.publish(opened))
        await step("preparing", of.prepare(second))
        opening = Opening(database, StartGate(database, SystemClock()), SystemClock())
        await step("opening what is due", opening.open_started(datetime.now(UTC)))
        async with database.connect() as connection:
            prepared = await epochs.prepared_epoch(connection, second.epoch_id)
        await step("publishing and opening", publisher.publish(prepared))
        await step("preparing the next", of.prepare(third))
        await step("recording a gap", record_missed(database, of, fifth))
        await step("adopting", Publisher(of, stream, TRUST).open())

        async def complete() -> None:
            async with database.begin() as connection:
                await epoch_changes.complete_ended(connection)

        await step("completing", complete())
        lease = Lease(database, "registry-reader:local:46", "this replica")
        turn = ReaderTurn(lease, SystemClock(), timedelta(minutes=1))
        await step("taking the reader's turn", turn.is_ours(None))
        assert turn._held
        await step("looking for signals", Signals(database, SystemClock(), 3600).flag())
        keeping = Retention(timedelta(days=30), timedelta(days=60), timedelta(days=30))
        await step("keeping house", Housekeeping(database, SystemClock(), keeping).tidy())
        zipcodes = "zipcode,state,recently_sold_listings\n19123,PA,900\n"
        path = servers.state.logs / f"locked-{process}.csv"
        path.write_text(zipcodes)
        await step("importing", import_zipcodes(owner, path, now=datetime.now(UTC)))
    async with owner.connect() as connection:
        made = await connection.execute(select(func.to_regclass(f"zipcast.credential_issuances_{to_come}")))
        assert made.scalar() is not None
    await owner.dispose()
    found = await statuses(database)
    assert [found[one.epoch_id] for one in (first, second, third)] == ["active", "active", "pending"]
    assert CALENDAR.before(fifth).epoch_id in found


@pytest.mark.parametrize("process", ["responder", "http_bridge"])
async def test_a_login_that_opens_all_the_connections_it_can_leaves_enough_for_the_others(
    servers: Servers, database_url: str, process: str
):
    url = login_url(servers.state, database_url, process)
    async with AsyncExitStack() as opened:
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            for _ in range(MAX_CONNECTIONS[process] + 1):
                await opened.enter_async_context(await psycopg.AsyncConnection.connect(url))
        for other in set(ROLES) - {process}:
            other_url = login_url(servers.state, database_url, other)
            async with await psycopg.AsyncConnection.connect(other_url) as connection:
                assert await (await connection.execute("select 1")).fetchone() == (1,)


async def test_together_the_logins_have_fewer_connections_than_the_server(
    servers: Servers, database_url: str
):
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        setting = "current_setting('{}')::int"
        query = (
            f"select {setting.format('max_connections')} - {setting.format('superuser_reserved_connections')}"
        )
        row = await (await connection.execute(query)).fetchone()
    assert row is not None
    assert 0 < sum(MAX_CONNECTIONS.values()) < row[0]
