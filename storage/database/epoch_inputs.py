"""Stores the inputs of each epoch's selection, as the exact bytes whose hash the previous epoch published."""

import hashlib
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import EpochInputs


async def committed_inputs(connection: AsyncConnection, epoch_id: str) -> bytes | None:
    """Return the exact bytes of an epoch's committed inputs, or None. For the scheduler only."""
    query = select(EpochInputs.inputs).where(EpochInputs.epoch_id == epoch_id)
    found = (await connection.execute(query)).scalar()
    return None if found is None else bytes(found)


async def started_inputs(connection: AsyncConnection, epoch_id: str) -> bytes | None:
    """Return the exact bytes of an epoch's committed inputs once the epoch has started. For any process."""
    found = (await connection.execute(select(func.zipcast.started_inputs(epoch_id)))).scalar()
    return None if found is None else bytes(found)


async def newest_committed(connection: AsyncConnection) -> str | None:
    """Return the id of the last epoch whose inputs are committed."""
    return (await connection.execute(select(func.max(EpochInputs.epoch_id)))).scalar()


async def inputs_are_stored(connection: AsyncConnection, inputs_sha256: str) -> bool:
    """Return whether the inputs of a published `nextInputsHash` are stored."""
    query = select(EpochInputs.epoch_id).where(EpochInputs.inputs_sha256 == inputs_sha256)
    return (await connection.execute(query)).first() is not None


async def commit_inputs(
    connection: AsyncConnection, epoch_id: str, inputs: bytes, committed_at: datetime
) -> bytes:
    """Store inputs, unless the epoch already has some, and return the stored ones."""
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
