"""Stores signed drafts of epochs that no message promised, with the inputs that the drafts commit to.

Only schedulers may use it. A draft is never replaced, because a second draft would let the operator choose
between two draws.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.epoch_inputs import committed_inputs
from storage.database.tables import EpochDraft
from zipcast.protocol.messages.epochs import Proof


@dataclass(frozen=True, slots=True)
class StoredDraft:
    """A draft with the exact bytes of its `inputs`. `is_sent` is true if it was sent before its round was
    published."""

    inputs: bytes
    draft: Proof
    is_sent: bool


async def stored_draft(connection: AsyncConnection, epoch_id: str) -> StoredDraft | None:
    """Return the draft of an epoch, or None."""
    query = select(
        EpochDraft.inputs, EpochDraft.payload, EpochDraft.signer, EpochDraft.signature, EpochDraft.sent_at
    ).where(EpochDraft.epoch_id == epoch_id)
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    inputs, payload, signer, signature, sent_at = row
    draft = Proof(payload=bytes(payload).decode(), signer=signer, signature=signature)
    return StoredDraft(bytes(inputs), draft, sent_at is not None)


async def effective_inputs(connection: AsyncConnection, epoch_id: str) -> bytes | None:
    """Return the inputs of the epoch's draft, or without a draft the promised inputs, or None."""
    drafted = await stored_draft(connection, epoch_id)
    return await committed_inputs(connection, epoch_id) if drafted is None else drafted.inputs


async def insert_draft(connection: AsyncConnection, epoch_id: str, inputs: bytes, draft: Proof) -> None:
    """Store a draft before it is sent."""
    await connection.execute(
        insert(EpochDraft).values(
            epoch_id=epoch_id,
            inputs=inputs,
            payload=draft.payload.encode(),
            signer=draft.signer,
            signature=draft.signature,
        )
    )


async def mark_sent(connection: AsyncConnection, epoch_id: str, before: datetime) -> None:
    """Mark the draft as sent, unless PostgreSQL's clock has reached `before`, the instant of its round."""
    now = func.clock_timestamp()
    await connection.execute(
        update(EpochDraft)
        .where(EpochDraft.epoch_id == epoch_id, EpochDraft.sent_at.is_(None), now < before)
        .values(sent_at=now)
    )
