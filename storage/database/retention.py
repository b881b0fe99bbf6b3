"""Deletes old rows, so that the database stays small. Only the scheduler uses this.

Each batch is one short transaction, and any number of replicas may delete at the same time. For some tables,
the scheduler has no right to delete; functions of migration 0001 do it and protect recent rows. Epochs,
signed messages and committed inputs are never deleted.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Function,
    Select,
    any_,
    cast,
    delete,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnClause

from storage.database.tables import Epoch, EpochAssignment, EpochInputs, RequestRefusal
from storage.database.tables.base import Base
from storage.database.tables.epochs import IN_DETAIL
from zipcast.protocol.calendar import format_epoch_id

BATCH = 5_000
EPOCHS_AT_ONCE = 100
CTID: ColumnClause[str] = literal_column("ctid")


@dataclass(frozen=True, slots=True)
class Retention:
    """The retention times. `epochs` is for the details of epochs, from their end; `audit` is for credentials,
    admin commands and validators' reports."""

    epochs: timedelta
    audit: timedelta
    refusals: timedelta


@dataclass(frozen=True, slots=True)
class Needed:
    """The oldest data needed by future epochs and by epochs whose details are kept. `epoch_id` is the oldest
    of these epochs, `assigned_id` the oldest epoch whose assignments affect one of their pools, and
    `import_id` the oldest import that they use, if known."""

    epoch_id: str
    assigned_id: str
    import_id: int | None


async def add_issuance_days(connection: AsyncConnection) -> None:
    """Create the partitions of the coming week. Requests signed on a day without a partition are refused."""
    await connection.execute(select(func.zipcast.add_issuance_days()))


async def drop_issuance_days(connection: AsyncConnection, before: datetime) -> int:
    """Delete the credentials of requests signed on days before `before`. Return how many days were
    deleted."""
    return int((await connection.execute(select(func.zipcast.drop_issuance_days(before)))).scalar_one())


async def archive_epochs(connection: AsyncConnection, before: datetime) -> list[str]:
    """Change the status from completed to archived for some of the oldest epochs that ended before `before`.
    Return their ids."""
    oldest = (
        select(CTID)
        .select_from(Epoch)
        .where(Epoch.status == "completed", Epoch.epoch_id < _id_of(before), Epoch.end_at <= before)
        .order_by(Epoch.epoch_id)
        .limit(EPOCHS_AT_ONCE)
        .with_for_update(skip_locked=True, key_share=True)
    )
    archived = update(Epoch).where(_stands_in(oldest)).values(status="archived")
    return sorted((await connection.execute(archived.returning(Epoch.epoch_id))).scalars())


async def needed(connection: AsyncConnection, before: datetime) -> Needed:
    """Return the oldest data needed by epochs that are not archived or start at `before` or later."""
    detailed = select(func.min(Epoch.epoch_id)).where(text(IN_DETAIL))
    oldest = (await connection.execute(detailed)).scalar()
    since = min(_id_of(before), oldest or _id_of(before))
    inputs = cast(func.convert_from(EpochInputs.inputs, "UTF8"), JSONB)
    first_of_history = func.min(inputs["historyEpochIds"][0].as_string())
    import_id = func.min(cast(inputs["importId"].as_string(), BigInteger))
    query = select(first_of_history, import_id).where(EpochInputs.epoch_id >= since)
    assigned_id, oldest_import = (await connection.execute(query)).one()
    return Needed(since, min(since, assigned_id or since), oldest_import)


async def drop_assignments(connection: AsyncConnection, before_id: str) -> int:
    """Delete assignments of archived epochs before `before_id`. Return how many rows were deleted."""
    oldest = (
        select(CTID)
        .select_from(EpochAssignment)
        .where(EpochAssignment.epoch_id < before_id)
        .order_by(EpochAssignment.epoch_id, EpochAssignment.zipcode)
        .limit(BATCH)
    )
    return await _delete(connection, EpochAssignment, oldest)


async def drop_reports(connection: AsyncConnection, before_id: str) -> int:
    """Delete status reports and upload manifests of epochs before `before_id`. Return how many rows were
    deleted."""
    return await _call(connection, func.zipcast.drop_epoch_reports(before_id, BATCH))


async def drop_audit(connection: AsyncConnection, before: datetime) -> int:
    """Delete admin commands and validators' reports that are older than `before`. Return how many rows were
    deleted."""
    return await _call(connection, func.zipcast.drop_audit_trail(before, BATCH))


async def drop_revisions(connection: AsyncConnection, import_id: int) -> int:
    """Delete revisions of zipcodes that were replaced in this import or before it. Return how many rows were
    deleted."""
    await connection.execute(text("set local statement_timeout = '60s'"))
    return await _call(connection, func.zipcast.drop_zipcode_revisions(import_id, BATCH))


async def drop_published(connection: AsyncConnection, import_id: int) -> int:
    """Delete the published data and honeypots of imports before this one. Return how many rows were
    deleted."""
    return await _call(connection, func.zipcast.drop_published_zipcodes(import_id, BATCH))


async def drop_refusals(connection: AsyncConnection, before: datetime) -> int:
    """Delete one batch of refused requests, oldest first. Return how many rows were deleted."""
    oldest = (
        select(CTID)
        .select_from(RequestRefusal)
        .where(RequestRefusal.refused_at < before)
        .order_by(RequestRefusal.refused_at)
        .limit(BATCH)
    )
    return await _delete(connection, RequestRefusal, oldest)


async def _delete(connection: AsyncConnection, table: type[Base], oldest: Select[Any]) -> int:
    return (await connection.execute(delete(table).where(_stands_in(oldest)))).rowcount


def _stands_in(places: Select[Any]) -> ColumnElement[bool]:
    """Return a condition on the rows' place on disk, because for a condition with thousands of keys the
    planner would read the whole table."""
    return any_(func.array(places.scalar_subquery())) == CTID


async def _call(connection: AsyncConnection, function: Function[Any]) -> int:
    return int((await connection.execute(select(function))).scalar_one())


def _id_of(instant: datetime) -> str:
    """Return the id of an epoch that starts at this instant."""
    return format_epoch_id(instant.replace(microsecond=0))
