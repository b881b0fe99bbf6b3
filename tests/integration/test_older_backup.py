"""Tests an older backup of PostgreSQL: epochs that only the stream still has come back into the database, as
far as a signed message contains them."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, text

from schedulers.epochs.missed import record_missed
from schedulers.epochs.seed_secrets import Secrets
from schedulers.stream.adoption import UNKNOWN_SECRET
from schedulers.stream.publisher import Publisher
from schedulers.stream.rebuild import Rebuild
from storage.database import epoch_changes, epoch_inputs, epochs
from storage.database.epoch_changes import MissedEpoch
from storage.database.tables import EpochHoneypots
from storage.zipcode_files.importing import import_zipcodes
from tests.support.record_and_stream import lose_rows, published, publisher, snapshot, verified
from tests.support.scheduling import (
    CALENDAR,
    FIRST,
    SIGNER,
    TRUST,
    preparer,
    statuses,
    upcoming,
)
from zipcast.protocol import envelope
from zipcast.selection import seeds as seed_rules
from zipcast.selection.honeypots import HoneypotSettings

pytestmark = pytest.mark.long


async def test_epochs_that_an_older_backup_lacks_come_back_from_the_stream_as_they_were(database, stream):
    of = preparer(database)
    stored = await published(of, stream, 4)
    before = await snapshot(database)
    await lose_rows(database, stored[1])
    await publisher(database, stream).open()
    assert await snapshot(database) == before
    await of.prepare(CALENDAR.after(stored[-1].interval))
    assert await verified(database) == []


async def test_honeypots_of_lost_epochs_are_found_again(database, stream):
    of = replace(preparer(database), honeypots=HoneypotSettings(probability=1))
    side = Publisher(of, stream, TRUST)
    await side.open()
    stored = []
    for interval in upcoming(4):
        stored.append(await of.prepare(interval))
        await side.publish(stored[-1])
    async with database.connect() as connection:
        rows = select(EpochHoneypots.__table__).order_by(EpochHoneypots.epoch_id)
        before = (await connection.execute(rows)).all()
    await lose_rows(database, stored[1])
    await Publisher(of, stream, TRUST).open()
    async with database.connect() as connection:
        assert (await connection.execute(rows)).all() == before != []


async def test_a_running_replica_notices_that_the_record_went_back(database, stream):
    of = preparer(database)
    stored = await published(of, stream, 3)
    side = publisher(database, stream)
    await side.open()
    before = await snapshot(database)
    await lose_rows(database, stored[1])
    await side.open()
    assert await snapshot(database) == before


async def test_where_the_promised_inputs_are_lost_the_promised_seed_is_kept(database, stream, tmp_path: Path):
    stored = await published(preparer(database), stream, 3)
    promise = envelope.verify(stored[-1].envelope, TRUST).message
    await lose_rows(database, stored[1])
    newer = tmp_path / "zipcodes.csv"
    newer.write_text("zipcode,state,recently_sold_listings\n19123,PA,900\n")
    await import_zipcodes(database, newer, now=datetime.now(UTC))
    rotated = Secrets("2", {**FIRST.keys, "2": b"b" * 32})
    await publisher(database, stream, rotated).open()
    next_one = await preparer(database, rotated).prepare(CALENDAR.after(stored[-1].interval))
    assert await verified(database) == []
    async with database.connect() as connection:
        kept = await epoch_inputs.inputs_are_stored(connection, promise.next_inputs_hash)
    assert not kept
    told = envelope.verify(next_one.envelope, TRUST).message
    assert told.seed_commitment == promise.next_seed_commitment


async def test_with_a_secret_that_is_gone_the_seed_is_what_the_next_message_revealed(database, stream):
    stored = await published(preparer(database), stream, 3)
    before = await snapshot(database)
    await lose_rows(database, stored[0])
    await publisher(database, stream, Secrets("9", {"9": b"z" * 32})).open()
    query = "select epoch_id, seed, secret_id from epochs order by 1"
    async with database.connect() as connection:
        rows = [tuple(row) for row in (await connection.execute(text(query))).all()]
    seeds = [row[6] for row in before["epochs"]]
    assert [row[1] for row in rows] == [*seeds[:2], None]
    assert {row[2] for row in rows} == {UNKNOWN_SECRET}


async def test_an_epoch_recorded_as_missed_that_the_stream_holds_was_not_missed(database, stream):
    of = preparer(database)
    stored = await published(of, stream, 2)
    before = await snapshot(database)
    await lose_rows(database, stored[1])
    seed = of.seed(stored[1].epoch_id, "1")
    row = MissedEpoch(stored[1].interval, seed, seed_rules.seed_commitment(seed), "1")
    async with database.begin() as connection:
        await epoch_changes.record_missed(connection, [row], datetime.now(UTC))
    await publisher(database, stream).open()
    assert await snapshot(database) == before


async def test_bytes_that_do_not_verify_stay_out_of_the_record(database, stream):
    (stored,) = await published(preparer(database), stream, 1)
    forged = replace(stored.envelope, epoch_id=CALENDAR.after(stored.interval).epoch_id)
    assert await stream.publish(forged, after=await stream.last()) is not None
    await publisher(database, stream).open()
    assert await statuses(database) == {stored.epoch_id: "active"}


async def test_other_bytes_of_an_epoch_that_is_not_the_newest_are_adopted_at_the_start(database, stream):
    of = preparer(database)
    stored = [await of.prepare(interval) for interval in upcoming(2)]
    told = envelope.seal(
        envelope.verify(stored[0].envelope, TRUST).message.model_copy(update={"nonce": "0" * 64}), SIGNER
    )
    await Rebuild(database, stream).ensure_whole()
    first = await stream.publish(told, after=None)
    assert await stream.publish(stored[1].envelope, after=first) is not None
    await publisher(database, stream).open()
    async with database.connect() as connection:
        in_force = await epochs.prepared_epoch(connection, stored[0].epoch_id)
    assert in_force is not None
    assert in_force.envelope == told


async def test_what_was_missed_between_epochs_of_the_stream_is_missed_again(database, stream):
    of = preparer(database)
    first, skipped, third = upcoming(3)
    side = publisher(database, stream)
    await side.open()
    for interval in (first, third):
        await side.publish(await of.prepare(interval))
    await record_missed(database, of, third)
    before = await snapshot(database)
    assert (await statuses(database))[skipped.epoch_id] == "missed"
    await lose_rows(database, await of.prepare(first))
    await publisher(database, stream).open()
    after = await snapshot(database)
    # No epoch precedes the first one now, so its gap cannot be filled.
    assert after["epochs"] == before["epochs"]
