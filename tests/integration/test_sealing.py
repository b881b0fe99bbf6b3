"""Tests that the manifest of an ended epoch is written once and completely, with what was uploaded in time.
Uses real servers and the responder's rights."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
import pytest_asyncio
from botocore.config import Config
from prometheus_client import CollectorRegistry
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from broker_service.responder import legacy_uploads, manifest_freezing
from broker_service.responder.manifest_freezing import Sealer
from broker_service.responder.metrics import ResponderMetrics
from devstack.logins import login_url
from devstack.servers import Servers
from devstack.state import State
from storage.database import manifests
from storage.database.engine import open_engine
from storage.database.tables import Epoch, UploadManifest
from storage.objects.credential_policies import Folder, Listing, Scope
from storage.objects.store import (
    Marker,
    ObjectStore,
    ObjectStoreConfig,
    ObjectStoreUnavailableError,
    ObjectVersion,
    VersionPage,
)
from tests.support.fakes import MINER_HOTKEY, STRANGER_HOTKEY
from tests.support.operator_view import until
from tests.support.processes import wait_until
from tests.support.store_settings import config
from zipcast.clock import Clock, SystemClock
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.hotkeys import Keypair

VERSIONS = 4
INSTANTLY = timedelta(0)


class SmallPages(ObjectStore):
    """The real store with pages of three versions, so that the versions of one key are on several pages."""

    async def list_versions(self, scope: Scope, after: Marker | None, page_size: int = 3) -> VersionPage:
        return await super().list_versions(scope, after, page_size)


class FailingStore(SmallPages):
    """Fails after it has listed one miner."""

    listed = 0

    async def list_versions(self, scope: Scope, after: Marker | None, page_size: int = 3) -> VersionPage:
        self.listed += 1
        if self.listed > 1:
            raise ObjectStoreUnavailableError("TimeoutError")
        return await super().list_versions(scope, after, page_size)


class FailingFor(SmallPages):
    """Fails for all uploads of one epoch."""

    def __init__(self, config: ObjectStoreConfig, epoch_id: str) -> None:
        super().__init__(config)
        self.epoch_id = epoch_id

    async def list_versions(self, scope: Scope, after: Marker | None, page_size: int = 3) -> VersionPage:
        if self.epoch_id in scope.prefix:
            raise ObjectStoreUnavailableError("TimeoutError")
        return await super().list_versions(scope, after, page_size)


class FailingBelow(SmallPages):
    """Fails for one miner's listings of these prefixes, `times` times. If `folders` is set, it also fails for
    listings of folders after that many."""

    def __init__(self, config: ObjectStoreConfig, prefixes: tuple[str, ...], times: int = 1_000) -> None:
        super().__init__(config)
        self.prefixes, self.times, self.folders = prefixes, times, 1_000_000

    async def list_versions(self, scope: Scope, after: Marker | None, page_size: int = 3) -> VersionPage:
        if scope.prefix in self.prefixes and self.times > 0:
            self.times -= 1
            raise ObjectStoreUnavailableError("TimeoutError")
        return await super().list_versions(scope, after, page_size)

    async def list_folders(
        self, listing: Listing | Folder, after: str | None
    ) -> tuple[list[str], str | None]:
        if listing.prefix == "data/":
            self.folders -= 1
        if self.folders < 0:
            raise ObjectStoreUnavailableError("TimeoutError")
        return await super().list_folders(listing, after)


class HurriedClock(SystemClock):
    """A clock whose sleeps take only this part of their time."""

    def __init__(self, part: float = 0) -> None:
        self._part = part

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._part)


class Lines:
    """Replaces the log."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def warning(self, action: str, **fields: object) -> None:
        self.told.append((action, fields.get("hotkey")))

    info = warning


class CrowdedStore(ObjectStore):
    """A store in which each of 24 miners seems to have uploaded 10,000 files. Uploading them would take
    longer than all other tests."""

    async def list_versions(self, scope: Scope, after: Marker | None, page_size: int = 1_000) -> VersionPage:
        if scope.prefix.count("hotkey=") > 1 or "/epoch=" not in scope.prefix:
            return VersionPage((), None)
        at = datetime.now(UTC) - timedelta(minutes=5)
        versions = [
            ObjectVersion(f"{scope.prefix}{n:05d}.json", f"v{n}", 1024, "e", at) for n in range(10_000)
        ]
        return VersionPage(tuple(versions), None)

    async def list_folders(self, listing: Listing, after: str | None) -> tuple[list[str], str | None]:
        if listing.prefix.endswith("epoch="):
            return [], None
        return [f"data/hotkey={Keypair.create_from_uri(f'//{n}').ss58_address}/" for n in range(24)], None


@pytest_asyncio.fixture(loop_scope="session")
async def store(servers: Servers) -> AsyncIterator[SmallPages]:
    store = SmallPages(config(servers))
    yield store
    store.close()


@pytest_asyncio.fixture(loop_scope="session")
async def database(servers: Servers, database_url: str) -> AsyncIterator[AsyncEngine]:
    """Return the database with the responder's login."""
    engine = open_engine(login_url(servers.state, database_url, "responder"), application_name="test")
    yield engine
    await engine.dispose()


def sealer(
    servers: Servers,
    store: ObjectStore,
    database: AsyncEngine,
    settle: timedelta = INSTANTLY,
    clock: Clock | None = None,
) -> Sealer:
    metrics, bucket = ResponderMetrics(CollectorRegistry()), servers.s3_environment["S3_BUCKET"]
    return Sealer(store, database, clock or HurriedClock(), bucket, settle, metrics)


async def an_epoch(
    database_url: str, *, ends_in: timedelta, starts_in: timedelta = timedelta(minutes=-1)
) -> EpochInterval:
    """Return an epoch of its own length."""
    now = datetime.now(UTC).replace(microsecond=0)
    interval = EpochInterval(now + starts_in, now + ends_in)
    owner = open_engine(database_url, application_name="test")
    row = {
        "epoch_id": interval.epoch_id,
        "start_at": interval.start_at,
        "end_at": interval.end_at,
        "status": "active",
        "seed_commitment": "00" * 32,
        "secret_id": "1",
        "message_sha256": "00" * 32,
        "prepared_at": now,
        "published_at": now,
    }
    async with owner.begin() as connection:
        await connection.execute(insert(Epoch), row)
    await owner.dispose()
    return interval


async def upload(servers: Servers, hotkey: str, epoch_id: str, name: str, body: bytes) -> tuple[str, str]:
    return await put(servers, f"data/hotkey={hotkey}/epoch={epoch_id}/{name}", body)


async def put(servers: Servers, key: str, body: bytes) -> tuple[str, str]:
    """Write an object, and return its key and the id of its version."""
    bucket = servers.s3_environment["S3_BUCKET"]
    stored = await asyncio.to_thread(client(servers).put_object, Bucket=bucket, Key=key, Body=body)
    return key, stored["VersionId"]


def client(servers: Servers) -> Any:
    environment = servers.s3_environment
    return boto3.client(
        "s3",
        endpoint_url=environment["S3_ENDPOINT_URL"],
        region_name=environment["S3_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )


async def manifest(database: AsyncEngine, epoch_id: str) -> list[Any]:
    columns = UploadManifest.hotkey, UploadManifest.object_key, UploadManifest.version_id
    query = select(*columns, UploadManifest.size_bytes).where(UploadManifest.epoch_id == epoch_id)
    async with database.connect() as connection:
        return list((await connection.execute(query.order_by(UploadManifest.object_key))).all())


async def its_end(database_url: str, interval: EpochInterval) -> EpochInterval:
    """End the epoch now, so that earlier uploads are in time on any machine."""
    end_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    owner = open_engine(database_url, application_name="test")
    async with owner.begin() as connection:
        await connection.execute(
            update(Epoch).where(Epoch.epoch_id == interval.epoch_id).values(end_at=end_at)
        )
    await owner.dispose()
    await asyncio.sleep(max(0.0, (end_at - datetime.now(UTC)).total_seconds()))
    return replace(interval, end_at=end_at)


async def test_of_each_key_the_newest_version_in_time_is_sealed_once_and_for_all(
    servers: Servers, store: SmallPages, database: AsyncEngine, database_url: str
):
    interval = await an_epoch(database_url, ends_in=timedelta(hours=1))
    of = sealer(servers, store, database)
    expected = []
    for hotkey in (MINER_HOTKEY, STRANGER_HOTKEY):
        for name in ("a.json", "b.json"):
            for number in range(VERSIONS):
                body = b"x" * (number + 1)
                key, version_id = await upload(servers, hotkey, interval.epoch_id, name, body)
            expected.append((hotkey, key, version_id, VERSIONS))
    assert not await of.seal_next()  # it still runs
    interval = await its_end(database_url, interval)
    await upload(servers, MINER_HOTKEY, interval.epoch_id, "a.json", b"afterwards")
    await upload(servers, MINER_HOTKEY, interval.epoch_id, "late.json", b"afterwards")
    assert await of.seal_next()
    assert await manifest(database, interval.epoch_id) == sorted(expected, key=lambda row: row[1])
    await upload(servers, MINER_HOTKEY, interval.epoch_id, "b.json", b"later still")
    assert not await of.seal_next()
    assert await manifest(database, interval.epoch_id) == sorted(expected, key=lambda row: row[1])


async def test_replicas_that_seal_at_once_write_one_manifest(
    servers: Servers, store: SmallPages, database: AsyncEngine, database_url: str
):
    interval = await an_epoch(database_url, ends_in=timedelta(hours=1))
    key, version_id = await upload(servers, MINER_HOTKEY, interval.epoch_id, "a.json", b"x")
    interval = await its_end(database_url, interval)
    replicas = [sealer(servers, store, database) for _ in range(4)]
    await asyncio.gather(*(of.seal_next() for of in replicas))
    assert await manifest(database, interval.epoch_id) == [(MINER_HOTKEY, key, version_id, 1)]
    written = [of.metrics.manifests_written._value.get() for of in replicas]
    assert sum(written) == 1


async def test_a_store_that_fails_midway_leaves_nothing_and_the_next_attempt_seals(
    servers: Servers, store: SmallPages, database: AsyncEngine, database_url: str
):
    interval = await an_epoch(database_url, ends_in=timedelta(hours=1))
    for hotkey in (MINER_HOTKEY, STRANGER_HOTKEY):
        await upload(servers, hotkey, interval.epoch_id, "a.json", b"x")
    interval = await its_end(database_url, interval)
    failing = FailingStore(config(servers))
    with pytest.raises(ObjectStoreUnavailableError):
        await sealer(servers, failing, database).seal_next()
    failing.close()
    assert not await is_sealed(database, interval.epoch_id)
    assert await manifest(database, interval.epoch_id) == []
    assert await sealer(servers, store, database).seal_next()
    assert len(await manifest(database, interval.epoch_id)) == 2


async def test_an_epoch_that_cannot_be_sealed_keeps_none_after_it_from_being_sealed(
    servers: Servers, store: SmallPages, database: AsyncEngine, database_url: str
):
    first = await an_epoch(database_url, starts_in=timedelta(minutes=-3), ends_in=timedelta(minutes=-2))
    second = await an_epoch(database_url, ends_in=timedelta(hours=1))
    for interval in (first, second):
        await upload(servers, MINER_HOTKEY, interval.epoch_id, "a.json", b"x")
    second = await its_end(database_url, second)
    failing = FailingFor(config(servers), first.epoch_id)
    of = sealer(servers, failing, database)
    with pytest.raises(ObjectStoreUnavailableError):
        await of.seal_next()
    assert await of.seal_next()
    assert len(await manifest(database, second.epoch_id)) == 1
    failing.epoch_id = "none"
    assert await of.seal_next()
    failing.close()
    assert await is_sealed(database, first.epoch_id)
    assert not await of.seal_next()


def prefixes_of(hotkey: str, epoch_id: str) -> tuple[str, str, str]:
    """Return the prefixes that are listed for a miner: the two folders that name the epoch, and the whole
    folder."""
    own = f"data/hotkey={hotkey}/"
    return f"{own}epoch={epoch_id}/", f"{own}{own}epoch={epoch_id}/", own


async def two_miners(servers: Servers, database_url: str) -> tuple[EpochInterval, dict[str, set[str]]]:
    """Return an ended epoch, and the uploaded keys of two miners: one key names the epoch, the other does
    not. No other test has uploads of these miners."""
    interval = await an_epoch(database_url, ends_in=timedelta(hours=1))
    keys: dict[str, set[str]] = {}
    for hotkey in (Keypair.create_from_uri(f"//{uuid4().hex}").ss58_address for _ in range(2)):
        named, _ = await upload(servers, hotkey, interval.epoch_id, "a.json", b"x")
        other, _ = await put(servers, f"data/hotkey={hotkey}/of-{interval.epoch_id}.json", b"x")
        keys[hotkey] = {named, other}
    interval = await its_end(database_url, interval)
    return interval, keys


async def is_sealed(database: AsyncEngine, epoch_id: str) -> bool:
    async with database.connect() as connection:
        return await manifests.is_sealed(connection, epoch_id)


async def sealed_keys(database: AsyncEngine, epoch_id: str, hotkey: str) -> set[str]:
    return {row.object_key for row in await manifest(database, epoch_id) if row.hotkey == hotkey}


@pytest.mark.parametrize(("broken", "left"), [(slice(2, 3), 1), (slice(0, 1), 0)])
async def test_a_miner_whose_listing_always_fails_is_cut_and_the_others_are_sealed(
    servers: Servers, database: AsyncEngine, database_url: str, monkeypatch, broken: slice, left: int
):
    """This happens with very deep keys below the miner's folder, or below that of the epoch."""
    interval, keys = await two_miners(servers, database_url)
    deep, other = keys
    failing = FailingBelow(config(servers), prefixes_of(deep, interval.epoch_id)[broken])
    monkeypatch.setattr(manifest_freezing, "log", lines := Lines())
    assert await sealer(servers, failing, database).seal_next()
    failing.close()
    assert await sealed_keys(database, interval.epoch_id, other) == keys[other]
    found = await sealed_keys(database, interval.epoch_id, deep)
    assert len(found) == left
    assert found <= keys[deep]
    assert [line for line in lines.told if line[0] == "manifest_cut"] == [("manifest_cut", deep)]


@pytest.mark.long
async def test_keys_too_deep_for_the_store_to_list_keep_nobody_from_being_sealed(
    database: AsyncEngine, database_url: str, tmp_path: Path
):
    """The real store walks through every folder: 50 keys of 440 folders. The test has its own store, because
    every later listing would be slow."""
    # The epoch is sealed while it still runs, so that the speed of uploading does not matter.
    interval = await an_epoch(database_url, ends_in=timedelta(hours=1))
    deep, other = (Keypair.create_from_uri(f"//{name}").ss58_address for name in ("Deep", "Other"))
    named = {hotkey: f"data/hotkey={hotkey}/epoch={interval.epoch_id}/a.json" for hotkey in (deep, other)}
    keys = [f"data/hotkey={deep}/A{n:04d}/{'a/' * 440}x" for n in range(50)]

    def put_all(s3: Any, bucket: str) -> None:
        for key in [*named.values(), *keys]:
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")

    async with Servers.running(State(tmp_path / "state")) as own, asyncio.TaskGroup() as running:
        await asyncio.to_thread(put_all, client(own), own.s3_environment["S3_BUCKET"])
        store = ObjectStore(replace(config(own), deadline_seconds=20))
        # Like a responder, pause between the attempts, in which the store ends abandoned listings.
        work = sealer(own, store, database, timedelta(hours=-2), HurriedClock(1 / 5))
        sealing = running.create_task(work.run())
        await until(lambda: is_sealed(database, interval.epoch_id), 200)
        sealing.cancel()
        store.close()
    for hotkey, key in named.items():
        assert key in await sealed_keys(database, interval.epoch_id, hotkey)


async def test_a_listing_that_fails_for_less_than_a_minute_cuts_nobody(
    servers: Servers, database: AsyncEngine, database_url: str, monkeypatch
):
    interval, keys = await two_miners(servers, database_url)
    failing = FailingBelow(config(servers), prefixes_of(next(iter(keys)), interval.epoch_id)[2:], times=3)
    monkeypatch.setattr(manifest_freezing, "log", lines := Lines())
    assert await sealer(servers, failing, database).seal_next()
    failing.close()
    for hotkey, uploaded in keys.items():
        assert await sealed_keys(database, interval.epoch_id, hotkey) == uploaded
    assert "manifest_cut" not in {action for action, _ in lines.told}


async def test_a_store_that_goes_away_while_a_miners_listing_fails_cuts_nobody(
    servers: Servers, store: SmallPages, database: AsyncEngine, database_url: str
):
    interval, keys = await two_miners(servers, database_url)
    failing = FailingBelow(config(servers), prefixes_of(next(iter(keys)), interval.epoch_id))
    # Two listings of folders succeed: that of the miners, and the check of the store after a failure.
    failing.folders = 2
    with pytest.raises(ObjectStoreUnavailableError):
        await sealer(servers, failing, database).seal_next()
    failing.close()
    assert not await is_sealed(database, interval.epoch_id)
    assert await sealer(servers, store, database).seal_next()
    for hotkey, uploaded in keys.items():
        assert await sealed_keys(database, interval.epoch_id, hotkey) == uploaded


@pytest.mark.long
async def test_more_files_than_the_record_takes_are_cut_where_most_are_and_sealed_by_one_replica(
    servers: Servers, database: AsyncEngine, database_url: str
):
    interval = await an_epoch(database_url, ends_in=timedelta(seconds=-1))
    crowded = CrowdedStore(config(servers))
    replicas = [sealer(servers, crowded, database) for _ in range(2)]
    async with database.connect(), database.connect():  # while the loop has time for it
        pass
    # Like responders, try again if the database did not reply to a loop that was busy with 200,000 rows.
    async with asyncio.TaskGroup() as running:
        sealing = [running.create_task(of.run()) for of in replicas]
        await wait_until(lambda: sum(of.metrics.manifests_written._value.get() for of in replicas), 200)
        for task in sealing:
            task.cancel()
    crowded.close()
    query = select(UploadManifest.hotkey, func.count()).where(UploadManifest.epoch_id == interval.epoch_id)
    async with database.connect() as connection:
        rows = (await connection.execute(query.group_by(UploadManifest.hotkey))).all()
    assert [count for _, count in rows] == [200_000 // 24] * 24
    assert sum(of.metrics.manifests_written._value.get() for of in replicas) == 1


async def test_uploads_under_way_are_waited_for(
    servers: Servers, store: SmallPages, database: AsyncEngine, database_url: str
):
    interval = await an_epoch(database_url, ends_in=timedelta(seconds=-30))
    assert not await sealer(servers, store, database, timedelta(seconds=60)).seal_next()
    assert await sealer(servers, store, database, timedelta(seconds=29)).seal_next()
    assert await is_sealed(database, interval.epoch_id)


async def test_uploads_without_an_epoch_belong_to_the_epoch_in_which_they_were_stored(
    servers: Servers, database_url: str, database: AsyncEngine, store: SmallPages
):
    """The subnet's published client uploads in this way: with its whole path repeated, or to folders of its
    own."""
    hotkey = Keypair.create_from_uri("//Legacy").ss58_address
    folder = f"data/hotkey={hotkey}/"
    before = await put(servers, f"{folder}job_id=0/before.parquet", b"x" * 10)
    replaced = await put(servers, f"{folder}job_id=1/data.parquet", b"x" * 10)
    await asyncio.sleep(1.1)  # the store's times are in whole seconds
    interval = await an_epoch(database_url, starts_in=timedelta(0), ends_in=timedelta(hours=1))
    other = "2020-01-01T00-00-00"
    expected = [
        await put(servers, f"{folder}{folder}epoch={interval.epoch_id}/doubled.parquet", b"x" * 11),
        await put(servers, f"{folder}aaa.json", b"x" * 12),
        await put(servers, f"{folder}epoch=1764460800/unix.json", b"x" * 13),
        await put(servers, f"{folder}{folder}epoch=/empty.json", b"x" * 14),
        await put(servers, replaced[0], b"x" * 15),
        await put(servers, f"{folder}zzz.json", b"x" * 16),
        await put(servers, f"{folder}epoch={interval.epoch_id}/plain.json", b"x" * 17),
    ]
    for number in range(7):  # more than one page
        await put(servers, f"{folder}epoch={other}/{number}.json", b"x")
        await put(servers, f"{folder}{folder}epoch={other}/{number}.json", b"x")
    await put(servers, f"{folder}job_id=2/epoch={other}/elsewhere.json", b"x")
    interval = await its_end(database_url, interval)
    await asyncio.sleep(1.1)
    await put(servers, replaced[0], b"too late")
    await put(servers, f"{folder}late.json", b"too late")
    assert await sealer(servers, store, database).seal_next()
    found = [row for row in await manifest(database, interval.epoch_id) if row.hotkey == hotkey]
    assert {(row.object_key, row.version_id) for row in found} == set(expected)
    assert before[0] not in {row.object_key for row in found}


async def test_more_than_the_sweep_reads_is_reported(
    servers: Servers, database_url: str, database: AsyncEngine, store: SmallPages, monkeypatch
):
    hotkey = Keypair.create_from_uri("//Crowd").ss58_address
    interval = await an_epoch(database_url, ends_in=timedelta(hours=1))
    for number in range(8):
        await put(servers, f"data/hotkey={hotkey}/{number}.json", b"x")
    interval = await its_end(database_url, interval)
    monkeypatch.setattr(legacy_uploads, "MAX_SWEEP_PAGES", 1)
    monkeypatch.setattr(manifest_freezing, "log", lines := Lines())
    assert await sealer(servers, store, database).seal_next()
    assert ("manifest_cut", hotkey) in lines.told
