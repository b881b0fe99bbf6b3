"""Changes opened epochs in PostgreSQL: it marks them as published, completed or missed, and adopts or
restores them.

All statements that write `epochs`, `epoch_assignments` and `epoch_messages` are here. Only the scheduler uses
them. `pending_epochs` has the statements for epochs that have not started.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.honeypots import DrawnHoneypot
from storage.database.locks import lock_for_transaction
from storage.database.tables import Epoch, EpochAssignment, EpochMessage
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.envelope import UnverifiedEnvelope
from zipcast.protocol.messages.epochs import EpochMessage as WireEpoch
from zipcast.protocol.messages.epochs import Proof


@dataclass(frozen=True, slots=True)
class Preparation:
    """An epoch's message, and the facts about its selection that are stored with it."""

    envelope: UnverifiedEnvelope
    message: WireEpoch
    seed: bytes | None
    """The seed. It is None if the epoch was only in the stream and none of the configured secrets yields its
    seed."""
    secret_id: str
    import_id: int | None
    relaxed_cooldown: Sequence[str]
    prepared_at: datetime
    relaxed_age_days: int = 0
    honeypots: Sequence[DrawnHoneypot] = ()
    sealed: Proof | None = None
    """The sealed epoch for subscribers. It is None if the epoch was only in the stream."""


@dataclass(frozen=True, slots=True)
class MissedEpoch:
    """An epoch that was never prepared. Only the seed that it would have had is known."""

    interval: EpochInterval
    seed: bytes
    seed_commitment: str
    secret_id: str


def message_sha256(envelope: UnverifiedEnvelope) -> str:
    """Return the SHA-256 of the signed bytes, in hex."""
    return hashlib.sha256(envelope.payload).hexdigest()


async def lock_preparation(connection: AsyncConnection) -> None:
    """Let only this replica prepare epochs until the transaction ends."""
    await lock_for_transaction(connection, "preparation")


async def insert_opened(connection: AsyncConnection, prepared: Preparation) -> None:
    """Write the rows of an epoch that starts, in the caller's transaction. From its commit on, every process
    can see the epoch."""
    await connection.execute(insert(Epoch).values(**_columns(prepared), status="pending"))
    await insert_assignments(connection, prepared.message)
    await insert_message(connection, prepared.envelope, prepared.prepared_at)


async def restore_published(
    connection: AsyncConnection, lost: Preparation, published_at: datetime, stream_sequence: int
) -> None:
    """Store an epoch that only the stream had. If a row marks it as missed, replace that row."""
    columns = _columns(lost) | {
        "status": "active",
        "published_at": published_at,
        "stream_sequence": stream_sequence,
    }
    # Do not update the columns of the key, because the update would wait for transactions that have just
    # referred to the row.
    changed = {name: value for name, value in columns.items() if name not in {"epoch_id", "start_at"}}
    restored = upsert(Epoch).values(**columns)
    await connection.execute(
        restored.on_conflict_do_update(
            index_elements=[Epoch.epoch_id], set_=changed, where=Epoch.status == "missed"
        )
    )
    await insert_assignments(connection, lost.message)
    await insert_message(connection, lost.envelope, lost.prepared_at)


def _columns(prepared: Preparation) -> dict[str, object]:
    message = prepared.message
    return {
        "epoch_id": message.epoch_id,
        "start_at": message.epoch_start,
        "end_at": message.epoch_end,
        "target_listings": message.target_listings,
        "tolerance_percent": message.tolerance_percent,
        "total_expected_listings": message.metadata.total_expected_listings,
        "algorithm_version": message.metadata.algorithm_version,
        "nonce": message.nonce,
        "seed": None if prepared.seed is None else prepared.seed.hex(),
        "seed_commitment": message.seed_commitment,
        "secret_id": prepared.secret_id,
        "candidate_pool_hash": message.candidate_pool_hash,
        "beacon": message.beacon_kind,
        "relaxed_cooldown": list(prepared.relaxed_cooldown),
        "relaxed_age_days": prepared.relaxed_age_days,
        "import_id": prepared.import_id,
        "message_sha256": message_sha256(prepared.envelope),
        "prepared_at": prepared.prepared_at,
    }


async def insert_assignments(connection: AsyncConnection, message: WireEpoch) -> None:
    """Insert one row per zipcode of the message, in the message's order."""
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
    """Insert the signed bytes of an epoch, unless they are already stored."""
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
    """Use other signed bytes for an epoch: those of the stream, which subscribers have.

    The replaced bytes are kept in `epoch_messages`."""
    await insert_message(connection, envelope, stored_at)
    await connection.execute(
        update(Epoch)
        .where(Epoch.epoch_id == envelope.epoch_id)
        .values(
            message_sha256=message_sha256(envelope),
            nonce=message.nonce,
            total_expected_listings=message.metadata.total_expected_listings,
            candidate_pool_hash=message.candidate_pool_hash,
            beacon=message.beacon_kind,
        )
    )
    await connection.execute(delete(EpochAssignment).where(EpochAssignment.epoch_id == envelope.epoch_id))
    await insert_assignments(connection, message)


async def mark_published(
    connection: AsyncConnection, epoch_id: str, published_at: datetime, stream_sequence: int
) -> bool:
    """Change the status from pending to active. Return False if another replica did so first."""
    result = await connection.execute(
        update(Epoch)
        .where(Epoch.epoch_id == epoch_id, Epoch.status == "pending")
        .values(status="active", published_at=published_at, stream_sequence=stream_sequence)
    )
    return result.rowcount == 1


async def give_up(connection: AsyncConnection, epoch_id: str) -> None:
    """Change the status from pending to missed, for an epoch that no subscriber got because the stream
    already has newer ones. The signed bytes are kept in `epoch_messages`."""
    given_up = await connection.execute(
        update(Epoch)
        .where(Epoch.epoch_id == epoch_id, Epoch.status == "pending")
        .values(status="missed", message_sha256=None, beacon=None)
    )
    if given_up.rowcount:
        await connection.execute(delete(EpochAssignment).where(EpochAssignment.epoch_id == epoch_id))


async def complete_ended(connection: AsyncConnection) -> list[str]:
    """Change the status from active to completed for epochs that have ended by PostgreSQL's clock. Return
    their ids."""
    now = func.clock_timestamp()
    result = await connection.execute(
        update(Epoch)
        .where(Epoch.status == "active", Epoch.end_at <= now)
        .values(status="completed", completed_at=now)
        .returning(Epoch.epoch_id)
    )
    return sorted(result.scalars())


async def record_missed(
    connection: AsyncConnection, missed: Iterable[MissedEpoch], recorded_at: datetime
) -> None:
    """Insert rows of epochs that were never prepared."""
    rows = [
        {
            "epoch_id": epoch.interval.epoch_id,
            "start_at": epoch.interval.start_at,
            "end_at": epoch.interval.end_at,
            "status": "missed",
            "seed": epoch.seed.hex(),
            "seed_commitment": epoch.seed_commitment,
            "secret_id": epoch.secret_id,
            "prepared_at": recorded_at,
        }
        for epoch in missed
    ]
    if rows:
        await connection.execute(upsert(Epoch).on_conflict_do_nothing(), rows)
