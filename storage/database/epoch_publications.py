"""Compares the database with the stream: which epochs are in it, at which sequence, with which bytes.

For the scheduler only. It can correct a sequence; other columns of an epoch's row belong to `epochs` and
`epoch_changes`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import Epoch, EpochMessage
from zipcast.protocol.envelope import UnverifiedEnvelope


@dataclass(frozen=True, slots=True)
class Publication:
    """A published epoch. `published_at` is nats-server's clock, `sequence` the stream's."""

    envelope: UnverifiedEnvelope
    published_at: datetime
    sequence: int

    @property
    def epoch_id(self) -> str:
        return self.envelope.epoch_id


@dataclass(frozen=True, slots=True)
class Row:
    """The database's view of one epoch: `message_sha256` of the bytes in force, None if it was missed;
    `sequence` is None until it is marked."""

    status: str
    message_sha256: str | None
    sequence: int | None


async def newest_published(connection: AsyncConnection, within: timedelta) -> str | None:
    """The id of the newest epoch marked as published, if that started within that time before now."""
    return (
        await connection.execute(select(func.max(Epoch.epoch_id)).where(*_published_within(within)))
    ).scalar()


async def published_within(connection: AsyncConnection, within: timedelta, most: int) -> list[Publication]:
    """The newest `most` epochs marked as published that started within that time before now, oldest first."""
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
    """Return the rows of the newest `most` epochs up to that one, by id."""
    query = (
        select(Epoch.epoch_id, Epoch.status, Epoch.message_sha256, Epoch.stream_sequence)
        .where(Epoch.epoch_id <= up_to_id)
        .order_by(Epoch.epoch_id.desc())
        .limit(most)
    )
    rows = (await connection.execute(query)).all()
    return {epoch_id: Row(status, sha256, sequence) for epoch_id, status, sha256, sequence in rows}


async def correct_sequence(connection: AsyncConnection, epoch_id: str, sequence: int) -> None:
    """Note the sequence that the epoch has in a rebuilt stream."""
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
