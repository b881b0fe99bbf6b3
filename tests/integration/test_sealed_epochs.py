"""Tests that schedulers agree on one sealed epoch, whatever their databases contain."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime

import nats.errors
import pytest
import pytest_asyncio

from devstack.beacon_relay import stand_in_signature
from schedulers.epochs.loop import EpochEngine
from schedulers.epochs.missed import record_missed
from schedulers.epochs.preparation import Preparer, SealedEpochLostError
from schedulers.epochs.start_gate import StartGate
from schedulers.stream.epoch_stream import EpochStream
from schedulers.stream.publisher import Publisher
from schedulers.stream.sealed_stream import SealedStream
from storage.database import pending_epochs
from storage.database.engine import open_engine
from storage.database.epochs import StoredEpoch
from tests.support.plain_nats import PlainNats
from tests.support.scheduling import (
    TRUST,
    ReadyBeacon,
    beacon_of,
    completed_epochs,
    database_with_sample,
    preparer,
    running_epoch,
    statuses,
    upcoming,
)
from zipcast.clock import SystemClock
from zipcast.protocol.envelope import UnverifiedEnvelope, verify
from zipcast.protocol.messages.epochs import Proof
from zipcast.protocol.sealing import SealedEpoch, open_sealed, verify_sealed
from zipcast.protocol.subjects import SEALED


@dataclass(frozen=True, slots=True)
class SealingBeacon(ReadyBeacon):
    """Has every round at once, and sends sealed epochs over real NATS."""

    stream: SealedStream
    reaches_relays: bool = field(default=True)

    async def sealed(self, epoch_id: str) -> SealedEpoch | None:
        return await self.stream.held(epoch_id)

    async def send_sealed(self, epoch_id: str, own: Proof) -> SealedEpoch | None:
        return await self.stream.send(epoch_id, own)

    async def opened(self, sealed: SealedEpoch, until: datetime) -> UnverifiedEnvelope | None:
        if not self.reaches_relays:
            return None
        return open_sealed(sealed, stand_in_signature(sealed.round_number), TRUST).envelope


@pytest_asyncio.fixture(loop_scope="session")
async def seals(nats_server: PlainNats) -> SealedStream:
    """Return an empty stream."""
    await nats_server.lose_everything()
    return SealedStream((await nats_server.connect()).jetstream(timeout=2), TRUST)


@pytest_asyncio.fixture(loop_scope="session")
async def older_database(servers) -> AsyncIterator[object]:
    """A database like one that was restored from a backup before the draw: it lacks the epochs of the other
    database."""
    url = await servers.fresh_database()
    database = await database_with_sample(url)
    yield database
    await database.dispose()
    await servers.drop_database(url)


def sealing(database, seals: SealedStream, **changes: object) -> Preparer:
    return replace(preparer(database), beacon=SealingBeacon(database, seals, **changes))  # type: ignore[arg-type]


def opened(sealed: SealedEpoch | None) -> UnverifiedEnvelope:
    assert sealed is not None
    return open_sealed(sealed, stand_in_signature(sealed.round_number), TRUST).envelope


async def test_an_epoch_is_sent_sealed_as_soon_as_it_is_drawn(database, seals, nats_server):
    (interval,) = upcoming(1)
    listener = await nats_server.connect()
    subscription = await listener.subscribe(SEALED)
    await listener.flush()
    stored = await sealing(database, seals).prepare(interval)
    sealed = verify_sealed((await subscription.next_msg(5)).data, TRUST)
    assert opened(sealed) == stored.envelope
    assert opened(await seals.held(interval.epoch_id)) == stored.envelope
    await sealing(database, seals).prepare(interval)  # nothing is sent again
    with pytest.raises(nats.errors.TimeoutError):
        await subscription.next_msg(0.2)
    await listener.close()


async def test_what_is_stored_is_sent_by_another_scheduler_if_the_first_died_before(database, seals):
    (interval,) = upcoming(1)
    stored = await preparer(database).prepare(interval)
    assert await seals.held(interval.epoch_id) is None
    again = await sealing(database, seals).prepare(interval)
    assert again.envelope == stored.envelope == opened(await seals.held(interval.epoch_id))


async def test_a_database_from_before_the_draw_publishes_what_was_sealed(database, older_database, seals):
    (interval,) = upcoming(1)
    first = await sealing(database, seals).prepare(interval)
    second = await sealing(older_database, seals).prepare(interval)
    assert second.envelope == first.envelope
    assert (await statuses(older_database)).get(interval.epoch_id) is None


async def test_of_two_different_sealed_epochs_the_first_counts_and_the_other_is_discarded(
    database, older_database, seals
):
    (interval,) = upcoming(1)
    first = await sealing(database, seals).prepare(interval)
    other = await preparer(older_database).prepare(interval)  # it was drawn while NATS was away
    assert other.envelope != first.envelope
    second = await sealing(older_database, seals).prepare(interval)
    assert second.envelope == first.envelope
    async with older_database.connect() as connection:
        assert await pending_epochs.pending_epoch(connection, interval.epoch_id) is None


async def test_a_sealed_epoch_that_no_relay_opens_is_not_drawn_again(database, older_database, seals):
    (interval,) = upcoming(1)
    await sealing(database, seals).prepare(interval)
    with pytest.raises(SealedEpochLostError):
        await sealing(older_database, seals, reaches_relays=False).prepare(interval)


async def test_two_schedulers_at_once_send_one_sealed_epoch(database, database_url, seals):
    (interval,) = upcoming(1)
    replica = open_engine(database_url, application_name="replica")
    both = await asyncio.gather(
        *(sealing(one, seals).prepare(interval) for one in (database, replica, database))
    )
    assert {one.envelope for one in both} == {opened(await seals.held(interval.epoch_id))}
    await replica.dispose()


async def test_a_late_epoch_is_sealed_too_and_its_message_is_unchanged(database, seals):
    running = await running_epoch()
    stored: StoredEpoch = await sealing(database, seals).prepare(running)
    assert verify(stored.envelope, TRUST).message.epoch_id == running.epoch_id
    assert opened(await seals.held(running.epoch_id)) == stored.envelope


@pytest.mark.parametrize("is_running", [False, True], ids=["ended", "running"])
async def test_a_sealed_epoch_that_the_database_lost_is_published_and_not_missed(
    database, seals, nats_server, is_running: bool
):
    """This happens after a backup was restored: the database has the previous epoch, and lacks the sealed
    one."""
    of = sealing(database, seals)
    running = await running_epoch()
    lost = running if is_running else of.calendar.before(running)
    await completed_epochs(database, of, of.calendar.before(lost).start_at, 1)
    async with database.connect() as connection:  # nothing of this is committed
        drafted = await of.drafter.commit(connection, lost)
        built = await of.build(connection, drafted, beacon_of(drafted))
    assert built.sealed is not None
    assert await seals.held(lost.epoch_id) is None
    await seals.send(lost.epoch_id, built.sealed)
    stream = EpochStream((await nats_server.connect()).jetstream(timeout=2))
    publisher = Publisher(of, stream, TRUST)
    engine = EpochEngine(of, publisher, StartGate(database, SystemClock()), SystemClock())
    assert await engine.catch_up() == of.calendar.after(running)
    recorded = await stream.last()
    assert recorded is not None
    if not is_running:
        recorded = await stream.before(recorded.sequence)
    assert recorded is not None
    assert recorded.envelope == built.envelope
    assert (await statuses(database))[lost.epoch_id] == ("active" if is_running else "completed")
    assert await record_missed(database, of, running) == 0
