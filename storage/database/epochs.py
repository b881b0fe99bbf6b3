"""Reads epochs in PostgreSQL.

The tables `epochs`, `epoch_assignments` and `epoch_messages` have only epochs that have started. Functions
for the scheduler also read `pending_epochs`, which no other role may query. `epoch_changes` changes epochs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.clock import RECORD_NOW
from storage.database.pending_epochs import Pending, pending_epoch, pending_epochs, pending_intervals
from storage.database.tables import Epoch, EpochAssignment, EpochMessage
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.envelope import UnverifiedEnvelope


@dataclass(frozen=True, slots=True)
class StoredEpoch:
    """One prepared epoch and its signed bytes."""

    interval: EpochInterval
    status: str
    envelope: UnverifiedEnvelope
    published_at: datetime | None

    @property
    def epoch_id(self) -> str:
        return self.interval.epoch_id


@dataclass(frozen=True, slots=True)
class Timeline:
    """The epochs around `now`: the running one, the next prepared one, and the end of the newest row. If the
    epoch length was changed, these epochs may still have the earlier length."""

    now: datetime
    running: EpochInterval | None
    pending: EpochInterval | None
    frontier: datetime | None


async def database_now(connection: AsyncConnection) -> datetime:
    """Return PostgreSQL's clock_timestamp(), the clock that all replicas share."""
    now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return now


_StoredSelect: TypeAlias = Select[str, datetime, datetime, str, datetime | None, bytes, str, str]
_COLUMNS = (
    Epoch.epoch_id,
    Epoch.start_at,
    Epoch.end_at,
    Epoch.status,
    Epoch.published_at,
    EpochMessage.payload,
    EpochMessage.signer,
    EpochMessage.signature,
)


def _stored() -> _StoredSelect:
    return select(*_COLUMNS).join(
        EpochMessage,
        (EpochMessage.epoch_id == Epoch.epoch_id) & (EpochMessage.message_sha256 == Epoch.message_sha256),
    )


async def _fetch(
    connection: AsyncConnection,
    query: _StoredSelect,
) -> list[StoredEpoch]:
    rows = (await connection.execute(query)).all()
    return [
        StoredEpoch(
            EpochInterval(start_at, end_at),
            status,
            UnverifiedEnvelope(bytes(payload), signer, signature, epoch_id),
            published_at,
        )
        for epoch_id, start_at, end_at, status, published_at, payload, signer, signature in rows
    ]


async def prepared_epoch(connection: AsyncConnection, epoch_id: str) -> StoredEpoch | None:
    """Return the epoch, whether it has started or not. For the scheduler only."""
    pending = await pending_epoch(connection, epoch_id)
    if pending is not None:
        return _unopened(pending)
    found = await _fetch(connection, _stored().where(Epoch.epoch_id == epoch_id))
    return found[0] if found else None


def _unopened(pending: Pending) -> StoredEpoch:
    return StoredEpoch(pending.interval, "pending", pending.prepared.envelope, None)


async def started_epoch(connection: AsyncConnection, epoch_id: str) -> StoredEpoch | None:
    """Return the epoch if it has started by PostgreSQL's clock, published or not."""
    query = _stored().where(Epoch.epoch_id == epoch_id, Epoch.start_at <= func.clock_timestamp())
    found = await _fetch(connection, query)
    return found[0] if found else None


async def running_epoch(connection: AsyncConnection) -> StoredEpoch | None:
    """Return the newest epoch that has started and not ended by PostgreSQL's clock."""
    return await _newest(connection, Epoch.start_at <= RECORD_NOW, Epoch.end_at > RECORD_NOW)


async def _newest(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> StoredEpoch | None:
    """Return the newest epoch that meets the conditions. Find its id first, with the index of `start_at`,
    because for a join by two columns the planner would read both tables completely."""
    having_a_message = (*conditions, Epoch.message_sha256.is_not(None))
    newest = select(Epoch.epoch_id).where(*having_a_message).order_by(Epoch.start_at.desc()).limit(1)
    found = await _fetch(connection, _stored().where(Epoch.epoch_id == newest.scalar_subquery()))
    return found[0] if found else None


async def due_unpublished(connection: AsyncConnection, now: datetime) -> list[StoredEpoch]:
    """Return the epochs that have started by `now` and by PostgreSQL's clock and are not marked as published,
    oldest first."""
    query = (
        _stored()
        .where(Epoch.status == "pending", Epoch.start_at <= func.least(func.clock_timestamp(), now))
        .order_by(Epoch.start_at)
    )
    return await _fetch(connection, query)


async def timeline(connection: AsyncConnection, now: datetime) -> Timeline:
    """Return the prepared epochs around `now`. For the scheduler only."""
    unopened = await pending_intervals(connection)
    interval = select(Epoch.start_at, Epoch.end_at).where(Epoch.status != "missed")
    running = (await connection.execute(interval.where(Epoch.start_at <= now, now < Epoch.end_at))).first()
    upcoming = interval.where(Epoch.start_at > now).order_by(Epoch.start_at).limit(1)
    following = (await connection.execute(upcoming)).first()
    frontier = (await connection.execute(select(func.max(Epoch.end_at)))).scalar()
    opened = [EpochInterval(*row) for row in (running, following) if row is not None]
    known = sorted([*opened, *unopened], key=lambda one: one.start_at)
    ends = [one.end_at for one in unopened] + ([] if frontier is None else [frontier])
    return Timeline(
        now,
        next((one for one in known if one.contains(now)), None),
        next((one for one in known if one.start_at > now), None),
        max(ends, default=None),
    )


async def epoch_before(connection: AsyncConnection, start_at: datetime) -> StoredEpoch | None:
    """Return the newest epoch with a message that starts before `start_at`: the previous one in the chain.
    For the scheduler only."""
    unopened = [one for one in await pending_epochs(connection) if one.interval.start_at < start_at]
    opened = await _newest(connection, Epoch.start_at < start_at)
    if unopened and (opened is None or opened.interval.start_at < unopened[-1].interval.start_at):
        return _unopened(unopened[-1])
    return opened


async def seed_of(connection: AsyncConnection, epoch_id: str) -> str | None:
    """Return the seed in hex, which is secret until the epoch has ended. For the scheduler only."""
    pending = await pending_epoch(connection, epoch_id)
    if pending is not None:
        return None if pending.prepared.seed is None else pending.prepared.seed.hex()
    return (await connection.execute(select(Epoch.seed).where(Epoch.epoch_id == epoch_id))).scalar()


async def assigned_epoch_ids(connection: AsyncConnection, since: datetime, before: datetime) -> list[str]:
    """Return the ids of epochs with assignments that start after `since` and before `before`, oldest first.
    For the scheduler only."""
    query = select(Epoch.epoch_id).where(
        Epoch.start_at > since, Epoch.start_at < before, Epoch.message_sha256.is_not(None)
    )
    opened = (await connection.execute(query)).scalars()
    unopened = await pending_intervals(connection)
    return sorted([*opened, *(one.epoch_id for one in unopened if since < one.start_at < before)])


async def last_assigned(connection: AsyncConnection, epoch_ids: Sequence[str]) -> dict[str, datetime]:
    """Return each zipcode that was assigned in these epochs, with the start of the newest of them."""
    query = (
        select(EpochAssignment.zipcode, func.max(Epoch.start_at))
        .join(Epoch, Epoch.epoch_id == EpochAssignment.epoch_id)
        .where(Epoch.epoch_id.in_(epoch_ids))
        .group_by(EpochAssignment.zipcode)
    )
    return dict((await connection.execute(query)).all())


async def newest_end(connection: AsyncConnection, before: datetime) -> datetime | None:
    """Return the end of the newest epoch of any status that starts before `before`. For the scheduler
    only."""
    opened = (
        await connection.execute(select(func.max(Epoch.end_at)).where(Epoch.start_at < before))
    ).scalar()
    unopened = [one.end_at for one in await pending_intervals(connection) if one.start_at < before]
    return max([*unopened, *([] if opened is None else [opened])], default=None)


async def overlaps_an_epoch(connection: AsyncConnection, interval: EpochInterval) -> bool:
    """Return whether an opened epoch overlaps this interval."""
    query = select(Epoch.epoch_id).where(Epoch.start_at < interval.end_at, Epoch.end_at > interval.start_at)
    return (await connection.execute(query.limit(1))).first() is not None
