"""Decoys in real PostgreSQL: written with their epoch, rebuilt at any time, secret until revealed."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import delete

from devstack.logins import login_url
from schedulers.choosing import choose_epoch
from schedulers.decoys import record_honeypots
from schedulers.signals import Signals
from storage import epoch_inputs, honeypots
from storage.database import open_engine
from storage.epoch_inputs import committed_inputs
from storage.tables import EpochInputs
from storage.zipcode_import import import_zipcodes
from tests.integration.scheduling import TRUST, open_all, preparer, upcoming
from zipcast import envelope
from zipcast.clock import SystemClock
from zipcast.honeypots import HoneypotSettings
from zipcast.inputs import SelectionInputs
from zipcast.messages import AssignedZipcode
from zipcast.selection import Version

ALWAYS = HoneypotSettings(probability=1)


def decoying(database):
    return replace(preparer(database), honeypots=ALWAYS)


async def messages(database, count: int) -> list:
    of = decoying(database)
    return [
        envelope.verify((await of.prepare(interval)).envelope, TRUST).message for interval in upcoming(count)
    ]


async def recorded(database, epoch_id: str) -> dict[str, tuple[int, int]]:
    async with database.connect() as connection:
        found = await honeypots.stored_honeypots(connection, [epoch_id])
        return {one.zipcode: (one.real_listings, one.published_listings) for one in found}


async def rebuilt(database, message):
    """The choice again, from the record alone."""
    async with database.connect() as connection:
        stored = await committed_inputs(connection, message.epoch_id)
        inputs = SelectionInputs.from_bytes(stored)
        seed = preparer(database).seed(message.epoch_id, inputs.secret_id)
        return inputs, await choose_epoch(connection, inputs, seed, message.epoch_start)


async def test_an_epoch_is_rebuilt_from_the_record_after_more_imports_and_epochs(database, tmp_path):
    before = await messages(database, 4)
    more = tmp_path / "zipcodes.csv"
    rows = "".join(f"{number},PA,{number % 900}\n" for number in range(15000, 19600, 7))
    more.write_text("zipcode,state,recently_sold_listings\n" + rows)
    await import_zipcodes(database, more, now=datetime.now(UTC))
    after = await messages(database, 8)
    for message in after:
        inputs, choice = await rebuilt(database, message)
        assert inputs.pool_hash(choice) == message.candidate_pool_hash
        assert AssignedZipcode.all_of(choice.zipcodes) == message.zipcodes
        found = {one.zipcode: (one.real_listings, one.published_listings) for one in choice.honeypots}
        assert found == await recorded(database, message.epoch_id) != {}
    assert after[:4] == before
    pools = [message.candidate_pool_hash for message in after]
    assert len(set(pools)) == len(pools)


async def test_a_decoy_rests_and_the_inputs_say_whose_decoys_do(database):
    made = await messages(database, 8)
    used = [zipcode for message in made for zipcode in await recorded(database, message.epoch_id)]
    assert len(used) == len(set(used)) >= 8
    inputs, _ = await rebuilt(database, made[-1])
    assert inputs.honeypot_epoch_ids == tuple(message.epoch_id for message in made[:-1])


async def test_what_was_committed_to_before_there_were_honeypots_is_chosen_by_the_rules_of_then(database):
    first, second = upcoming(2)
    await decoying(database).prepare(first)
    async with database.begin() as connection:
        stored = await committed_inputs(connection, second.epoch_id)
        inputs = SelectionInputs.from_bytes(stored)
        old = inputs.of_version(Version.BY_CHANCE).to_bytes()
        await connection.execute(delete(EpochInputs).where(EpochInputs.epoch_id == second.epoch_id))
        await epoch_inputs.commit_inputs(connection, second.epoch_id, old, datetime.now(UTC))
    message = envelope.verify((await decoying(database).prepare(second)).envelope, TRUST).message
    assert message.metadata.algorithm_version == "zipcast-selection/1"
    assert await recorded(database, second.epoch_id) == {}
    inputs, choice = await rebuilt(database, message)
    assert inputs.pool_hash(choice) == message.candidate_pool_hash
    assert choice.decoys == ()


async def test_a_message_from_the_stream_gets_its_decoys_from_what_it_was_committed_to(database):
    (message,) = await messages(database, 1)
    before = await recorded(database, message.epoch_id)
    async with database.begin() as connection:
        await honeypots.store_honeypots(connection, message.epoch_id, (), 50)
        await record_honeypots(decoying(database), connection, message)
    assert await recorded(database, message.epoch_id) == before != {}
    other = message.model_copy(update={"zipcodes": message.zipcodes[1:]})
    async with database.begin() as connection:
        await record_honeypots(decoying(database), connection, other)
    assert await recorded(database, message.epoch_id) == {}


async def ask(url: str, query: str, *values: object) -> list[tuple]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute(query, values)
        return await cursor.fetchall() if cursor.description else []


async def move(url: str, epoch_id: str, start: str, end: str) -> None:
    await ask(
        url, f"update epochs set start_at = now() {start}, end_at = now() {end} where epoch_id = %s", epoch_id
    )


@pytest.mark.parametrize("process", ["responder", "http_bridge"])
async def test_decoys_show_one_epoch_after_the_end_and_not_before(servers, database, database_url, process):
    (message,) = await messages(database, 1)
    await open_all(database)
    url = login_url(servers.state, database_url, process)
    query = "select revealed_honeypots(%s)"
    for start, end, shown in (
        ("+ interval '1 h'", "+ interval '2 h'", False),
        ("- interval '1 h'", "+ interval '1 h'", False),
        ("- interval '119 min'", "- interval '59 min'", False),
        ("- interval '121 min'", "- interval '61 min'", True),
    ):
        await move(database_url, message.epoch_id, start, end)
        ((content,),) = await ask(url, query, message.epoch_id)
        assert bool(content) is shown, (start, end)
        async with database.connect() as connection:
            assert (await honeypots.revelation(connection, message.epoch_id) is not None) is shown
    for statement in ("select from epoch_honeypots", "delete from epoch_honeypots"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await ask(url, statement)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(url, "insert into miner_signals default values")


async def test_an_epoch_is_not_revealed_before_a_longer_one_that_came_before_it(database, database_url):
    long, short = await messages(database, 2)
    await open_all(database)
    await move(database_url, long.epoch_id, "- interval '10 h'", "- interval '3 h'")
    await move(database_url, short.epoch_id, "- interval '3 h'", "- interval '2 h'")
    query = "select epoch_is_revealed(%s)"
    assert await ask(database_url, query, short.epoch_id) == [(False,)]
    await move(database_url, long.epoch_id, "- interval '20 h'", "- interval '11 h'")
    assert await ask(database_url, query, short.epoch_id) == [(True,)]
    assert await ask(database_url, query, "2020-01-01T00-00-00") == [(False,)]


async def report(url: str, epoch_id: str, hotkey: str, counts: list[tuple[str, int]], late: bool = False):
    """What each report claimed at most is kept, whatever a later one says."""
    claimed: dict[str, int] = {}
    for zipcode, count in counts:
        claimed[zipcode] = max(count, claimed.get(zipcode, 0))
    await ask(
        url,
        "insert into miner_submissions (epoch_id, hotkey, status, reported_at, received_at, is_late, "
        "most_claimed, s3_upload_complete, body_sha256, request_id) "
        "values (%s, %s, 'COMPLETED', now(), now(), %s, %s, true, '', 'r')",
        *(epoch_id, hotkey, late, json.dumps(claimed)),
    )


async def test_who_reports_more_for_a_decoy_than_its_threshold_is_flagged_once(
    servers, database, database_url
):
    (message,) = await messages(database, 1)
    await open_all(database)
    epoch_id = message.epoch_id
    decoy, (real, published) = next(iter((await recorded(database, epoch_id)).items()))
    genuine = next(one.zipcode for one in message.zipcodes if one.zipcode != decoy)
    await report(database_url, epoch_id, "invents", [(genuine, 700), (decoy, 51), (decoy, published)])
    await report(database_url, epoch_id, "honest", [(genuine, 700), (decoy, 50)])
    await report(database_url, epoch_id, "afterwards", [(decoy, 60)], late=True)
    await report(database_url, epoch_id, "nothing", [])
    scheduler = login_url(servers.state, database_url, "schedulers")
    own = open_engine(scheduler, application_name="test")
    signals = Signals(own, SystemClock(), 3600)
    await signals.flag()
    assert await ask(database_url, "select count(*) from miner_signals") == [(0,)]
    await move(database_url, epoch_id, "- interval '3 h'", "- interval '2 h'")
    await signals.flag()
    await report(database_url, epoch_id, "too late to be looked at", [(decoy, 900)])
    await signals.flag()
    await own.dispose()
    async with database.connect() as connection:
        found = await honeypots.signals(connection, epoch_id)
    assert [(one.hotkey, one.kind, one.details["late"]) for one in found] == [
        ("afterwards", "honeypot_hit", True),
        ("invents", "honeypot_hit", False),
    ]
    assert found[1].details["zipcodes"] == [
        {
            "zipcode": decoy,
            "reportedListings": published,
            "threshold": 50,
            "realListings": real,
            "publishedListings": published,
        }
    ]
