"""Tests simulated weeks of four-hour epochs with the real scheduler, PostgreSQL and nats-server, in seconds.

tests/unit/schedulers/test_year.py simulates a year of everything that needs no server.
"""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import select

from devstack.first_data import SAMPLE_ZIPCODES
from schedulers.epochs.loop import EpochEngine
from schedulers.epochs.preparation import Preparer
from schedulers.epochs.start_gate import StartGate
from schedulers.stream.epoch_stream import EpochStream
from schedulers.stream.publisher import Publisher
from storage.database import epochs
from storage.database.data_age import read_data_now
from storage.database.engine import open_engine
from storage.database.epochs import StoredEpoch
from storage.database.tables import Epoch
from storage.zipcode_files.importing import import_zipcodes
from tests.support.plain_nats import PlainNats
from tests.support.scheduling import FIRST, SIGNER, TRUST, ReadyBeacon, statuses
from tests.support.simulated_time import SimulatedClock
from zipcast.protocol.calendar import EpochCalendar
from zipcast.selection.model import SelectionSettings
from zipcast.verification.epochs import Evidence, verify_epochs

pytestmark = pytest.mark.long
CALENDAR = EpochCalendar(4 * 3600)
# These weeks have a 29th of February, and the change to summer time in America.
BEGIN = datetime(2024, 2, 20, tzinfo=UTC)
MONTH = timedelta(days=30)
EPOCHS = 180
SETTINGS = SelectionSettings(target_listings=3000, tolerance_percent=10)


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    """Return every tenth zipcode of the sample."""
    path = tmp_path_factory.mktemp("pool") / "zipcodes.csv"
    with SAMPLE_ZIPCODES.open() as sample, path.open("w") as out:
        head, *rows = csv.reader(sample)
        csv.writer(out).writerows([head, *rows[::10]])
    return path


@pytest_asyncio.fixture(loop_scope="session")
async def nats_server(tmp_path):
    async with PlainNats.running(tmp_path / "nats") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def clock(database_url: str, pool: Path):
    clock = SimulatedClock(BEGIN)
    database = open_engine(database_url, application_name="test")

    async def refresh(now: datetime) -> None:
        """Import the data again, as an operator does, because data older than 30 days is not selected."""
        await import_zipcodes(database, pool, now=now)

    await refresh(BEGIN)
    clock.each(timedelta(days=20), refresh)
    yield clock
    await database.dispose()


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str, clock: SimulatedClock):
    database = open_engine(database_url, application_name="test")
    clock.rule(database)
    yield database
    await database.dispose()


async def engine_on(database, clock, nats_server) -> EpochEngine:
    connection = await nats_server.connect()
    of = Preparer(database, "local", 46, CALENDAR, SETTINGS, FIRST, SIGNER, beacon=ReadyBeacon(database))
    publisher = Publisher(of, EpochStream(connection.jetstream(timeout=2)), TRUST)
    return EpochEngine(of, publisher, StartGate(database, clock), clock)


async def chain_faults(database) -> list[str]:
    """Return the faults of all epochs of the database: signature, seed, nonce and chain of commitments."""
    async with database.connect() as connection:
        rows = (await connection.execute(select(Epoch.epoch_id, Epoch.seed))).all()
        evidence = []
        for epoch_id, seed in rows:
            stored = await epochs.prepared_epoch(connection, epoch_id)
            evidence.append(Evidence(epoch_id, None if stored is None else stored.envelope, seed))
    return [fault for finding in verify_epochs(evidence, TRUST) for fault in finding.faults]


def demanded(until: datetime) -> list[str]:
    found, interval = [], CALENDAR.at(BEGIN)
    while interval.start_at < until:
        found.append(interval.epoch_id)
        interval = CALENDAR.after(interval)
    return found


async def test_every_epoch_of_a_month_is_prepared_published_and_completed_in_its_turn(
    database, clock, nats_server
):
    engine = await engine_on(database, clock, nats_server)
    hearer = await nats_server.hearer()
    await clock.run(engine.run(), BEGIN + MONTH)
    ids, found = demanded(BEGIN + MONTH), await statuses(database)
    assert len(ids) == EPOCHS
    assert [found[epoch_id] for epoch_id in ids[:-1]] == ["completed"] * (EPOCHS - 1)
    assert hearer.epoch_ids[:EPOCHS] == ids
    sequences = [sequence for _, sequence in hearer.heard]
    assert sequences == list(range(1, len(sequences) + 1))
    assert engine.failures == 0
    assert await chain_faults(database) == []


@pytest.mark.timeout(1200)
async def test_sixty_days_without_an_import_miss_no_epoch_and_it_is_said_before(
    database, clock, nats_server, pool
):
    """The data is fresh for 30 days. Health warns from day 23 on, and epochs say it from day 30 on."""
    clock.stop_duties()
    engine = await engine_on(database, clock, nats_server)
    told: dict[int, str | None] = {}

    async def look(now: datetime) -> None:
        async with database.connect() as connection:
            found = await read_data_now(connection)
        assert found is not None
        told[(now - BEGIN).days] = found.fault()

    clock.each(timedelta(days=1), look)
    for days in range(10, 61, 10):
        await clock.run(engine.run(), BEGIN + timedelta(days=days))
    ids, found = demanded(BEGIN + 2 * MONTH), await statuses(database)
    assert len(ids) == 2 * EPOCHS
    assert [found[epoch_id] for epoch_id in ids[:-1]] == ["completed"] * (2 * EPOCHS - 1)
    assert engine.failures == 0
    assert await chain_faults(database) == []
    assert len(told) > 50
    for day, fault in told.items():
        if day < 22:
            assert fault is None, (day, fault)
        elif 23 < day < 29:
            assert "more hours" in str(fault), (day, fault)
        elif day > 31:
            assert "older than the limit" in str(fault), (day, fault)
    async with database.connect() as connection:
        rows = await connection.execute(select(Epoch.relaxed_age_days).order_by(Epoch.start_at))
        relaxed = list(rows.scalars())
    assert set(relaxed[: EPOCHS - 1]) == {0}
    assert min(relaxed[EPOCHS + 1 :]) >= 1
    assert max(relaxed) == 30


async def test_what_passed_while_the_machine_was_suspended_is_missed_and_what_was_prepared_is_late(
    database, clock, nats_server
):
    engine = await engine_on(database, clock, nats_server)
    hearer = await nats_server.hearer()
    await clock.run(engine.run(), BEGIN + timedelta(hours=23, minutes=58))
    prepared = CALENDAR.at(BEGIN + timedelta(hours=24))
    assert (await statuses(database))[prepared.epoch_id] == "pending"
    clock.wall += timedelta(hours=11)  # longer than the prepared epoch and the next one, until the third
    again = await engine_on(database, clock, nats_server)
    await clock.run(again.run(), BEGIN + timedelta(days=2))
    skipped = CALENDAR.after(prepared)
    found = await statuses(database)
    assert found[prepared.epoch_id] == "completed"
    assert [epoch_id for epoch_id, status in found.items() if status == "missed"] == [skipped.epoch_id]
    expected = [epoch_id for epoch_id in demanded(BEGIN + timedelta(days=2)) if epoch_id != skipped.epoch_id]
    assert hearer.epoch_ids[: len(expected)] == expected
    assert await chain_faults(database) == []


@pytest.mark.parametrize("hours", [3, -3])
async def test_a_machine_whose_clock_is_set_wrong_publishes_nothing_early_and_nothing_twice(
    database, clock, nats_server, hours: int
):
    engine = await engine_on(database, clock, nats_server)
    hearer = await nats_server.hearer()
    await clock.run(engine.run(), BEGIN + timedelta(hours=25))
    clock.wall += timedelta(hours=hours)
    clock.lag -= timedelta(hours=hours)
    told_at: list[tuple[str, datetime]] = []
    await clock.run(noting(engine, clock, told_at), BEGIN + timedelta(days=2))
    assert hearer.epoch_ids == sorted(set(hearer.epoch_ids))
    assert len(told_at) >= 4
    for epoch_id, at in told_at:
        assert at >= CALENDAR.starting(epoch_id).start_at
    assert await chain_faults(database) == []


async def noting(engine: EpochEngine, clock: SimulatedClock, told_at: list[tuple[str, datetime]]) -> None:
    """Run on, and note PostgreSQL's time whenever something was published."""
    publish = engine.publisher.publish

    async def noted(stored: StoredEpoch) -> None:
        told_at.append((stored.epoch_id, clock.wall + clock.lag))
        await publish(stored)

    engine.publisher.publish = noted  # type: ignore[method-assign]
    await engine.run()
