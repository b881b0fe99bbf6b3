"""Tests signals in a real PostgreSQL and with the real object store: they are computed once, when the epoch
is revealed."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from broker_service.responder.batches import LOCK_TIMEOUT
from broker_service.responder.changed_uploads import ChangeWatch
from broker_service.responder.manifest_freezing import Sealer
from broker_service.responder.metrics import ResponderMetrics
from devstack.logins import login_url
from devstack.servers import Servers
from schedulers.signals import MAX_UPLOAD_ATTEMPTS, Signals
from storage.database import honeypots
from storage.database import signals as signal_evidence
from storage.database.engine import driver_of, open_engine
from storage.database.refusals import Refusal, record_refusals
from storage.database.statistics import read_statistics
from storage.database.submissions import Standing, Submission, store
from storage.database.tables import Epoch, MinerSignal, MinerSubmission, UploadManifest, UploadSeal
from storage.objects.credential_policies import Folder, Scope
from storage.objects.store import (
    Marker,
    ObjectStore,
    ObjectStoreConfig,
    ObjectStoreUnavailableError,
    VersionPage,
)
from tests.support.fakes import MINER_HOTKEY, STRANGER_HOTKEY, VALIDATOR_HOTKEY
from tests.support.results_side import EXPECTED, ZIPCODES, ResultsSide, object_store_config
from zipcast.clock import SystemClock
from zipcast.protocol.calendar import EpochInterval

LONG_AGO = timedelta(hours=-2)


@pytest_asyncio.fixture(loop_scope="session")
async def side(servers: Servers, database_url: str) -> AsyncIterator[ResultsSide]:
    async with ResultsSide.running(servers, database_url) as side:
        yield side


@pytest_asyncio.fixture(loop_scope="session")
async def signals(servers: Servers, database_url: str) -> AsyncIterator[Signals]:
    """Return the computation of signals with the scheduler's rights."""
    engine = open_engine(login_url(servers.state, database_url, "schedulers"), application_name="test")
    yield Signals(engine, SystemClock(), 3600)
    await engine.dispose()


async def report(
    side: ResultsSide, interval: EpochInterval, hotkey: str, counts: dict[str, int], **changed: Any
) -> None:
    at = interval.start_at + timedelta(minutes=30)
    values: dict[str, Any] = {
        "epoch_id": interval.epoch_id,
        "hotkey": hotkey,
        "status": "COMPLETED",
        "reported_at": at,
        "received_at": at,
        "is_late": False,
        "listings_scraped": None,
        "zipcodes_completed": [{"zipcode": z, "listingsScraped": n} for z, n in counts.items()],
        "s3_upload_complete": True,
        "s3_upload_at": None,
        "body_sha256": "",
        "request_id": "r",
        "most_claimed": counts,
    }
    async with side.database.begin() as connection:
        [stored] = await store(await driver_of(connection), [Submission(**values | changed)], LOCK_TIMEOUT)
    assert stored.standing is Standing.NEWEST


async def sealed_epoch(
    side: ResultsSide, ends_in: timedelta = LONG_AGO, files: Mapping[str, Mapping[str, int]] | None = None
) -> EpochInterval:
    """Return an epoch whose manifest has these files: sizes by hotkey and name."""
    interval = await side.epoch(ends_in)
    await seal(side, interval, files)
    return interval


async def seal(
    side: ResultsSide, interval: EpochInterval, files: Mapping[str, Mapping[str, int]] | None = None
) -> None:
    rows = [
        {
            "epoch_id": interval.epoch_id,
            "hotkey": hotkey,
            "object_key": f"data/hotkey={hotkey}/epoch={interval.epoch_id}/{name}",
            "version_id": None,
            "size_bytes": size,
            "etag": "e",
            "stored_at": interval.start_at,
            "sealed_at": interval.end_at,
        }
        for hotkey, uploads in (files or {}).items()
        for name, size in uploads.items()
    ]
    sealed = {"epoch_id": interval.epoch_id, "sealed_at": interval.end_at}
    async with side.owner.begin() as connection:
        await connection.execute(insert(UploadSeal), sealed)
        if rows:
            await connection.execute(insert(UploadManifest), rows)


async def add_honeypot(side: ResultsSide, interval: EpochInterval, zipcode: str) -> None:
    hidden = [honeypots.DrawnHoneypot(zipcode, 20, EXPECTED, "00", False, 50)]
    revealing = update(Epoch).where(Epoch.epoch_id == interval.epoch_id).values(seed="00" * 32)
    async with side.owner.begin() as connection:
        await connection.execute(revealing)
        await honeypots.store_honeypots(connection, interval.epoch_id, hidden)


async def told(side: ResultsSide, interval: EpochInterval) -> dict[tuple[str, str], dict[str, Any]]:
    async with side.database.connect() as connection:
        found = await honeypots.signals(connection, interval.epoch_id)
    return {(one.hotkey, one.kind): one.details for one in found}


def refusal(at: datetime, **changed: Any) -> Refusal:
    values = {
        "refused_at": at,
        "process": "responder",
        "verb": "miner.status",
        "error": "nonce_mismatch",
        "hotkey": STRANGER_HOTKEY,
        "source": "nats",
        "request_id": "r",
    }
    return Refusal(**values | changed)


async def test_a_later_report_takes_nothing_back_of_what_was_claimed(side: ResultsSide):
    interval, (first, second, third, *_) = await side.epoch(), ZIPCODES
    await report(side, interval, MINER_HOTKEY, {first: 700, second: 10})
    later, last = (interval.start_at + timedelta(minutes=minutes) for minutes in (31, 32))
    claims = {second: 30, third: 5}
    await report(side, interval, MINER_HOTKEY, claims, status="IN_PROGRESS", reported_at=later)
    await report(side, interval, MINER_HOTKEY, {}, status="FAILED", is_late=True, reported_at=last)
    query = select(MinerSubmission.status, MinerSubmission.zipcodes_completed, MinerSubmission.most_claimed)
    async with side.owner.connect() as connection:
        rows = (await connection.execute(query)).all()
    assert rows == [("FAILED", [], {first: 700, second: 30, third: 5})]


async def test_who_is_complete_and_does_not_say_of_how_much_claims_all_of_it(
    side: ResultsSide, signals: Signals
):
    interval = await sealed_epoch(side)
    at_once = interval.start_at + timedelta(seconds=1)
    await report(side, interval, "silent", {}, reported_at=at_once, received_at=at_once)
    assert await signals.look_next()
    details = (await told(side, interval))["silent", "implausible_speed"]
    assert details == {"listings": EXPECTED * len(ZIPCODES), "seconds": 1.0}


async def test_what_is_worth_a_look_is_found_once_and_only_then(side: ResultsSide, signals: Signals):
    interval, secret = await sealed_epoch(side), await sealed_epoch(side, timedelta(minutes=-1))
    exactly = dict.fromkeys(ZIPCODES, EXPECTED)
    roughly = {zipcode: EXPECTED - n - 1 for n, zipcode in enumerate(ZIPCODES)}
    early = interval.start_at + timedelta(seconds=20)
    await report(side, interval, "exact", exactly)
    await report(side, secret, "exact", exactly)
    await report(side, interval, "honest", roughly)
    await report(side, interval, "fast", roughly, reported_at=early, received_at=early)
    # A later report does not change that the first one claimed completion after twenty seconds.
    await report(side, interval, "fast", roughly, listings_scraped=10)
    await report(side, interval, "unfinished", roughly, status="IN_PROGRESS", received_at=early)
    during, after = interval.start_at + timedelta(minutes=1), interval.end_at
    counted = [refusal(during), refusal(during, suppressed=7), refusal(during)]
    others = [
        refusal(after),
        refusal(during, hotkey="twice"),
        refusal(during, hotkey="twice"),
        *(refusal(during, hotkey="elsewhere", process="bridge") for _ in range(5)),
        *(refusal(during, hotkey="elsewhere", error="rate_limited") for _ in range(5)),
        *(refusal(during, hotkey=None) for _ in range(5)),
    ]
    async with side.owner.begin() as connection:
        await record_refusals(connection, counted + others)
    assert await signals.look_next()
    found = await told(side, interval)
    assert set(found) == {
        (STRANGER_HOTKEY, "nonce_failures"),
        ("exact", "exact_target"),
        ("fast", "implausible_speed"),
    }
    assert found[STRANGER_HOTKEY, "nonce_failures"] == {"refusals": 3, "suppressed": 7}
    exact = found["exact", "exact_target"]
    assert exact == {"reported": 5, "exact": 5, "epochs": [interval.epoch_id]}
    speed = found["fast", "implausible_speed"]
    assert speed["listings"] == sum(roughly.values())
    assert speed["seconds"] == 20
    await report(side, interval, "afterwards", exactly)
    assert not await signals.look_next()
    assert await told(side, interval) == found
    # The epoch that is not revealed has no signals, and was not examined.
    assert await told(side, secret) == {}
    async with side.owner.connect() as connection:
        assert {one.hotkey for one in await honeypots.signals(connection, secret.epoch_id)} == set()


async def test_half_of_the_zipcodes_met_exactly_again_and_again(side: ResultsSide, signals: Signals):
    half = {zipcode: EXPECTED - (n % 2) for n, zipcode in enumerate(ZIPCODES[:4])}
    hour = timedelta(hours=1)
    epochs = [await sealed_epoch(side, LONG_AGO - hour * back) for back in (4, 3, 1)]
    for interval in epochs:
        await report(side, interval, MINER_HOTKEY, half)
        await report(side, interval, "once", half if interval is epochs[-1] else {})
    while await signals.look_next():
        pass
    assert [set(await told(side, one)) for one in epochs] == [set(), set(), {(MINER_HOTKEY, "exact_target")}]
    details = (await told(side, epochs[-1]))[MINER_HOTKEY, "exact_target"]
    assert details["epochs"] == [one.epoch_id for one in reversed(epochs)]


async def test_who_completed_in_time_counts_whatever_is_reported_later(side: ResultsSide):
    interval = await side.epoch(LONG_AGO)
    late = {"received_at": interval.end_at, "reported_at": interval.end_at, "is_late": True}
    await report(side, interval, "in time", {})
    await report(side, interval, "in time", {}, status="IN_PROGRESS", **late)
    await report(side, interval, "too late", {}, **late)
    await report(side, interval, "never", {}, status="FAILED")
    async with side.owner.connect() as connection:
        counted = (await read_statistics(connection)).recent[0]
    assert (counted.miners_participated, counted.miners_completed) == (3, 1)


async def test_two_replicas_note_each_signal_once(side: ResultsSide, signals: Signals):
    interval = await sealed_epoch(side)
    await report(side, interval, MINER_HOTKEY, dict.fromkeys(ZIPCODES, EXPECTED))
    looked = await asyncio.gather(*(signals.look_next() for _ in range(4)))
    assert sum(looked) == 1
    assert set(await told(side, interval)) == {(MINER_HOTKEY, "exact_target")}


def watch(side: ResultsSide, servers: Servers) -> ChangeWatch:
    return ChangeWatch(side.store, side.database, SystemClock(), servers.s3_environment["S3_BUCKET"])


def put_upload(
    side: ResultsSide, servers: Servers, interval: EpochInterval, hotkey: str, name: str, body: bytes
):
    """Upload an object. This blocks."""
    key = f"data/hotkey={hotkey}/epoch={interval.epoch_id}/{name}"
    side.s3.put_object(Bucket=servers.s3_environment["S3_BUCKET"], Key=key, Body=body)


async def test_an_upload_that_was_changed_after_the_deadline_is_told_of(side: ResultsSide, servers: Servers):
    interval = await side.epoch(timedelta(seconds=2))
    for hotkey in (MINER_HOTKEY, STRANGER_HOTKEY, VALIDATOR_HOTKEY):
        for name in ("a.json", "b.json"):
            await asyncio.to_thread(put_upload, side, servers, interval, hotkey, name, b"in time")
    await asyncio.sleep(max(0.0, (interval.end_at - datetime.now(UTC)).total_seconds()))
    metrics = ResponderMetrics(CollectorRegistry())
    bucket = servers.s3_environment["S3_BUCKET"]
    sealer = Sealer(side.store, side.database, SystemClock(), bucket, timedelta(0), metrics)
    assert await sealer.seal_next()
    await asyncio.to_thread(put_upload, side, servers, interval, MINER_HOTKEY, "b.json", b"changed")
    # A new file is not a change of a file that counts.
    await asyncio.to_thread(put_upload, side, servers, interval, STRANGER_HOTKEY, "c.json", b"new")
    of = watch(side, servers)
    assert not await of.check_next()  # not revealed yet
    await side.reveal(interval)
    assert await of.check_next()
    found = await told(side, interval)
    assert set(found) == {(MINER_HOTKEY, "changed_after_deadline")}
    details = found[MINER_HOTKEY, "changed_after_deadline"]
    assert (details["objects"], details["names"]) == (1, ["b.json"])
    await asyncio.to_thread(put_upload, side, servers, interval, MINER_HOTKEY, "a.json", b"changed")
    assert not await of.check_next()
    assert await told(side, interval) == found


@pytest.mark.parametrize(("kind", "revealed"), [("honeypot_hit", True), ("changed_after_deadline", False)])
async def test_the_responder_notes_that_one_signal_and_of_revealed_epochs_alone(
    side: ResultsSide, kind: str, revealed: bool
):
    interval = await side.epoch(LONG_AGO if revealed else timedelta(minutes=-1))
    row = {
        "epoch_id": interval.epoch_id,
        "hotkey": "x",
        "kind": kind,
        "details": {},
        "computed_at": interval.end_at,
    }
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with side.database.begin() as connection:
            await connection.execute(insert(MinerSignal).inline(), row)
    async with side.owner.connect() as connection:
        assert (await connection.execute(select(MinerSignal.kind))).all() == []


async def test_files_of_a_honeypot_are_a_hit_whatever_was_reported(side: ResultsSide, signals: Signals):
    trap, *genuine = ZIPCODES
    files = {
        **{f"listings/{zipcode}.json": EXPECTED * 100 for zipcode in genuine},
        f"listings/{trap}.json": EXPECTED * 90,
        f"{trap}-{genuine[0]}.json": 10**9,
        f"about/1{trap}.json": 10**9,
    }
    honest = {**files, f"listings/{trap}.json": 2_100}
    interval = await sealed_epoch(side, files={MINER_HOTKEY: files, STRANGER_HOTKEY: honest})
    await add_honeypot(side, interval, trap)
    assert await signals.look_next()
    found = await told(side, interval)
    assert set(found) == {(MINER_HOTKEY, "honeypot_hit")}
    assert found[MINER_HOTKEY, "honeypot_hit"]["uploads"] == [
        {
            "zipcode": trap,
            "uploadedBytes": EXPECTED * 90,
            "impliedListings": round(EXPECTED * 0.9),
            "realListings": 20,
            "publishedListings": EXPECTED,
        }
    ]


async def test_signals_wait_for_the_manifest(side: ResultsSide, signals: Signals):
    trap, *genuine = ZIPCODES
    files = {f"{zipcode}.json": EXPECTED * 100 for zipcode in genuine} | {f"{trap}.json": EXPECTED * 90}
    interval = await side.epoch(LONG_AGO)
    await add_honeypot(side, interval, trap)
    assert not await signals.look_next()
    await seal(side, interval, {MINER_HOTKEY: files})
    assert await signals.look_next()
    assert set(await told(side, interval)) == {(MINER_HOTKEY, "honeypot_hit")}


async def test_signals_do_not_wait_for_a_manifest_for_more_than_a_day(side: ResultsSide, signals: Signals):
    interval = await side.epoch(-signal_evidence.MAX_SEAL_WAIT)
    await report(side, interval, MINER_HOTKEY, dict.fromkeys(ZIPCODES, EXPECTED))
    assert await signals.look_next()
    assert set(await told(side, interval)) == {(MINER_HOTKEY, "exact_target")}


async def test_many_long_keys_full_of_zipcodes_silence_no_signal(side: ResultsSide, signals: Signals):
    """Two miners could upload this: 10,000 files each, whose keys name a zipcode 160 times."""
    trap, *genuine = ZIPCODES
    files = {f"{zipcode}.json": EXPECTED * 100 for zipcode in genuine} | {f"{trap}.json": EXPECTED * 90}
    interval = await sealed_epoch(side, files={MINER_HOTKEY: files})
    await add_honeypot(side, interval, trap)
    await report(side, interval, MINER_HOTKEY, dict.fromkeys(ZIPCODES, EXPECTED))
    flood = text(
        """
        insert into zipcast.upload_manifests
            (epoch_id, hotkey, object_key, version_id, size_bytes, etag, stored_at, sealed_at)
        select :epoch, hotkey,
            left('data/hotkey=' || hotkey || '/' || repeat(:zipcode || '-', 160), 1000) || n,
            null, 10, 'e', now(), now()
        from (values (repeat('A', 48)), (repeat('B', 48))) as miner (hotkey), generate_series(1, 10000) as n
        """
    )
    async with side.owner.begin() as connection:
        await connection.execute(text("set local statement_timeout = 0"))
        await connection.execute(flood, {"epoch": interval.epoch_id, "zipcode": genuine[0]})
    assert await signals.look_next()
    kinds = {(MINER_HOTKEY, "honeypot_hit"), (MINER_HOTKEY, "exact_target")}
    assert set(await told(side, interval)) == kinds


async def test_a_miners_largest_files_count_by_the_ends_of_their_keys(side: ResultsSide):
    first, second, third, *_ = ZIPCODES
    limit, characters = signal_evidence.MAX_SEARCHED_FILES, signal_evidence.MAX_SEARCHED_CHARACTERS
    rest = characters - len(first)
    files = {
        f"{first}/{'x' * (rest - 2)}": 4 * limit,  # the end of the key begins with a slash and the zipcode
        # It begins with the zipcode, perhaps as part of a longer number.
        f"{second}/{'x' * (rest - 1)}": 4 * limit,
        f"9{third}/{'x' * (rest - 1)}": 4 * limit,
        **{f"{n}-{third}.json": n for n in range(1, limit)},
    }
    interval = await sealed_epoch(side, files={MINER_HOTKEY: files, STRANGER_HOTKEY: {"a.json": 1}})
    async with side.owner.connect() as connection:
        found = await signal_evidence.uploaded_bytes(connection, interval.epoch_id)
    # All but the two smallest files, because there are two files more than the limit.
    assert found == {MINER_HOTKEY: {first: 4 * limit, third: sum(range(3, limit))}}


async def test_an_epoch_that_fails_holds_up_no_other_and_keeps_its_other_signals(
    side: ResultsSide, signals: Signals, monkeypatch
):
    older, newer = await sealed_epoch(side, LONG_AGO * 2), await sealed_epoch(side)
    for interval in (older, newer):
        await add_honeypot(side, interval, ZIPCODES[0])
        await report(side, interval, MINER_HOTKEY, dict.fromkeys(ZIPCODES, EXPECTED))
    uploaded_bytes = signal_evidence.uploaded_bytes

    async def failing(connection: AsyncConnection, epoch_id: str) -> dict[str, dict[str, int]]:
        if epoch_id == older.epoch_id:
            await connection.execute(text("select 1 / 0"))
        return await uploaded_bytes(connection, epoch_id)

    monkeypatch.setattr(signal_evidence, "uploaded_bytes", failing)
    with pytest.raises(DBAPIError):
        await signals.look_next()
    assert await signals.look_next()
    assert set(await told(side, newer)) == {(MINER_HOTKEY, "exact_target")}
    assert await told(side, older) == {}
    for _ in range(MAX_UPLOAD_ATTEMPTS - 2):
        with pytest.raises(DBAPIError):
            await signals.look_next()
    assert await signals.look_next()
    assert set(await told(side, older)) == {(MINER_HOTKEY, "exact_target")}
    assert not await signals.look_next()


class FailingFor(ObjectStore):
    """Fails for listings whose prefix contains one of these."""

    def __init__(self, config: ObjectStoreConfig, *names: str) -> None:
        super().__init__(config)
        self.names = names

    async def list_versions(
        self, scope: Scope | Folder, after: Marker | None, page_size: int = 500
    ) -> VersionPage:
        if any(name in scope.prefix for name in self.names):
            raise ObjectStoreUnavailableError("TimeoutError")
        return await super().list_versions(scope, after, page_size)


class HurriedClock(SystemClock):
    """A clock whose sleeps take no time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def test_a_miner_whose_listing_fails_hides_no_changes_of_others(side: ResultsSide, servers: Servers):
    gone = {hotkey: {"gone.json": 1} for hotkey in (MINER_HOTKEY, STRANGER_HOTKEY, VALIDATOR_HOTKEY)}
    interval = await sealed_epoch(side, files=gone)
    store = FailingFor(object_store_config(servers), STRANGER_HOTKEY)
    bucket = servers.s3_environment["S3_BUCKET"]
    of = ChangeWatch(store, side.database, HurriedClock(), bucket)
    assert await of.check_next()
    store.close()
    kind = "changed_after_deadline"
    assert set(await told(side, interval)) == {(MINER_HOTKEY, kind), (VALIDATOR_HOTKEY, kind)}


async def test_an_epoch_that_cannot_be_checked_keeps_no_other_from_being_checked(
    side: ResultsSide, servers: Servers
):
    gone = {MINER_HOTKEY: {"gone.json": 1}}
    older, newer = await sealed_epoch(side, LONG_AGO * 2, gone), await sealed_epoch(side, LONG_AGO, gone)
    store = FailingFor(object_store_config(servers), older.epoch_id)
    of = ChangeWatch(store, side.database, HurriedClock(), servers.s3_environment["S3_BUCKET"])
    with pytest.raises(ObjectStoreUnavailableError):
        await of.check_next()
    assert await of.check_next()
    assert set(await told(side, newer)) == {(MINER_HOTKEY, "changed_after_deadline")}
    store.names = ()
    assert await of.check_next()
    store.close()
    assert set(await told(side, older)) == {(MINER_HOTKEY, "changed_after_deadline")}
    assert not await of.check_next()
