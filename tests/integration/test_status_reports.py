"""Tests that concurrent status reports share a statement, and that each gets the reply that it would get
alone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest_asyncio
from sqlalchemy import select

from broker_service.responder.batches import Batches
from devstack.logins import login_url
from devstack.servers import Servers
from service.lifecycle import end
from storage.database.engine import open_pool
from storage.database.submissions import Comparison, Standing, Submission, store
from storage.database.tables import MinerSubmission
from tests.support.fakes import MINER_HOTKEY, STRANGER_HOTKEY, VALIDATOR_HOTKEY
from tests.support.results_side import ResultsSide
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.errors import ErrorCode, ServiceError

Replicas = list[Batches[Submission, Comparison]]


@pytest_asyncio.fixture(loop_scope="session")
async def side(servers: Servers, database_url: str) -> AsyncIterator[ResultsSide]:
    async with ResultsSide.running(servers, database_url) as side:
        yield side


@pytest_asyncio.fixture(loop_scope="session")
async def replicas(servers: Servers, database_url: str) -> AsyncIterator[Replicas]:
    url = login_url(servers.state, database_url, "responder")
    replicas = [Batches(await open_pool(url, application_name="test", size=2), store) for _ in range(2)]
    tasks = [asyncio.create_task(replica.run()) for replica in replicas]
    yield replicas
    await end(tasks)
    for replica in replicas:
        await replica.pool.close()


def report(
    epoch: EpochInterval, hotkey: str = MINER_HOTKEY, *, minute: int = 0, body: str = "a", **changed: Any
) -> Submission:
    at = epoch.start_at + timedelta(minutes=minute)
    values: dict[str, Any] = {
        "epoch_id": epoch.epoch_id,
        "hotkey": hotkey,
        "status": "IN_PROGRESS",
        "reported_at": at,
        "received_at": at,
        "is_late": False,
        "listings_scraped": minute,
        "zipcodes_completed": [{"zipcode": "19104", "listingsScraped": minute}],
        "s3_upload_complete": False,
        "s3_upload_at": None,
        "body_sha256": body,
        "request_id": "r",
        "most_claimed": {"19104": minute},
    }
    return Submission(**values | changed)


async def stored(side: ResultsSide, epoch: EpochInterval) -> dict[str, Any]:
    query = select(MinerSubmission.hotkey, MinerSubmission).where(MinerSubmission.epoch_id == epoch.epoch_id)
    async with side.owner.connect() as connection:
        return {row.hotkey: row for row in await connection.execute(query)}


async def test_of_reports_that_come_at_once_the_one_signed_last_is_stored(
    side: ResultsSide, replicas: Replicas
):
    epoch = await side.past()
    of_one = [report(epoch, minute=minute) for minute in (1, 9, 4)]
    same, other = report(epoch, minute=9), report(epoch, minute=9, body="b")
    hotkeys = (STRANGER_HOTKEY, VALIDATOR_HOTKEY)
    reports = [*of_one, same, other, *(report(epoch, hotkey, minute=3) for hotkey in hotkeys)]
    compared = await asyncio.gather(*(replicas[0].put(one) for one in reports))
    assert [one.standing for one in compared] == [
        Standing.SUPERSEDED,
        Standing.NEWEST,
        Standing.SUPERSEDED,
        Standing.REPEATED,
        Standing.CONFLICTING,
        Standing.NEWEST,
        Standing.NEWEST,
    ]
    rows = await stored(side, epoch)
    assert {hotkey: row.listings_scraped for hotkey, row in rows.items()} == {
        MINER_HOTKEY: 9,
        **dict.fromkeys(hotkeys, 3),
    }


async def test_two_replicas_that_write_the_same_rows_agree(side: ResultsSide, replicas: Replicas):
    epoch = await side.past()
    hotkeys = [MINER_HOTKEY, STRANGER_HOTKEY, VALIDATOR_HOTKEY]
    turns = [r.put(report(epoch, hotkey)) for r in replicas for hotkey in hotkeys + hotkeys[::-1]]
    standings = [one.standing for one in await asyncio.gather(*turns)]
    assert standings.count(Standing.NEWEST) == 3
    assert standings.count(Standing.REPEATED) == 9


async def test_a_report_that_cannot_be_written_takes_no_other_with_it(side: ResultsSide, replicas: Replicas):
    epoch = await side.past()
    nowhere = report(epoch, STRANGER_HOTKEY, epoch_id="2001-01-01T00-00-00")
    turns = (replicas[0].put(one) for one in (report(epoch), nowhere, report(epoch, VALIDATOR_HOTKEY)))
    first, refused, last = await asyncio.gather(*turns, return_exceptions=True)
    assert isinstance(refused, ServiceError)
    assert refused.code is ErrorCode.SERVICE_UNAVAILABLE
    assert isinstance(first, Comparison)
    assert isinstance(last, Comparison)
    assert set(await stored(side, epoch)) == {MINER_HOTKEY, VALIDATOR_HOTKEY}


async def test_a_later_report_keeps_what_an_earlier_one_completed_and_claimed(
    side: ResultsSide, replicas: Replicas
):
    epoch = await side.past()
    await replicas[0].put(report(epoch, minute=5, status="COMPLETED", most_claimed={"19104": 5, "07030": 2}))
    await replicas[0].put(report(epoch, minute=8, status="COMPLETED", most_claimed={"19104": 3, "10025": 1}))
    row = (await stored(side, epoch))[MINER_HOTKEY]
    assert row.first_completed_at == epoch.start_at + timedelta(minutes=5)
    assert (row.first_completed_listings, row.listings_scraped) == (5, 8)
    assert row.most_claimed == {"19104": 5, "07030": 2, "10025": 1}
    assert row.zipcodes_completed == [{"zipcode": "19104", "listingsScraped": 8}]
