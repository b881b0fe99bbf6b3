"""Tests schedulers whose machines' clocks differ by hours, with one PostgreSQL and one nats-server."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.epochs.loop import EpochEngine
from schedulers.epochs.preparation import Preparer
from schedulers.epochs.start_gate import StartGate
from schedulers.stream.epoch_stream import EpochStream
from schedulers.stream.publisher import Publisher
from service.lifecycle import end
from tests.support.plain_nats import PlainNats
from tests.support.processes import wait_until
from tests.support.record_and_stream import held
from tests.support.scheduling import FIRST, SIGNER, TRUST, ReadyBeacon
from zipcast.clock import SystemClock
from zipcast.protocol.calendar import EpochCalendar
from zipcast.selection.model import SelectionSettings

pytestmark = pytest.mark.long
CALENDAR = EpochCalendar(3)


class SkewedClock(SystemClock):
    def __init__(self, skew: timedelta) -> None:
        self._skew = skew

    def now(self) -> datetime:
        return super().now() + self._skew


@pytest_asyncio.fixture(loop_scope="session")
async def nats_server(tmp_path):
    """Run a server for each test, because their epochs have the same ids."""
    async with PlainNats.running(tmp_path / "nats") as server:
        yield server


@asynccontextmanager
async def replicas(database: AsyncEngine, nats_server: PlainNats, *skews: timedelta):
    """Run schedulers whose clocks are wrong by these times. Yield the stream that they write."""
    connection = await nats_server.connect()
    stream, tasks = EpochStream(connection.jetstream(timeout=2)), []
    for skew in skews:
        clock = SkewedClock(skew)
        of = Preparer(
            database,
            "local",
            46,
            CALENDAR,
            SelectionSettings(cooldown=timedelta(0)),
            FIRST,
            SIGNER,
            beacon=ReadyBeacon(database),
        )
        publisher = Publisher(of, EpochStream(connection.jetstream(timeout=2)), TRUST)
        engine = EpochEngine(of, publisher, StartGate(database, clock), clock)
        tasks.append(asyncio.create_task(engine.run()))
    try:
        yield stream
    finally:
        await end(tasks)


async def lateness(stream: EpochStream) -> list[timedelta]:
    """Return the lateness of each epoch, oldest first."""
    late = []
    for _, sequence in await held(stream):
        recorded = await stream.at(sequence)
        late.append(recorded.stored_at - CALENDAR.starting(recorded.epoch_id).start_at)
    return late


async def test_one_good_clock_among_wrong_ones_is_enough_and_nothing_is_early(database, nats_server):
    hearer = await nats_server.hearer()
    hours = timedelta(hours=3)
    async with replicas(database, nats_server, timedelta(0), hours, -hours) as stream:
        await wait_until(lambda: len(hearer.heard) >= 5)
        late = await lateness(stream)
    ids = hearer.epoch_ids
    assert ids == sorted(set(ids))
    first = CALENDAR.starting(ids[0])
    assert ids == [CALENDAR.at(first.start_at + n * timedelta(seconds=3)).epoch_id for n in range(len(ids))]
    assert min(late) >= timedelta(0)


@pytest.mark.parametrize("skew", [timedelta(milliseconds=300), timedelta(hours=3)])
async def test_a_replica_that_is_ahead_and_alone_is_late_never_early_and_alarms(
    database, nats_server, capsys, skew: timedelta
):
    hearer = await nats_server.hearer()
    async with replicas(database, nats_server, skew) as stream:
        await wait_until(lambda: len(hearer.heard) >= 3)
        late = await lateness(stream)
    assert min(late) >= timedelta(0)
    # An epoch that was due before the scheduler looked is published at once. An epoch that it waited for
    # comes two seconds after the start.
    assert max(late) >= timedelta(seconds=2)
    assert "clock_offset" in capsys.readouterr().out


async def test_a_replica_that_is_hours_behind_publishes_nothing_that_has_ended(database, nats_server):
    hearer = await nats_server.hearer()
    began_at = datetime.now(UTC)
    async with replicas(database, nats_server, timedelta(hours=-3)):
        await wait_until(lambda: datetime.now(UTC) - began_at > timedelta(seconds=7))
    assert hearer.heard == []
