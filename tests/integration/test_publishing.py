"""Record and stream against each other, on real servers: what is published is published once."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest_asyncio

from devstack.servers import Servers
from devstack.state import State
from storage.database import epoch_changes, epochs, pending_epochs
from tests.support.processes import wait_until
from tests.support.scheduling import (
    CALENDAR,
    SIGNER,
    TRUST,
    StreamSide,
    database_with_sample,
    preparer,
    statuses,
    upcoming,
)
from zipcast.protocol import envelope
from zipcast.protocol.calendar import EpochInterval

_used: list[EpochInterval] = []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_servers(tmp_path_factory):
    """Return a stream that no other test writes."""
    async with Servers.running(State(tmp_path_factory.mktemp("publishing"))) as servers:
        yield servers


@pytest_asyncio.fixture(loop_scope="session")
async def database(own_servers: Servers):
    url = await own_servers.fresh_database()
    database = await database_with_sample(url)
    yield database
    await database.dispose()
    await own_servers.drop_database(url)


@pytest_asyncio.fixture(loop_scope="session")
async def side(own_servers: Servers, database):
    side = await StreamSide.connect(own_servers, database)
    await side.publisher.open()
    yield side
    await side.close()


async def prepare_next(database):
    """The next epoch in time, so that the one stream sees ids that only grow."""
    interval = CALENDAR.after(_used[-1]) if _used else upcoming(1)[0]
    _used.append(interval)
    return await preparer(database).prepare(interval)


async def test_what_is_published_is_what_was_made_anew_last(database, side):
    stored = await prepare_next(database)
    async with database.begin() as connection:
        await epoch_changes.lock_preparation(connection)
        looking = asyncio.create_task(side.publisher.in_force(stored))
        pending = await pending_epochs.pending_epoch(connection, stored.epoch_id)
        anew = envelope.seal(
            pending.prepared.message.model_copy(update={"issued_at": datetime(2026, 1, 1, tzinfo=UTC)}),
            SIGNER,
        )
        changed = replace(pending.prepared, envelope=anew)
        assert await pending_epochs.replace_prepared(connection, changed, stored.interval.start_at)
    assert (await looking).envelope == anew


async def test_a_look_that_is_locked_out_leaves_the_message_as_it_was_read(database, side):
    stored = await prepare_next(database)
    async with database.begin() as connection:
        await epoch_changes.lock_preparation(connection)
        assert await side.publisher.in_force(stored) == stored


async def test_publishing_again_and_from_several_replicas_leaves_one_message(own_servers, database, side):
    stored = await prepare_next(database)
    other = await StreamSide.connect(own_servers, database)
    await other.publisher.open()
    await asyncio.gather(*(one.publisher.publish(stored) for one in (side, other, side, other)))
    newest = await side.stream.last()
    before = await side.stream.before(newest.sequence)
    await other.close()
    assert newest.envelope == stored.envelope
    assert before is None or before.envelope.epoch_id < stored.epoch_id
    assert (await statuses(database))[stored.epoch_id] == "active"


async def test_other_bytes_in_the_stream_win_and_are_adopted(database, side):
    stored = await prepare_next(database)
    message = envelope.verify(stored.envelope, TRUST).message
    told = envelope.seal(message.model_copy(update={"nonce": "0" * 64}), SIGNER)
    newest = await side.stream.last()
    assert await side.stream.publish(told, after=newest) is not None
    await side.publisher.publish(stored)
    async with database.connect() as connection:
        in_force = await epochs.prepared_epoch(connection, stored.epoch_id)
    assert in_force is not None
    assert in_force.envelope == told


async def test_what_was_made_anew_is_published_also_by_a_replica_that_holds_the_old_bytes(database, side):
    old = await prepare_next(database)
    issued_at = envelope.verify(old.envelope, TRUST).message.issued_at  # in whole seconds
    await wait_until(lambda: datetime.now(UTC) - issued_at >= timedelta(seconds=1))
    await preparer(database).regenerate(old.epoch_id)
    async with database.connect() as connection:
        new = await epochs.prepared_epoch(connection, old.epoch_id)
    assert new is not None
    assert new.envelope.payload != old.envelope.payload
    await side.publisher.publish(await side.publisher.in_force(old))
    recorded = await side.stream.last()
    assert recorded is not None
    assert recorded.envelope == new.envelope
    assert (await statuses(database))[old.epoch_id] == "active"


async def test_bytes_that_do_not_verify_are_never_adopted(database, side):
    stored = await prepare_next(database)
    forged = replace(stored.envelope, signature="ab" * 64)
    assert await side.stream.publish(forged, after=await side.stream.last()) is not None
    refused = await asyncio.gather(side.publisher.publish(stored), return_exceptions=True)
    async with database.connect() as connection:
        in_force = await epochs.prepared_epoch(connection, stored.epoch_id)
    assert in_force is not None
    # The payload is the same; the signature in the record stays the one that verifies.
    assert in_force.envelope == stored.envelope
    assert refused == [None]


async def test_an_epoch_that_the_stream_has_passed_by_is_missed_not_sent_late(database, side):
    skipped, published = await prepare_next(database), await prepare_next(database)
    await side.publisher.publish(published)
    await side.publisher.publish(skipped)
    found = await statuses(database)
    assert (found[skipped.epoch_id], found[published.epoch_id]) == ("missed", "active")
    assert (await side.stream.last()).envelope.epoch_id == published.epoch_id


async def test_an_epoch_that_was_published_but_never_marked_is_found_behind_a_newer_one(database, side):
    first, second = await prepare_next(database), await prepare_next(database)
    recorded = await side.stream.publish(first.envelope, after=await side.stream.last())
    assert await side.stream.publish(second.envelope, after=recorded) is not None
    await side.publisher.publish(first)
    await side.publisher.publish(second)
    found = await statuses(database)
    assert [found[one.epoch_id] for one in (first, second)] == ["active", "active"]
