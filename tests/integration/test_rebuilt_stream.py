"""Tests that a stream which lost its messages is filled again from the database, and that connected
subscribers receive nothing twice."""

import asyncio
from dataclasses import replace

import pytest

from schedulers.stream.epoch_stream import EpochStream
from schedulers.stream.rebuild import KEPT, Rebuild
from storage.database import epoch_publications
from tests.support.plain_nats import Hearer, PlainNats
from tests.support.processes import wait_until
from tests.support.record_and_stream import held, lose_rows, published, publisher, snapshot
from tests.support.scheduling import CALENDAR, preparer, statuses
from zipcast.protocol.subjects import EPOCH_INGEST, EPOCH_STREAM

pytestmark = pytest.mark.long


async def test_a_lost_stream_is_filled_again_unheard_and_goes_on_with_the_next_number(
    database, stream, nats_server
):
    of = preparer(database)
    hearer = await nats_server.hearer()
    stored = await published(of, stream, 4)
    await wait_until(lambda: len(hearer.heard) == 4)
    before, record = await held(stream), await snapshot(database)
    await nats_server.lose_everything()
    side = publisher(database, stream)
    await side.open()
    assert await held(stream) == before
    following = await of.prepare(CALENDAR.after(stored[-1].interval))
    await side.publish(following)
    await wait_until(lambda: hearer.epoch_ids[-1] == following.epoch_id)
    assert hearer.heard == [*before, (following.epoch_id, before[-1][1] + 1)]
    # Stream and database both still have the time at which each was published.
    assert (await snapshot(database))["epochs"][:4] == record["epochs"]
    await lose_rows(database, stored[0])
    await publisher(database, stream).open()
    assert [row[11] for row in (await snapshot(database))["epochs"][:4]] == [
        row[11] for row in record["epochs"]
    ]


async def test_replicas_that_rebuild_at_once_leave_each_epoch_once(database, stream, nats_server):
    stored = await published(preparer(database), stream, 6)
    before = await held(stream)
    await nats_server.lose_everything()
    hearer = await nats_server.hearer()
    replicas = [publisher(database, stream) for _ in range(5)]
    await asyncio.gather(*(replica.open() for replica in replicas))
    assert await held(stream) == before
    following = await preparer(database).prepare(CALENDAR.after(stored[-1].interval))
    await asyncio.gather(*(replica.publish(following) for replica in replicas))
    await wait_until(lambda: hearer.heard)
    assert hearer.epoch_ids == [following.epoch_id]


async def test_a_rebuilding_that_was_broken_off_is_finished_by_the_next(database, stream, nats_server):
    stored = await published(preparer(database), stream, 3)
    before = await held(stream)
    await nats_server.lose_everything()
    hearer = await nats_server.hearer()
    async with database.connect() as connection:
        first, *_ = await epoch_publications.published_within(connection, KEPT, 10)
    await stream.create_closed(first.sequence)
    assert await stream.put_back(first.envelope, first.published_at, after_sequence=first.sequence - 1)
    await publisher(database, stream).open()
    assert await held(stream) == before
    assert hearer.heard == []
    assert len(stored) == 3


async def purge(nats_server: PlainNats, stream: EpochStream) -> None:
    """Delete all messages, with rights that no user of ours has."""
    jetstream = (await nats_server.connect()).jetstream()
    await jetstream.purge_stream(EPOCH_STREAM)


async def open_stream_without_protection(nats_server: PlainNats, stream: EpochStream) -> None:
    await stream.create_closed(1)
    state = await stream.state()
    assert state is not None
    jetstream = (await nats_server.connect()).jetstream()
    await jetstream.delete_stream(EPOCH_STREAM)
    await jetstream.add_stream(replace(state.config, deny_purge=False))


async def test_a_purged_stream_is_filled_again_though_it_remembers_the_ids(database, stream, nats_server):
    await open_stream_without_protection(nats_server, stream)
    of = preparer(database)
    stored = await published(of, stream, 3)
    hearer = await nats_server.hearer()
    await purge(nats_server, stream)
    side = publisher(database, stream)
    await side.open()
    ids = [one.epoch_id for one in stored]
    assert [epoch_id for epoch_id, _ in await held(stream)] == ids
    # The sequence numbers are new, and the database gets them.
    sequences = [row[12] for row in (await snapshot(database))["epochs"]]
    assert sequences == [sequence for _, sequence in await held(stream)]
    following = await of.prepare(CALENDAR.after(stored[-1].interval))
    await side.publish(following)
    await wait_until(lambda: hearer.heard)
    assert hearer.epoch_ids == [following.epoch_id]


async def test_a_stream_restored_from_an_older_copy_gets_what_it_lacks(database, stream, nats_server):
    of = preparer(database)
    stored = await published(of, stream, 4)
    before = await held(stream)
    older = [(await stream.at(sequence)).envelope for _, sequence in before[:2]]
    await nats_server.lose_everything()
    await stream.create_closed(1)
    state = await stream.state()
    assert state is not None
    await stream.open(state)
    first = await stream.publish(older[0], after=None)
    await stream.publish(older[1], after=first)
    hearer: Hearer = await nats_server.hearer()
    await publisher(database, stream).open()
    assert await held(stream) == before
    assert hearer.heard == []
    assert stored[-1].epoch_id == before[-1][0]


async def test_nothing_new_is_swallowed_by_a_stream_that_is_being_filled(database, stream, nats_server):
    of = preparer(database)
    stored = await published(of, stream, 2)
    late = publisher(database, stream)
    await late.open()
    following = await of.prepare(CALENDAR.after(stored[-1].interval))
    hearer = await nats_server.hearer()
    state = await stream.state()
    assert state is not None
    await stream.close(state)
    (refused,) = await asyncio.gather(late.publish(following), return_exceptions=True)
    assert type(refused).__name__ == "NoStreamResponseError"
    await late.open()
    await late.publish(following)
    await wait_until(lambda: hearer.heard)
    assert hearer.epoch_ids == [following.epoch_id]


async def test_a_gap_between_two_epochs_is_told_and_leaves_the_record_as_it_is(
    database, stream, nats_server, capsys
):
    of = preparer(database)
    stored = await published(of, stream, 3)
    jetstream = (await nats_server.connect()).jetstream()
    await nats_server.lose_everything()
    await Rebuild(database, stream).stream.create_closed(1)
    state = await stream.state()
    assert state is not None
    await stream.open(state)
    first = await stream.publish(stored[0].envelope, after=None)
    await stream.publish(stored[2].envelope, after=first)
    before = await snapshot(database)
    await publisher(database, stream).open()
    assert "stream_lacks_epochs" in capsys.readouterr().out
    assert [row[0] for row in (await snapshot(database))["epochs"]] == [row[0] for row in before["epochs"]]
    assert set((await statuses(database)).values()) == {"active"}
    assert (await jetstream.get_last_msg(EPOCH_STREAM, EPOCH_INGEST)).seq == 2
