"""Tests epochs past their retention with the scheduler's login: what is deleted, what is kept, and who may
delete it."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from broker_service.responder.database import Record
from broker_service.responder.metrics import ResponderMetrics
from broker_service.responder.status_reports import Reports
from devstack.logins import login_url
from devstack.servers import Servers
from http_bridge.epoch_reply import Assignments
from http_bridge.history import History
from schedulers.epochs.zipcode_choice import choose_epoch
from schedulers.metrics import SchedulerMetrics
from schedulers.retention import Housekeeping
from storage.database import epoch_drafts, epochs, retention
from storage.database.engine import open_engine
from storage.database.retention import Retention
from storage.database.tables import (
    AdminCommand,
    CredentialIssuance,
    Epoch,
    EpochAssignment,
    MinerSubmission,
    UploadManifest,
    ValidationAudit,
    ValidatorResult,
    ZipcodeRevision,
)
from storage.database.zipcode_activity import set_active
from storage.database.zipcode_versions import VersionTrimmedError, rebuild_version
from tests.support.current_epochs import current
from tests.support.fakes import START_AT, FakeClock
from tests.support.scheduling import (
    CALENDAR,
    TRUST,
    completed_epochs,
    preparer,
    statuses,
    upcoming,
)
from zipcast.clock import SystemClock
from zipcast.protocol import envelope
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.selection import seeds
from zipcast.selection.committed_inputs import SelectionInputs

DAY = timedelta(days=1)
RETENTION = Retention(epochs=30 * DAY, audit=365 * DAY, refusals=30 * DAY)
COOLDOWN = timedelta(hours=3)


@pytest_asyncio.fixture(loop_scope="session")
async def keeper(servers: Servers, database_url: str):
    """Return housekeeping with the scheduler's login and a clock that stands still, because a full hour may
    pass during a test."""
    engine = open_engine(login_url(servers.state, database_url, "schedulers"), application_name="test")
    yield Housekeeping(engine, FakeClock(datetime.now(UTC)), RETENTION, SchedulerMetrics())
    await engine.dispose()


@pytest_asyncio.fixture(loop_scope="session")
async def bridge(servers: Servers, database_url: str):
    engine = open_engine(login_url(servers.state, database_url, "http_bridge"), application_name="test")
    yield engine
    await engine.dispose()


def with_cooldown(database: AsyncEngine):
    usual = preparer(database)
    return replace(usual, settings=replace(usual.settings, cooldown=COOLDOWN))


def first_kept(now: datetime) -> datetime:
    """Return the start of the oldest hourly epoch that ended less than 30 days ago."""
    return CALENDAR.at(now - RETENTION.epochs).start_at


async def assigned(database: AsyncEngine) -> list[str]:
    query = select(EpochAssignment.epoch_id).distinct().order_by(EpochAssignment.epoch_id)
    async with database.connect() as connection:
        return list((await connection.execute(query)).scalars())


async def count(database: AsyncEngine, table: type) -> int:
    async with database.connect() as connection:
        return (await connection.execute(select(func.count()).select_from(table))).scalar_one()


async def test_detail_goes_with_retention_and_what_kept_epochs_are_made_from_stays(
    database, keeper, bridge, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(retention, "BATCH", 7)  # fewer than an epoch has, so that several batches are needed
    monkeypatch.setattr(retention, "EPOCHS_AT_ONCE", 2)
    before = first_kept(keeper.clock.now()) - timedelta(hours=6)
    ids = await completed_epochs(database, with_cooldown(database), before, 8)
    archived, kept = ids[:6], ids[6:]
    await keeper.tidy()
    found = await statuses(database)
    assert [found[epoch_id] for epoch_id in ids] == ["archived"] * 6 + ["completed"] * 2
    assert keeper.metrics.archived._value.get() == 6
    # In the oldest kept epoch, the zipcodes of the two epochs before it are in cooldown. A zipcode is free
    # again exactly after its cooldown.
    assert await assigned(database) == ids[4:]
    for epoch_id in kept:
        await same_pool_and_choice(database, epoch_id)
    for epoch_id in archived:
        shown = await History(bridge).one(epoch_id)
        assert (shown.status, shown.proof is not None) == ("ARCHIVED", True)
        async with bridge.connect() as connection:
            stored = await epochs.started_epoch(connection, epoch_id)
        assert envelope.verify(stored.envelope, TRUST).message.epoch_id == epoch_id
        message = EpochMessage.model_validate_json(shown.proof.payload)
        assert seeds.seed_commitment(bytes.fromhex(shown.seed)) == message.seed_commitment
        with pytest.raises(ServiceError) as refused:
            await Assignments(bridge, SystemClock(), current(FakeClock(START_AT))).body(epoch_id)
        assert (refused.value.code, refused.value.status) == (ErrorCode.ARCHIVED, 410)
    await Assignments(bridge, SystemClock(), current(FakeClock(START_AT))).body(kept[0])
    await keeper.tidy()  # the second run has nothing to do
    assert await assigned(database) == ids[4:]


async def same_pool_and_choice(database: AsyncEngine, epoch_id: str) -> None:
    """Check, as a validator does, that the pool has the published hash and leads to the same zipcodes."""
    async with database.connect() as connection:
        inputs = SelectionInputs.from_bytes(await epoch_drafts.effective_inputs(connection, epoch_id))
        stored = await epochs.prepared_epoch(connection, epoch_id)
        seed = bytes.fromhex(await epochs.seed_of(connection, epoch_id))
        message = EpochMessage.model_validate_json(stored.envelope.payload)
        draw_seed = seeds.derive_draw_seed(seed, message.used_round())
        choice = (await choose_epoch(connection, inputs, draw_seed, stored.interval.start_at)).choice
    assert seeds.candidate_pool_hash(choice.selection.pool) == message.candidate_pool_hash
    assert sorted(one.zipcode for one in choice.zipcodes) == [one.zipcode for one in message.zipcodes]


@pytest.mark.long
async def test_two_replicas_archive_side_by_side(database, keeper, servers, database_url):
    ids = await completed_epochs(database, with_cooldown(database), first_kept(datetime.now(UTC)) - DAY, 3)
    await asyncio.gather(keeper.tidy(), Housekeeping(keeper.database, SystemClock(), RETENTION).tidy())
    assert set((await statuses(database)).values()) == {"archived"}
    assert (await assigned(database)) == []
    assert len(ids) == 3


@pytest.mark.long
async def test_an_epoch_that_is_not_completed_is_not_archived_and_keeps_what_it_needs(database, keeper):
    ids = await completed_epochs(database, with_cooldown(database), first_kept(datetime.now(UTC)) - DAY, 3)
    async with database.begin() as connection:
        await connection.execute(
            Epoch.__table__.update().where(Epoch.epoch_id == ids[1]).values(status="active")
        )
    await keeper.tidy()
    assert await statuses(database) == {ids[0]: "archived", ids[1]: "active", ids[2]: "archived"}
    assert await assigned(database) == ids


@pytest.mark.long
async def test_preparing_goes_on_while_a_batch_is_being_dropped(database, keeper):
    """Only the rows of a batch are locked."""
    await completed_epochs(database, with_cooldown(database), first_kept(datetime.now(UTC)) - DAY, 2)
    (interval,) = upcoming(1)
    async with keeper.database.begin() as connection:
        archived = await retention.archive_epochs(connection, datetime.now(UTC) - RETENTION.epochs)
        gone = await retention.drop_assignments(connection, "9999")
        assert (len(archived), gone > 0) == (2, True)
        stored = await with_cooldown(database).prepare(interval)
    assert stored.epoch_id in await statuses(database)


def old_rows(epoch_id: str, ended: datetime) -> list[tuple[type, dict]]:
    result_id = uuid4()
    report = {"epoch_id": epoch_id, "hotkey": "5X", "request_id": "r"}
    times = {"reported_at": ended, "received_at": ended}
    digest = "0" * 64
    return [
        (
            MinerSubmission,
            report
            | times
            | {"status": "COMPLETED", "is_late": False, "s3_upload_complete": True, "body_sha256": digest},
        ),
        (
            UploadManifest,
            {"epoch_id": epoch_id, "hotkey": "5X", "object_key": "k", "size_bytes": 1, "etag": "e"}
            | {"stored_at": ended, "sealed_at": ended},
        ),
        (
            ValidatorResult,
            report
            | times
            | {"id": result_id, "alpha_stake_rao": 1, "duration_seconds": 1.0, "miners_evaluated": 1}
            | {"listings_validated": 1, "top_3_miners": [], "files": [], "body_sha256": digest},
        ),
        (
            ValidationAudit,
            {"result_id": result_id, "epoch_id": epoch_id, "miner_hotkey": "5X", "zipcode": "19104"}
            | {"validation_type": "full", "result": "pass", "score": 1.0, "listings_checked": 1},
        ),
        (
            CredentialIssuance,
            {"signed_on": ended.date(), "hotkey": "5X", "request_key": "k", "body_sha256": digest}
            | {"issued_at": ended, "expires_at": ended + DAY, "role": "miner", "kind": "k", "bucket": "b"}
            | {"prefix": "p", "request_id": "r", "source": "nats"},
        ),
        (
            AdminCommand,
            {
                "id": uuid4(),
                "requested_at": ended,
                "hotkey": "5X",
                "command": "epoch.generate",
                "arguments": {},
            }
            | {"request_id": "r", "source": "nats", "state": "done", "finished_at": ended, "outcome": {}},
        ),
    ]


async def add_day(connection: AsyncConnection, day: date) -> None:
    """Add the partition of a day in the past, as it was made before that day."""
    await connection.execute(
        text(
            f"create table if not exists credential_issuances_{day:%Y%m%d} partition of credential_issuances "
            f"for values from ('{day}') to ('{day + DAY}')"
        )
    )


TABLES = (MinerSubmission, UploadManifest, ValidatorResult, ValidationAudit, CredentialIssuance, AdminCommand)


@pytest.mark.long
@pytest.mark.parametrize(
    ("ago", "left"),
    [
        (2 * DAY, [1, 1, 1, 1, 1, 1]),
        (40 * DAY, [0, 0, 1, 1, 1, 1]),  # details are deleted, the audit trail is kept
        (400 * DAY, [0, 0, 0, 0, 0, 0]),
    ],
)
async def test_reports_and_the_audit_trail_are_kept_for_as_long_as_is_set(database, keeper, ago, left):
    now = datetime.now(UTC)
    (epoch_id,) = await completed_epochs(database, with_cooldown(database), now - ago, 1)
    async with database.begin() as connection:
        for table, row in old_rows(epoch_id, now - ago):
            if table is CredentialIssuance:
                await add_day(connection, row["signed_on"])
            await connection.execute(insert(table), [row])
    await keeper.tidy()
    assert [await count(database, table) for table in TABLES] == left


@pytest.mark.long
async def test_an_override_of_an_epoch_to_come_outlives_the_trail(database, keeper):
    now = datetime.now(UTC)
    done = {"state": "done", "finished_at": now - 400 * DAY, "outcome": {"epochId": upcoming(1)[0].epoch_id}}
    queued = {"state": "queued", "finished_at": None, "outcome": None}
    async with database.begin() as connection:
        for changes in (done, queued):
            row = old_rows("", now - 400 * DAY)[-1][1] | changes
            await connection.execute(insert(AdminCommand), [row])
    await keeper.tidy()
    assert await count(database, AdminCommand) == 2


async def test_what_is_recent_a_scheduler_cannot_drop_whatever_it_asks(database, keeper):
    now = datetime.now(UTC)
    (epoch_id,) = await completed_epochs(database, with_cooldown(database), now - 3 * DAY, 1)
    async with database.begin() as connection:
        for table, row in old_rows(epoch_id, now - 3 * DAY):
            if table is CredentialIssuance:
                await add_day(connection, row["signed_on"])
            await connection.execute(insert(table), [row])
    async with keeper.database.begin() as connection:
        assert await retention.drop_reports(connection, "9999") == 0
        assert await retention.drop_audit(connection, now + DAY) == 0
        assert await retention.drop_issuance_days(connection, now + DAY) == 0
    assert [await count(database, table) for table in TABLES] == [1] * len(TABLES)


@pytest.mark.long
@pytest.mark.parametrize("process", ["responder", "http_bridge"])
@pytest.mark.parametrize(
    "call",
    [
        *("drop_epoch_reports('9999', 1)", "drop_audit_trail(now(), 1)", "drop_zipcode_revisions(1, 1)"),
        "drop_issuance_days(now())",
    ],
)
async def test_nobody_else_may_drop_anything(servers: Servers, database_url: str, process: str, call: str):
    url = login_url(servers.state, database_url, process)
    async with await psycopg.AsyncConnection.connect(url) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(f"select {call}".encode())


@pytest.mark.long
async def test_revisions_that_no_kept_epoch_is_made_from_go_and_the_version_says_so(database, keeper):
    now = keeper.clock.now()
    maker = with_cooldown(database)
    first_kept_at = first_kept(now)
    await completed_epochs(database, maker, first_kept_at - 3 * DAY, 1)  # of version 1, which is archived
    second = await set_active(database, ["15001"], active=False, now=now, reason="two")
    # No inputs are committed to version 1, so it is made from version 2.
    (kept,) = await completed_epochs(database, maker, first_kept_at + timedelta(hours=5), 1)
    third = await set_active(database, ["15001"], active=True, now=now, reason="three")
    async with database.connect() as connection:
        whole = await rebuild_version(connection, second.import_id)
    revisions = await count(database, ZipcodeRevision)
    await keeper.tidy()
    # The revision of 15001 in version 1 was replaced in version 2, the oldest version that is needed.
    assert await count(database, ZipcodeRevision) == revisions - 1
    async with database.connect() as connection:
        assert await rebuild_version(connection, second.import_id) == whole
        assert len(await rebuild_version(connection, third.import_id)) == len(whole)
        with pytest.raises(VersionTrimmedError, match="version 1 cannot be rebuilt"):
            await rebuild_version(connection, 1)
    await same_pool_and_choice(database, kept)


@pytest.mark.long
async def test_a_report_on_an_archived_epoch_is_refused(database, keeper, servers, database_url):
    (epoch_id,) = await completed_epochs(database, with_cooldown(database), datetime.now(UTC) - 40 * DAY, 1)
    await keeper.tidy()
    engine = open_engine(login_url(servers.state, database_url, "responder"), application_name="test")
    never_asked: Any = None  # it is refused before anything is written
    metrics = ResponderMetrics(CollectorRegistry())
    reports = Reports(Record(engine, current(FakeClock(START_AT))), never_asked, SystemClock(), metrics)
    with pytest.raises(ServiceError) as refused:
        await reports.status(None, None, SimpleNamespace(epoch_id=epoch_id))  # type: ignore[arg-type]
    await engine.dispose()
    assert refused.value.code is ErrorCode.ARCHIVED
