"""A year of four-hour epochs through the real scheduler, PostgreSQL and nats-server, in a minute."""

import csv
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import select

from devstack.data import SAMPLE_ZIPCODES
from schedulers.engine import EpochEngine
from schedulers.prepare import Preparer
from schedulers.publisher import Publisher
from schedulers.stream import EpochStream
from schedulers.timing import StartGate
from storage import epochs
from storage.database import open_engine
from storage.tables import Epoch
from storage.zipcode_import import import_zipcodes
from tests.integration.plain_nats import PlainNats
from tests.integration.scheduling import FIRST, SIGNER, TRUST, statuses
from tests.integration.simulated_time import SimulatedClock
from zipcast.calendar import EpochCalendar
from zipcast.selection import SelectionSettings
from zipcast.verification import Evidence, verify_epochs

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
CALENDAR = EpochCalendar(4 * 3600)
# With a 29th of February, and with every change of local time that there is.
BEGIN = datetime(2023, 11, 22, tzinfo=UTC)
YEAR = timedelta(days=365)
EPOCHS = 2190
SETTINGS = SelectionSettings(target_listings=3000, tolerance_percent=10)


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    """Every tenth zipcode of the sample."""
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
        """As an operator does: data of more than 30 days is not selected from."""
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
    of = Preparer(database, "local", 46, CALENDAR, SETTINGS, FIRST, SIGNER)
    publisher = Publisher(of, EpochStream(connection.jetstream(timeout=2)), TRUST)
    return EpochEngine(of, publisher, StartGate(database, clock), clock)


async def chain_faults(database) -> list[str]:
    """Of every epoch of the record: signature, seed, nonce, chain of commitments."""
    async with database.connect() as connection:
        rows = (await connection.execute(select(Epoch.epoch_id, Epoch.seed))).all()
        evidence = []
        for epoch_id, seed in rows:
            stored = await epochs.prepared_epoch(connection, epoch_id)
            evidence.append(Evidence(epoch_id, None if stored is None else stored.envelope, seed))
    return [fault for finding in verify_epochs(evidence, TRUST) for fault in finding.faults]


async def test_every_epoch_of_a_year_is_prepared_published_and_completed_in_its_turn(
    database, clock, nats_server
):
    engine = await engine_on(database, clock, nats_server)
    hearer = await nats_server.hearer()
    await clock.run(engine.run(), BEGIN + YEAR)
    found = await statuses(database)
    demanded, interval = [], CALENDAR.at(BEGIN)
    while interval.start_at < BEGIN + YEAR:
        demanded.append(interval.epoch_id)
        interval = CALENDAR.after(interval)
    assert len(demanded) == EPOCHS
    assert [found.get(epoch_id) for epoch_id in demanded[:-1]] == ["completed"] * (EPOCHS - 1)
    assert hearer.epoch_ids[:EPOCHS] == demanded
    assert [after - before for (_, before), (_, after) in pairwise(hearer.heard)] == [1] * (
        len(hearer.heard) - 1
    )
    assert engine.failures == 0
    assert await chain_faults(database) == []
