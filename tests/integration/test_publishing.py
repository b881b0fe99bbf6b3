"""Tests database and stream together on real servers: each epoch is published once."""

import asyncio
from dataclasses import replace

import pytest_asyncio

from devstack.servers import Servers
from devstack.state import State
from schedulers.stream.epoch_stream import EpochStream, Recorded
from schedulers.stream.publisher import Publisher
from storage.database import epochs
from storage.database.epochs import StoredEpoch
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
from zipcast.protocol.envelope import UnverifiedEnvelope

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
    """Prepare the next epoch. Ids only grow, because all epochs are in one stream."""
    interval = CALENDAR.after(_used[-1]) if _used else upcoming(1)[0]
    _used.append(interval)
    return await preparer(database).prepare(interval)


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


async def test_bytes_that_do_not_verify_are_never_adopted(database, side):
    stored = await prepare_next(database)
    forged = replace(stored.envelope, signature="ab" * 64)
    assert await side.stream.publish(forged, after=await side.stream.last()) is not None
    refused = await asyncio.gather(side.publisher.publish(stored), return_exceptions=True)
    async with database.connect() as connection:
        in_force = await epochs.prepared_epoch(connection, stored.epoch_id)
    assert in_force is not None
    # The payload is the same, and the signature in the database stays the one that verifies.
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


async def test_a_replica_that_last_saw_an_empty_stream_sends_no_old_epoch(database, side):
    old, new = await prepare_next(database), await prepare_next(database)
    recorded = await side.stream.publish(new.envelope, after=await side.stream.last())
    assert recorded is not None
    assert await side.stream.publish(old.envelope, after=None) is None
    assert (await side.stream.last()) == recorded


class OvertakenStream(EpochStream):
    """A stream to which another replica publishes an epoch just before each of our requests."""

    def __init__(self, stream: EpochStream, others: list[StoredEpoch]) -> None:
        self._stream, self._others = stream, others

    async def last(self) -> Recorded | None:
        return await self._stream.last()

    async def publish(self, envelope: UnverifiedEnvelope, *, after: Recorded | None) -> Recorded | None:
        if self._others:
            assert await self._stream.publish(self._others.pop(0).envelope, after=await self.last())
        return await self._stream.publish(envelope, after=after)


async def test_an_epoch_is_published_however_often_other_replicas_publish_older_ones_first(database, side):
    *older, newest = [await prepare_next(database) for _ in range(4)]
    publisher = Publisher(preparer(database), OvertakenStream(side.stream, older), TRUST)
    await publisher.publish(newest)
    assert (await statuses(database))[newest.epoch_id] == "active"
    assert (await side.stream.last()).envelope == newest.envelope
