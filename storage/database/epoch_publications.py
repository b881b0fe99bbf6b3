"""Reads which epochs the stream contains according to the database, with their sequence numbers and bytes.

Only the scheduler uses it. It can correct a sequence number; `epoch_changes` changes the other columns.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import Epoch, EpochMessage
from zipcast.protocol.envelope import UnverifiedEnvelope


@dataclass(frozen=True, slots=True)
class Publication:
    """A published epoch. `published_at` is by nats-server's clock; `sequence` is the number in the stream."""

    envelope: UnverifiedEnvelope
    published_at: datetime
    sequence: int

    @property
    def epoch_id(self) -> str:
        return self.envelope.epoch_id


@dataclass(frozen=True, slots=True)
class Row:
    """The row of one epoch. `message_sha256` is that of its signed bytes, or None if it was missed.
    `sequence` is None until the epoch is marked as published."""

    status: str
    message_sha256: str | None
    sequence: int | None


async def newest_published(connection: AsyncConnection, within: timedelta) -> str | None:
    """Return the id of the newest epoch marked as published, or None if it started longer ago than
    `within`."""
    return (
        await connection.execute(select(func.max(Epoch.epoch_id)).where(*_published_within(within)))
    ).scalar()


async def published_within(connection: AsyncConnection, within: timedelta, most: int) -> list[Publication]:
    """Return the newest `most` epochs that are marked as published and started within the time `within`,
    oldest first."""
    query = (
        select(
            Epoch.epoch_id,
            EpochMessage.payload,
            EpochMessage.signer,
            EpochMessage.signature,
            Epoch.published_at,
            Epoch.stream_sequence,
        )
        .join(
            EpochMessage,
            (EpochMessage.epoch_id == Epoch.epoch_id) & (EpochMessage.message_sha256 == Epoch.message_sha256),
        )
        .where(*_published_within(within))
        .order_by(Epoch.start_at.desc())
        .limit(most)
    )
    rows = (await connection.execute(query)).all()
    return [
        Publication(UnverifiedEnvelope(bytes(payload), signer, signature, epoch_id), published_at, sequence)
        for epoch_id, payload, signer, signature, published_at, sequence in reversed(rows)
        if published_at is not None and sequence is not None
    ]


async def row_of(connection: AsyncConnection, epoch_id: str) -> Row | None:
    query = select(Epoch.status, Epoch.message_sha256, Epoch.stream_sequence).where(
        Epoch.epoch_id == epoch_id
    )
    found = (await connection.execute(query)).first()
    return None if found is None else Row(*found)


async def newest_rows(connection: AsyncConnection, up_to_id: str, most: int) -> dict[str, Row]:
    """Return the rows of the newest `most` epochs up to `up_to_id`, by id."""
    query = (
        select(Epoch.epoch_id, Epoch.status, Epoch.message_sha256, Epoch.stream_sequence)
        .where(Epoch.epoch_id <= up_to_id)
        .order_by(Epoch.epoch_id.desc())
        .limit(most)
    )
    rows = (await connection.execute(query)).all()
    return {epoch_id: Row(status, sha256, sequence) for epoch_id, status, sha256, sequence in rows}


async def correct_sequence(connection: AsyncConnection, epoch_id: str, sequence: int) -> None:
    """Store the sequence number that the epoch has in a rebuilt stream."""
    await connection.execute(
        update(Epoch)
        .where(Epoch.epoch_id == epoch_id, Epoch.stream_sequence.is_not(None))
        .values(stream_sequence=sequence)
    )


def _published_within(within: timedelta) -> tuple[ColumnElement[bool], ...]:
    return (
        Epoch.stream_sequence.is_not(None),
        Epoch.message_sha256.is_not(None),
        Epoch.start_at > func.clock_timestamp() - within,
    )
