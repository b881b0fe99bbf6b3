"""Tests which database logins may read and change drafts and rounds of the beacon."""

import psycopg
import pytest
import pytest_asyncio

from devstack.logins import login_url
from devstack.servers import Servers
from tests.support.scheduling import database_with_sample, preparer, upcoming

READERS = ("responder", "http_bridge")
TABLES = ("epoch_drafts", "beacon_rounds")
CHANGES = {
    "epoch_drafts": [
        "insert into epoch_drafts select 'x', inputs, payload, signer, signature from epoch_drafts",
        "insert into epoch_drafts values ('2026-11-22T04-00-00', '', '', 'x', 'x')",
        "update epoch_drafts set inputs = ''",
        "update epoch_drafts set payload = ''",
        "update epoch_drafts set sent_at = null",
        "delete from epoch_drafts",
        "truncate epoch_drafts",
    ],
    "beacon_rounds": [
        "insert into beacon_rounds values ('local', 3, repeat('0', 96), now())",
        "update beacon_rounds set signature = repeat('0', 96)",
        "update beacon_rounds set round = round + 1",
        "delete from beacon_rounds",
        "truncate beacon_rounds",
    ],
}
# The scheduler may insert rows and mark a draft as sent, but never replace or delete either.
OF_THE_SCHEDULER = ("insert", "update epoch_drafts set sent_at")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def drafted(servers: Servers):
    """A database with a drawn epoch that no message promised, so that it has a draft and a round."""
    url = await servers.fresh_database()
    engine = await database_with_sample(url)
    (interval,) = upcoming(1)
    await preparer(engine).prepare(interval)
    await engine.dispose()
    yield lambda process: login_url(servers.state, url, process)
    await servers.drop_database(url)


async def run(url: str, statement: str) -> list[tuple[object, ...]]:
    """Run the statement, and undo it."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute(statement.encode())
        found = await cursor.fetchall() if cursor.description else []
        await connection.rollback()
        return found


@pytest.mark.parametrize("table", TABLES)
async def test_the_scheduler_alone_reads_drafts_and_rounds(drafted, table):
    assert await run(drafted("schedulers"), f"select count(*) from {table}") == [(1,)]
    for process in READERS:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await run(drafted(process), f"select count(*) from {table}")


@pytest.mark.parametrize("process", READERS)
@pytest.mark.parametrize("statement", [one for table in TABLES for one in CHANGES[table]])
async def test_other_logins_change_neither_drafts_nor_rounds(drafted, process, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await run(drafted(process), statement)


@pytest.mark.parametrize(
    "statement",
    [one for table in TABLES for one in CHANGES[table] if not one.startswith(OF_THE_SCHEDULER)],
)
async def test_the_scheduler_replaces_neither_drafts_nor_rounds(drafted, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await run(drafted("schedulers"), statement)
