"""Keeping the record small: what is dropped, and when it may be. Only the scheduler calls this.

Owns the batches: each is one short transaction of its caller's, and any number of replicas may do the same.
What a scheduler may not delete itself is done by functions of migration 0001, which keep it from what is
recent. Never dropped: epochs, signed messages, committed inputs.
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
    """Retention times: `epochs` is for epochs in detail, from their end; `audit` for credentials, admin
    commands and validators' results."""

    epochs: timedelta
    audit: timedelta
    refusals: timedelta


@dataclass(frozen=True, slots=True)
class Needed:
    """The oldest data that epochs in detail, and those to come, need: `epoch_id` is the oldest of these
    epochs, `assigned_id` the oldest whose assignments decide a pool, `import_id` the oldest import that one
    is made from, if known."""

    epoch_id: str
    assigned_id: str
    import_id: int | None


async def add_issuance_days(connection: AsyncConnection) -> None:
    """Make the partitions of the coming week. A request signed on a day without one is refused."""
    await connection.execute(select(func.zipcast.add_issuance_days()))


async def drop_issuance_days(connection: AsyncConnection, before: datetime) -> int:
    """Drop the credentials that were signed on days before then. Return how many days went."""
    return int((await connection.execute(select(func.zipcast.drop_issuance_days(before)))).scalar_one())


async def archive_epochs(connection: AsyncConnection, before: datetime) -> list[str]:
    """completed -> archived, for some of the oldest that ended before then; their ids."""
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
    """Return the data that epochs need which are not archived, or start at `before` or later."""
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
    """Delete rows of epochs before that one, which are archived; return how many."""
    oldest = (
        select(CTID)
        .select_from(EpochAssignment)
        .where(EpochAssignment.epoch_id < before_id)
        .order_by(EpochAssignment.epoch_id, EpochAssignment.zipcode)
        .limit(BATCH)
    )
    return await _delete(connection, EpochAssignment, oldest)


async def drop_reports(connection: AsyncConnection, before_id: str) -> int:
    """Miners' status reports and upload manifests of epochs before that one; how many rows went."""
    return await _call(connection, func.zipcast.drop_epoch_reports(before_id, BATCH))


async def drop_audit(connection: AsyncConnection, before: datetime) -> int:
    """Admin commands and validators' results from before then; how many rows went."""
    return await _call(connection, func.zipcast.drop_audit_trail(before, BATCH))


async def drop_revisions(connection: AsyncConnection, import_id: int) -> int:
    """Zipcodes' revisions that were superseded in that import or before it; how many rows went."""
    await connection.execute(text("set local statement_timeout = '60s'"))
    return await _call(connection, func.zipcast.drop_zipcode_revisions(import_id, BATCH))


async def drop_published(connection: AsyncConnection, import_id: int) -> int:
    """Drop what was published of imports before that one, with its honeypots. Return how many rows went."""
    return await _call(connection, func.zipcast.drop_published_zipcodes(import_id, BATCH))


async def drop_refusals(connection: AsyncConnection, before: datetime) -> int:
    """One batch, oldest first; how many went."""
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
    """Return a condition on the rows' place on disk: given some thousand keys, the planner would read the
    whole table."""
    return any_(func.array(places.scalar_subquery())) == CTID


async def _call(connection: AsyncConnection, function: Function[Any]) -> int:
    return int((await connection.execute(select(function))).scalar_one())


def _id_of(instant: datetime) -> str:
    """The id that an epoch starting then would have."""
    return format_epoch_id(instant.replace(microsecond=0))
