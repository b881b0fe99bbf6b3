"""Reads what an epoch was chosen from: the published zipcodes of its import, and its history."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import epochs, honeypots, published_zipcodes
from storage.database.epoch_inputs import started_inputs
from storage.database.honeypots import Revelation, Signal
from storage.database.tables import Epoch
from zipcast.selection.committed_inputs import SelectionInputs
from zipcast.selection.model import Candidate


@dataclass(frozen=True, slots=True)
class RevealedPool:
    """An epoch that is revealed. `stored_inputs` are the exact bytes that were committed to."""

    stored_inputs: bytes
    inputs: SelectionInputs
    revelation: Revelation


async def read_revealed(connection: AsyncConnection, epoch_id: str) -> RevealedPool | None:
    """Return the epoch's pool; None before one epoch after its end, and if its inputs are missing."""
    revelation = await honeypots.revelation(connection, epoch_id)
    stored = await started_inputs(connection, epoch_id)
    if revelation is None or stored is None:
        return None
    return RevealedPool(stored, SelectionInputs.from_bytes(stored), revelation)


@dataclass(frozen=True, slots=True)
class Relaxed:
    """The days by which data was too old, and the zipcodes that came back before their cooldown was over."""

    age_days: int
    cooldown: tuple[str, ...]


async def read_relaxed(connection: AsyncConnection, epoch_id: str) -> Relaxed:
    """Return the rules that were relaxed for an epoch; none if there is no such epoch."""
    query = select(Epoch.relaxed_age_days, Epoch.relaxed_cooldown).where(Epoch.epoch_id == epoch_id)
    row = (await connection.execute(query)).one_or_none()
    return Relaxed(0, ()) if row is None else Relaxed(row[0], tuple(sorted(row[1])))


async def read_signals(connection: AsyncConnection, epoch_id: str) -> list[Signal]:
    return await honeypots.signals(connection, epoch_id)


async def read_candidates(
    connection: AsyncConnection, inputs: SelectionInputs, after: str | None, limit: int
) -> list[tuple[Candidate, str]]:
    """Return the next `limit` active zipcodes as of then, by zipcode, with their commitments."""
    recent = await epochs.last_assigned(connection, inputs.history_epoch_ids)
    return await published_zipcodes.load(connection, inputs.import_id, recent, after=after, limit=limit)
