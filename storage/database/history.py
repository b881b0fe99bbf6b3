"""Reads epochs that have ended, with everything that is public about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, Text, column, func, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import SCHEMA, Epoch, EpochMessage
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.envelope import UnverifiedEnvelope
from zipcast.protocol.messages.epochs import BeaconKind

# A view of the revealed seeds, made by the migrations. Readers may not see the column of the table, because
# it also has seeds that are still secret.
REVEALED = table("revealed_seeds", column("epoch_id", Text), column("seed", Text), schema=SCHEMA)

_IN_FORCE = (EpochMessage.epoch_id == Epoch.epoch_id) & (EpochMessage.message_sha256 == Epoch.message_sha256)
_MESSAGE = (EpochMessage.payload, EpochMessage.signer, EpochMessage.signature)
# Epochs of the last 30 days are read for server-sent events. The NATS stream keeps epochs for as long.
STREAM_KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class PastEpoch:
    """An epoch that has ended. `envelope` is None if it was missed. `published_at` is by nats-server's
    clock."""

    interval: EpochInterval
    status: str
    published_at: datetime | None
    seed: str | None
    seed_commitment: str
    envelope: UnverifiedEnvelope | None
    beacon: BeaconKind | None = None


@dataclass(frozen=True, slots=True)
class EpochTiming:
    """When an ended epoch ran and was published, without its message. `status` is the status in its row."""

    interval: EpochInterval
    status: str
    published_at: datetime | None
    beacon: BeaconKind | None


async def ended_timings(connection: AsyncConnection, limit: int) -> list[EpochTiming]:
    """Return the newest `limit` ended epochs, newest first."""
    query = (
        select(Epoch.start_at, Epoch.end_at, Epoch.status, Epoch.published_at, Epoch.beacon)
        .where(Epoch.end_at <= func.clock_timestamp())
        .order_by(Epoch.start_at.desc())
        .limit(limit)
    )
    rows: Sequence[Any] = (await connection.execute(query)).all()
    return [EpochTiming(EpochInterval(start, end), *others) for start, end, *others in rows]


async def ended_epochs(connection: AsyncConnection, before: datetime | None, limit: int) -> list[PastEpoch]:
    """Return the newest `limit` ended epochs that started before `before`, newest first."""
    query = _ended().order_by(Epoch.start_at.desc()).limit(limit)
    if before is not None:
        query = query.where(Epoch.start_at < before)
    return [_past(row) for row in (await connection.execute(query)).all()]


async def ended_epoch(connection: AsyncConnection, epoch_id: str) -> PastEpoch | None:
    """Return the epoch if it has ended by PostgreSQL's clock, otherwise None."""
    row = (await connection.execute(_ended().where(Epoch.epoch_id == epoch_id))).first()
    return None if row is None else _past(row)


async def streamed_after(
    connection: AsyncConnection, sequence: int, limit: int, *, newest_first: bool = False
) -> list[tuple[int, UnverifiedEnvelope]]:
    """Return started epochs of the last 30 days that come after this sequence number in the stream, in its
    order. With `newest_first`, return the last `limit` of them instead of the first."""
    order = Epoch.start_at.desc() if newest_first else Epoch.start_at
    query = (
        select(Epoch.stream_sequence, Epoch.epoch_id, *_MESSAGE)
        .join(EpochMessage, _IN_FORCE)
        .where(
            Epoch.start_at <= func.clock_timestamp(),
            Epoch.start_at > func.clock_timestamp() - STREAM_KEPT,
            Epoch.stream_sequence > sequence,
        )
        .order_by(order)
        .limit(limit)
    )
    rows = (await connection.execute(query)).all()
    found = [
        (row.stream_sequence, UnverifiedEnvelope(bytes(row.payload), row.signer, row.signature, row.epoch_id))
        for row in rows
    ]
    return found[::-1] if newest_first else found


def _ended() -> Select[Any]:
    return (
        select(
            Epoch.epoch_id,
            Epoch.start_at,
            Epoch.end_at,
            Epoch.status,
            Epoch.published_at,
            REVEALED.c.seed,
            Epoch.seed_commitment,
            Epoch.beacon,
            *_MESSAGE,
        )
        .outerjoin(EpochMessage, _IN_FORCE)
        .outerjoin(REVEALED, REVEALED.c.epoch_id == Epoch.epoch_id)
        .where(Epoch.end_at <= func.clock_timestamp())
    )


def _past(row: Any) -> PastEpoch:
    envelope = None
    if row.payload is not None:
        envelope = UnverifiedEnvelope(bytes(row.payload), row.signer, row.signature, row.epoch_id)
    interval = EpochInterval(row.start_at, row.end_at)
    return PastEpoch(
        interval, row.status, row.published_at, row.seed, row.seed_commitment, envelope, row.beacon
    )
