"""Runs a scheduler's parts on real servers, step by step."""

import asyncio
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from devstack.beacon_relay import stand_in_signature
from devstack.first_data import SAMPLE_ZIPCODES
from devstack.servers import Servers
from schedulers.epochs.beacon import NoBeacon
from schedulers.epochs.drafts import DraftedEpoch
from schedulers.epochs.preparation import Preparer
from schedulers.epochs.seed_secrets import Secrets
from schedulers.stream.epoch_stream import EpochStream
from schedulers.stream.publisher import Publisher
from service import nats_connection
from service.lifecycle import Lifecycle
from storage.database import pending_epochs
from storage.database.beacon_rounds import store_round
from storage.database.engine import open_engine
from storage.database.tables import Epoch
from storage.zipcode_files.importing import import_zipcodes
from zipcast.protocol.beacon import LOCAL_CHAIN, BeaconRound
from zipcast.protocol.calendar import EpochCalendar, EpochInterval
from zipcast.protocol.envelope import Trust
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.messages.epochs import Proof
from zipcast.selection.model import SelectionSettings

CALENDAR = EpochCalendar(3600)
MAX_TEST = timedelta(minutes=5)  # pytest ends a test after this time
NEAR_THE_END = timedelta(minutes=2)
SIGNER = Keypair.create_from_uri("//Signer")
TRUST = Trust(frozenset({parse_hotkey(SIGNER.ss58_address)}), "local", 46)
FIRST = Secrets("1", {"1": b"a" * 32})
ROTATED = Secrets("2", {"1": b"a" * 32, "2": b"b" * 32})


async def running_epoch(calendar: EpochCalendar = CALENDAR) -> EpochInterval:
    """Return the running epoch. If it ends soon, so that it could not be drafted and drawn in time, wait for
    the next one."""
    interval = calendar.at(datetime.now(UTC))
    if interval.end_at - datetime.now(UTC) > NEAR_THE_END:
        return interval
    await asyncio.sleep((interval.end_at - datetime.now(UTC)).total_seconds())
    return calendar.after(interval)


def upcoming(count: int) -> list[EpochInterval]:
    """Return the next epochs, except one that would start while a slow test still works on it."""
    interval, found = CALENDAR.at(datetime.now(UTC) + MAX_TEST), []
    for _ in range(count):
        interval = CALENDAR.after(interval)
        found.append(interval)
    return found


@dataclass(frozen=True, slots=True)
class ReadyBeacon(NoBeacon):
    """Has every round of the local beacon at once, and reports drafts as sent without sending them."""

    database: AsyncEngine

    async def obtain(self, round_number: int, until: datetime) -> None:
        async with self.database.begin() as connection:
            signature = bytes.fromhex(stand_in_signature(round_number))
            await store_round(connection, LOCAL_CHAIN.name, round_number, signature)

    async def pause(self) -> None:
        await asyncio.sleep(0)

    async def send(self, draft: Proof) -> bool:
        return True


def preparer(database: AsyncEngine, secrets: Secrets = FIRST, **settings: int) -> Preparer:
    return Preparer(
        database,
        "local",
        46,
        CALENDAR,
        SelectionSettings(**settings),
        secrets,
        SIGNER,  # type: ignore[arg-type]
        beacon=ReadyBeacon(database),
    )


async def database_with_sample(url: str) -> AsyncEngine:
    """Return a database with every fifth zipcode of the sample. That is enough for days of epochs, and the
    import is fast."""
    database = open_engine(url, application_name="test")
    header, *rows = SAMPLE_ZIPCODES.read_text().splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "zipcodes.csv"
        part.write_text(header + "".join(rows[::5]))
        await import_zipcodes(database, part, now=datetime.now(UTC))
    return database


async def completed_epochs(database: AsyncEngine, of: Preparer, first: datetime, count: int) -> list[str]:
    """Make epochs of the past, signed, published and completed as they would have been then. Return their
    ids."""
    interval, ids = CALENDAR.at(first), []
    for _ in range(count):
        async with database.begin() as connection:
            drafted = await of.drafter.commit(connection, interval)
            prepared = await of.build(connection, drafted, beacon_of(drafted))
            await pending_epochs.insert_prepared(connection, prepared)
            await pending_epochs.open_epoch(connection, interval.epoch_id)
            done = {"status": "completed", "published_at": interval.start_at, "completed_at": interval.end_at}
            await connection.execute(update(Epoch).where(Epoch.epoch_id == interval.epoch_id).values(done))
        ids.append(interval.epoch_id)
        interval = CALENDAR.after(interval)
    return ids


def beacon_of(drafted: DraftedEpoch) -> BeaconRound:
    """Return the epoch's round of the local beacon."""
    number = drafted.inputs.beacon.draw_round
    return BeaconRound(LOCAL_CHAIN.name, number, bytes.fromhex(stand_in_signature(number)), False)


@dataclass
class StreamSide:
    """The publisher's view of NATS, as the service user `schedulers`."""

    stream: EpochStream
    publisher: Publisher

    @classmethod
    async def connect(cls, servers: Servers, database: AsyncEngine) -> "StreamSide":
        seed = SecretStr(servers.keys["schedulers"]["SCHEDULERS_NATS_SEED"])
        life = Lifecycle(None)
        connection = await nats_connection.connect(servers.nats_url, user="schedulers", seed=seed, life=life)
        life.stop()
        stream = EpochStream(connection.jetstream(timeout=2))
        return cls(stream, Publisher(preparer(database), stream, TRUST))

    async def close(self) -> None:
        await self.stream._jetstream._nc.close()


async def statuses(database: AsyncEngine) -> dict[str, str]:
    """Return the status of every epoch. An epoch that is not opened yet is also `pending`."""
    async with database.connect() as connection:
        unopened = await pending_epochs.pending_intervals(connection)
        rows = await connection.execute(select(Epoch.epoch_id, Epoch.status))
        return {interval.epoch_id: "pending" for interval in unopened} | dict(rows.all())


async def open_all(database: AsyncEngine) -> None:
    """Open every prepared epoch as if it had started. The caller must move the epochs into the past."""
    async with database.begin() as connection:
        for interval in await pending_epochs.pending_intervals(connection):
            await pending_epochs.open_epoch(connection, interval.epoch_id)
