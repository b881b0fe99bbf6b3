"""Epochs in PostgreSQL: preparing, publishing, completing, and reading what has started.

Owns every statement on `epochs`, `epoch_assignments`, `epoch_messages`, `epoch_inputs`. Readers
outside the scheduler go through `started_*`, which never return an epoch before its start.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Select, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import Epoch, EpochAssignment, EpochInputs, EpochMessage
from zipcast.calendar import EpochInterval
from zipcast.envelope import UnverifiedEnvelope
from zipcast.messages import EpochMessage as WireEpoch

# pg_advisory_xact_lock key under which epochs are prepared, one at a time across all replicas.
PREPARE_LOCK = 94722781


@dataclass(frozen=True, slots=True)
class StoredEpoch:
    """One prepared epoch and the signed bytes in force."""

    interval: EpochInterval
    status: str
    envelope: UnverifiedEnvelope
    published_at: datetime | None

    @property
    def epoch_id(self) -> str:
        return self.interval.epoch_id


@dataclass(frozen=True, slots=True)
class Preparation:
    """What preparing an epoch adds to the wire message: how its selection came about."""

    envelope: UnverifiedEnvelope
    message: WireEpoch
    seed: bytes
    secret_id: str
    import_id: int | None
    relaxed_cooldown: Sequence[str]
    prepared_at: datetime


def message_sha256(envelope: UnverifiedEnvelope) -> str:
    return hashlib.sha256(envelope.payload).hexdigest()


async def database_now(connection: AsyncConnection) -> datetime:
    """PostgreSQL's clock_timestamp(): the one clock that all replicas share."""
    now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return now


async def lock_preparation(connection: AsyncConnection) -> None:
    """Until the transaction ends, this replica alone prepares epochs."""
    await connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": PREPARE_LOCK})


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
    """For the scheduler only: also an epoch that has not started."""
    found = await _fetch(connection, _stored().where(Epoch.epoch_id == epoch_id))
    return found[0] if found else None


async def started_epoch(connection: AsyncConnection, epoch_id: str) -> StoredEpoch | None:
    """The epoch if it has started by PostgreSQL's clock, published or not."""
    query = _stored().where(Epoch.epoch_id == epoch_id, Epoch.start_at <= func.clock_timestamp())
    found = await _fetch(connection, query)
    return found[0] if found else None


async def running_epoch(connection: AsyncConnection) -> StoredEpoch | None:
    """The newest epoch that has started and not ended by PostgreSQL's clock."""
    now = func.clock_timestamp()
    query = _stored().where(Epoch.start_at <= now, now < Epoch.end_at).order_by(Epoch.start_at.desc())
    found = await _fetch(connection, query.limit(1))
    return found[0] if found else None


async def due_unpublished(connection: AsyncConnection) -> list[StoredEpoch]:
    """Started epochs that nobody marked as published, oldest first."""
    query = (
        _stored()
        .where(Epoch.status == "pending", Epoch.start_at <= func.clock_timestamp())
        .order_by(Epoch.start_at)
    )
    return await _fetch(connection, query)


async def epoch_before(connection: AsyncConnection, start_at: datetime) -> StoredEpoch | None:
    """The newest epoch with a message that starts before that instant: the previous link of the chain."""
    query = _stored().where(Epoch.start_at < start_at).order_by(Epoch.start_at.desc()).limit(1)
    found = await _fetch(connection, query)
    return found[0] if found else None


async def seed_of(connection: AsyncConnection, epoch_id: str) -> str | None:
    """The seed in hex, as stored at preparation: secret until the epoch has ended."""
    return (await connection.execute(select(Epoch.seed).where(Epoch.epoch_id == epoch_id))).scalar()


async def assigned_epoch_ids(connection: AsyncConnection, since: datetime, before: datetime) -> list[str]:
    """The epochs with assignments that start in [since, before), oldest first."""
    query = select(Epoch.epoch_id).where(
        Epoch.start_at > since, Epoch.start_at < before, Epoch.message_sha256.is_not(None)
    )
    return list((await connection.execute(query.order_by(Epoch.start_at))).scalars())


async def last_assigned(connection: AsyncConnection, epoch_ids: Sequence[str]) -> dict[str, datetime]:
    """Each zipcode assigned in those epochs, with the start of the newest of them."""
    query = (
        select(EpochAssignment.zipcode, func.max(Epoch.start_at))
        .join(Epoch, Epoch.epoch_id == EpochAssignment.epoch_id)
        .where(Epoch.epoch_id.in_(epoch_ids))
        .group_by(EpochAssignment.zipcode)
    )
    return dict((await connection.execute(query)).tuples().all())


async def committed_inputs(connection: AsyncConnection, epoch_id: str) -> bytes | None:
    """The exact bytes of the inputs an epoch was committed to, if it was."""
    query = select(EpochInputs.inputs).where(EpochInputs.epoch_id == epoch_id)
    found = (await connection.execute(query)).scalar()
    return None if found is None else bytes(found)


async def commit_inputs(
    connection: AsyncConnection, epoch_id: str, inputs: bytes, committed_at: datetime
) -> bytes:
    """Store inputs unless some are stored already; returns those in force."""
    await connection.execute(
        upsert(EpochInputs)
        .values(
            epoch_id=epoch_id,
            inputs=inputs,
            inputs_sha256=hashlib.sha256(inputs).hexdigest(),
            committed_at=committed_at,
        )
        .on_conflict_do_nothing()
    )
    return await committed_inputs(connection, epoch_id) or inputs


async def insert_prepared(connection: AsyncConnection, prepared: Preparation) -> None:
    """The epoch, its assignments and its signed bytes, in the caller's transaction."""
    message, envelope = prepared.message, prepared.envelope
    await connection.execute(
        insert(Epoch).values(
            epoch_id=message.epoch_id,
            start_at=message.epoch_start,
            end_at=message.epoch_end,
            status="pending",
            target_listings=message.target_listings,
            tolerance_percent=message.tolerance_percent,
            total_expected_listings=message.metadata.total_expected_listings,
            algorithm_version=message.metadata.algorithm_version,
            nonce=message.nonce,
            seed=prepared.seed.hex(),
            seed_commitment=message.seed_commitment,
            secret_id=prepared.secret_id,
            candidate_pool_hash=message.candidate_pool_hash,
            relaxed_cooldown=list(prepared.relaxed_cooldown),
            import_id=prepared.import_id,
            message_sha256=message_sha256(envelope),
            prepared_at=prepared.prepared_at,
        )
    )
    await insert_assignments(connection, message)
    await insert_message(connection, envelope, prepared.prepared_at)


async def insert_assignments(connection: AsyncConnection, message: WireEpoch) -> None:
    await connection.execute(
        insert(EpochAssignment),
        [
            {
                "epoch_id": message.epoch_id,
                "zipcode": assigned.zipcode,
                "position": position,
                "expected_listings": assigned.expected_listings,
            }
            for position, assigned in enumerate(message.zipcodes)
        ],
    )


async def insert_message(
    connection: AsyncConnection, envelope: UnverifiedEnvelope, stored_at: datetime
) -> None:
    await connection.execute(
        upsert(EpochMessage)
        .values(
            epoch_id=envelope.epoch_id,
            message_sha256=message_sha256(envelope),
            payload=envelope.payload,
            signer=envelope.signer,
            signature=envelope.signature,
            stored_at=stored_at,
        )
        .on_conflict_do_nothing()
    )


async def adopt_message(
    connection: AsyncConnection, envelope: UnverifiedEnvelope, message: WireEpoch, stored_at: datetime
) -> None:
    """Bring other bytes into force for an epoch: those the stream holds, which subscribers have.

    The bytes replaced stay in `epoch_messages`."""
    await insert_message(connection, envelope, stored_at)
    await connection.execute(
        update(Epoch)
        .where(Epoch.epoch_id == envelope.epoch_id)
        .values(
            message_sha256=message_sha256(envelope),
            nonce=message.nonce,
            total_expected_listings=message.metadata.total_expected_listings,
            candidate_pool_hash=message.candidate_pool_hash,
        )
    )
    await connection.execute(delete(EpochAssignment).where(EpochAssignment.epoch_id == envelope.epoch_id))
    await insert_assignments(connection, message)


async def mark_published(
    connection: AsyncConnection, epoch_id: str, published_at: datetime, stream_sequence: int
) -> bool:
    """pending -> active. False if another replica marked it first."""
    result = await connection.execute(
        update(Epoch)
        .where(Epoch.epoch_id == epoch_id, Epoch.status == "pending")
        .values(status="active", published_at=published_at, stream_sequence=stream_sequence)
    )
    return result.rowcount == 1


async def complete_ended(connection: AsyncConnection) -> list[str]:
    """active -> completed for what has ended by PostgreSQL's clock; the ids it changed."""
    now = func.clock_timestamp()
    result = await connection.execute(
        update(Epoch)
        .where(Epoch.status == "active", Epoch.end_at <= now)
        .values(status="completed", completed_at=now)
        .returning(Epoch.epoch_id)
    )
    return sorted(result.scalars())


async def record_missed(
    connection: AsyncConnection,
    missed: Iterable[tuple[EpochInterval, bytes, str]],
    secret_id: str,
    recorded_at: datetime,
) -> None:
    """Rows of epochs that nobody prepared in all their length: (interval, seed, seed commitment)."""
    rows = [
        {
            "epoch_id": interval.epoch_id,
            "start_at": interval.start_at,
            "end_at": interval.end_at,
            "status": "missed",
            "seed": seed.hex(),
            "seed_commitment": commitment,
            "secret_id": secret_id,
            "prepared_at": recorded_at,
        }
        for interval, seed, commitment in missed
    ]
    if rows:
        await connection.execute(upsert(Epoch).on_conflict_do_nothing(), rows)


async def newest_end(connection: AsyncConnection, before: datetime) -> datetime | None:
    """The end of the newest epoch of any status that starts before that instant."""
    return (await connection.execute(select(func.max(Epoch.end_at)).where(Epoch.start_at < before))).scalar()
