"""Reads the pool of an epoch: the published zipcodes of its import, and its history."""

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
    """The pool of a revealed epoch. `stored_inputs` are the exact bytes to which it was committed."""

    stored_inputs: bytes
    inputs: SelectionInputs
    revelation: Revelation


async def read_revealed(connection: AsyncConnection, epoch_id: str) -> RevealedPool | None:
    """Return the epoch's pool, or None if the epoch is not revealed yet or its inputs are missing."""
    revelation = await honeypots.revelation(connection, epoch_id)
    stored = await started_inputs(connection, epoch_id)
    if revelation is None or stored is None:
        return None
    return RevealedPool(stored, SelectionInputs.from_bytes(stored), revelation)


@dataclass(frozen=True, slots=True)
class Relaxed:
    """The relaxed rules of an epoch: by how many days the age limit was extended, and which zipcodes were
    admitted during their cooldown."""

    age_days: int
    cooldown: tuple[str, ...]


async def read_relaxed(connection: AsyncConnection, epoch_id: str) -> Relaxed:
    """Return which rules were relaxed for an epoch. If there is no such epoch, the result names none."""
    query = select(Epoch.relaxed_age_days, Epoch.relaxed_cooldown).where(Epoch.epoch_id == epoch_id)
    row = (await connection.execute(query)).one_or_none()
    return Relaxed(0, ()) if row is None else Relaxed(row[0], tuple(sorted(row[1])))


async def read_signals(connection: AsyncConnection, epoch_id: str) -> list[Signal]:
    return await honeypots.signals(connection, epoch_id)


async def read_candidates(
    connection: AsyncConnection, inputs: SelectionInputs, after: str | None, limit: int
) -> list[tuple[Candidate, str]]:
    """Return the next `limit` active zipcodes of the epoch's import, ordered by zipcode, with their
    commitments."""
    recent = await epochs.last_assigned(connection, inputs.history_epoch_ids)
    return await published_zipcodes.load(connection, inputs.import_id, recent, after=after, limit=limit)
