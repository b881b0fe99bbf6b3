"""Tests honeypots in a real PostgreSQL: they are written with their epoch, can be selected again at any time,
and are secret until revealed."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import select

from devstack.logins import login_url
from schedulers.epochs.adopted_honeypots import record_honeypots
from schedulers.epochs.zipcode_choice import choose_epoch
from schedulers.signals import Signals
from storage.database import honeypots
from storage.database.engine import open_engine
from storage.database.epoch_drafts import effective_inputs
from storage.database.tables import EpochHoneypots
from storage.zipcode_files.importing import import_zipcodes
from tests.support.scheduling import TRUST, open_all, preparer, upcoming
from zipcast.clock import SystemClock
from zipcast.protocol import envelope
from zipcast.protocol.messages.epochs import AssignedZipcode, EpochMessage
from zipcast.selection import seeds
from zipcast.selection.committed_inputs import SelectionInputs
from zipcast.selection.honeypots import HoneypotSettings

pytestmark = pytest.mark.long

OFTEN = HoneypotSettings(probability=1)


def hiding(database):
    return replace(preparer(database), honeypots=OFTEN)


async def messages(database, count: int) -> list:
    of = hiding(database)
    return [
        envelope.verify((await of.prepare(interval)).envelope, TRUST).message for interval in upcoming(count)
    ]


async def recorded(database, epoch_id: str) -> dict[str, tuple[int, int]]:
    async with database.connect() as connection:
        query = select(EpochHoneypots.content).where(EpochHoneypots.epoch_id == epoch_id)
        found = json.loads((await connection.execute(query)).scalar() or "[]")
        return {one["zipcode"]: (one["real_listings"], one["published_listings"]) for one in found}


async def rebuilt(database, message):
    """Select the epoch again from the database alone."""
    async with database.connect() as connection:
        stored = await effective_inputs(connection, message.epoch_id)
        inputs = SelectionInputs.from_bytes(stored)
        seed = preparer(database).seed(message.epoch_id, inputs.secret_id)
        draw_seed = seeds.derive_draw_seed(seed, message.used_round())
        return await choose_epoch(connection, inputs, draw_seed, message.epoch_start)


async def test_an_epoch_is_rebuilt_from_the_database_after_more_imports_and_epochs(database, tmp_path):
    before = await messages(database, 4)
    more = tmp_path / "zipcodes.csv"
    rows = "".join(f"{number},PA,{number % 900}\n" for number in range(15000, 19600, 7))
    more.write_text("zipcode,state,recently_sold_listings\n" + rows)
    await import_zipcodes(database, more, now=datetime.now(UTC))
    after = await messages(database, 8)
    some = 0
    for message in after:
        chosen = await rebuilt(database, message)
        choice = chosen.choice
        assert seeds.candidate_pool_hash(choice.selection.pool) == message.candidate_pool_hash
        assert AssignedZipcode.all_of(choice.zipcodes) == message.zipcodes
        drawn = (*choice.honeypots, *choice.discarded)
        found = {one.zipcode: (one.real_listings, one.published_listings) for one in drawn}
        assert found == await recorded(database, message.epoch_id)
        some += bool(choice.honeypots)
    assert some >= 4
    assert after[:4] == before
    pools = [message.candidate_pool_hash for message in after]
    assert len(set(pools)) == len(pools)


async def test_what_is_published_of_an_import_is_decided_once_and_changes_with_the_next(
    database, database_url: str, tmp_path
):
    of = hiding(database)
    first, second, third = upcoming(3)
    await of.prepare(first)
    counts = "select import_id, zipcode, expected_listings from published_zipcodes order by 1, 2"
    published = await ask(database_url, counts)
    await replace(of, honeypots=HoneypotSettings(probability=0)).prepare(second)
    assert await ask(database_url, counts) == published
    more = tmp_path / "zipcodes.csv"
    more.write_text("zipcode,state,recently_sold_listings\n19123,PA,900\n")
    await import_zipcodes(database, more, now=datetime.now(UTC))
    await of.prepare(third)
    after = await ask(database_url, counts)
    assert after[: len(published)] == published
    (old,), (new,) = ({one[0] for one in rows} for rows in (published, after[len(published) :]))
    assert new == old + 1
    secret = await ask(
        database_url, "select import_id, count(*) from zipcode_honeypots group by 1 order by 1"
    )
    assert [one for one, _ in secret] == [old, new]
    assert secret[0][1] == secret[1][1] > 0
    # Everything is kept from which epochs can still be made.
    assert await ask(database_url, "select drop_published_zipcodes(%s, 5000)", old) == [(0,)]


async def test_a_message_from_the_stream_gets_its_honeypots_from_what_it_was_committed_to(database):
    made = [one for one in await messages(database, 4) if await recorded(database, one.epoch_id)]
    message = made[0]
    before = await recorded(database, message.epoch_id)
    async with database.begin() as connection:
        await honeypots.store_honeypots(connection, message.epoch_id, ())
        await record_honeypots(hiding(database), connection, message)
    assert await recorded(database, message.epoch_id) == before != {}
    other = message.model_copy(update={"zipcodes": message.zipcodes[1:]})
    async with database.begin() as connection:
        await record_honeypots(hiding(database), connection, other)
    assert await recorded(database, message.epoch_id) == {}


async def ask(url: str, query: str, *values: object) -> list[tuple]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute(query, values)
        return await cursor.fetchall() if cursor.description else []


async def move(url: str, epoch_id: str, start: str, end: str) -> None:
    await ask(
        url, f"update epochs set start_at = now() {start}, end_at = now() {end} where epoch_id = %s", epoch_id
    )


async def with_honeypots(database) -> EpochMessage:
    """Prepare epochs until one has honeypots. Return that one and those before it."""
    of = hiding(database)
    for interval in upcoming(20):
        message = envelope.verify((await of.prepare(interval)).envelope, TRUST).message
        if {one.zipcode for one in message.zipcodes} & (await recorded(database, message.epoch_id)).keys():
            return message
    raise AssertionError("none of 20 epochs has honeypots")


@pytest.mark.parametrize("process", ["responder", "http_bridge"])
async def test_honeypots_show_one_epoch_after_the_end_and_not_before(
    servers, database, database_url, process
):
    message = await with_honeypots(database)
    await open_all(database)
    await ask(database_url, "delete from epoch_assignments where epoch_id <> %s", message.epoch_id)
    for table in ("epoch_honeypots", "epoch_messages", "epochs"):
        await ask(database_url, f"delete from {table} where epoch_id <> %s", message.epoch_id)
    url = login_url(servers.state, database_url, process)
    for start, end, shown in (
        ("+ interval '1 h'", "+ interval '2 h'", False),
        ("- interval '1 h'", "+ interval '1 h'", False),
        ("- interval '119 min'", "- interval '59 min'", False),
        ("- interval '121 min'", "- interval '61 min'", True),
    ):
        await move(database_url, message.epoch_id, start, end)
        ((content,),) = await ask(url, "select revealed_honeypots(%s)", message.epoch_id)
        assert bool(content) is shown, (start, end)
        async with database.connect() as connection:
            assert (await honeypots.revelation(connection, message.epoch_id) is not None) is shown


@pytest.mark.parametrize("process", ["responder", "http_bridge"])
@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from epoch_honeypots",
        "delete from epoch_honeypots",
        "insert into miner_signals default values",
        "select count(*) from zipcode_honeypots",
        "select count(*) from retired_honeypots",
        "select recently_sold_listings from zipcodes",
        "select population from zipcodes",
        "select count(*) from zipcodes where recently_sold_listings < 50",
        "select count(*) from zipcode_revisions",
        "explain analyze select from zipcode_honeypots",
        "explain analyze select from epoch_honeypots where epoch_id > ''",
        "select drop_published_zipcodes(1, 1)",
        "insert into published_zipcodes select * from published_zipcodes",
    ],
)
async def test_no_login_but_the_schedulers_learns_real_counts(
    servers, database, database_url, process: str, query: str
):
    await hiding(database).prepare(upcoming(1)[0])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(login_url(servers.state, database_url, process), query)


@pytest.mark.parametrize("process", ["responder", "http_bridge"])
async def test_statistics_of_the_planner_tell_no_real_count(servers, database, database_url, process: str):
    await hiding(database).prepare(upcoming(1)[0])
    await ask(database_url, "analyze zipcodes")
    url = login_url(servers.state, database_url, process)
    query = "select attname from pg_stats where tablename = %s and attname = %s"
    for table, column in (("zipcodes", "recently_sold_listings"), ("epoch_honeypots", "content")):
        assert await ask(url, query, table, column) == []


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
    """Store a report. The largest number that each report claimed is kept, whatever later reports say."""
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


async def test_who_reports_more_for_a_honeypot_than_its_threshold_is_flagged_once(
    servers, database, database_url
):
    message = await with_honeypots(database)
    await open_all(database)
    epoch_id = message.epoch_id
    known = await recorded(database, epoch_id)
    zipcodes = [one.zipcode for one in message.zipcodes]
    decoy = next(one for one in zipcodes if one in known)
    real, published = known[decoy]
    genuine = next(one for one in zipcodes if one not in known)
    await report(database_url, epoch_id, "invents", [(genuine, 700), (decoy, 51), (decoy, published)])
    await report(database_url, epoch_id, "honest", [(genuine, 700), (decoy, 50)])
    await report(database_url, epoch_id, "afterwards", [(decoy, 60)], late=True)
    await report(database_url, epoch_id, "nothing", [])
    # Somebody with the responder's login could write such a row.
    for hotkey, claimed in (("text", "x"), ("list", [1]), ("null", None)):
        await report(database_url, epoch_id, hotkey, [])
        await ask(
            database_url,
            "update miner_submissions set most_claimed = %s where hotkey = %s",
            *(json.dumps({decoy: claimed}), hotkey),
        )
    scheduler = login_url(servers.state, database_url, "schedulers")
    own = open_engine(scheduler, application_name="test")
    signals = Signals(own, SystemClock(), 3600)
    await signals.flag()
    assert await ask(database_url, "select count(*) from miner_signals") == [(0,)]
    shift = "interval '9 d'"
    await ask(database_url, f"update epochs set start_at = start_at - {shift}, end_at = end_at - {shift}")
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
