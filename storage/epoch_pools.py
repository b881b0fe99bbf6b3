"""What an epoch was chosen from, rebuilt from the zipcodes' versions and the record. Reads only."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import epochs, honeypots
from storage.candidates import load_candidates
from storage.epoch_inputs import started_inputs
from storage.honeypots import Revelation, Signal
from storage.tables import Epoch
from zipcast.inputs import SelectionInputs
from zipcast.selection import Candidate


@dataclass(frozen=True, slots=True)
class RevealedPool:
    """An epoch that is revealed. `stored_inputs` are the exact bytes that were committed to."""

    stored_inputs: bytes
    inputs: SelectionInputs
    revelation: Revelation


async def read_revealed(connection: AsyncConnection, epoch_id: str) -> RevealedPool | None:
    """None before one epoch after its end, and where the record lacks what it was committed to."""
    revelation = await honeypots.revelation(connection, epoch_id)
    stored = await started_inputs(connection, epoch_id)
    if revelation is None or stored is None:
        return None
    return RevealedPool(stored, SelectionInputs.from_bytes(stored), revelation)


async def read_relaxed(connection: AsyncConnection, epoch_id: str) -> list[str]:
    """Zipcodes let back before their cooldown was over, by zipcode."""
    query = select(func.unnest(Epoch.relaxed_cooldown)).where(Epoch.epoch_id == epoch_id)
    return sorted((await connection.execute(query)).scalars())


async def read_resting(connection: AsyncConnection, inputs: SelectionInputs) -> list[str]:
    """The decoys that rested then, by zipcode."""
    return await honeypots.revealed_resting(connection, inputs.honeypot_epoch_ids)


async def read_signals(connection: AsyncConnection, epoch_id: str) -> list[Signal]:
    return await honeypots.signals(connection, epoch_id)


async def read_candidates(
    connection: AsyncConnection, inputs: SelectionInputs, after: str | None, limit: int
) -> list[Candidate]:
    """The next `limit` active zipcodes as of then, by zipcode."""
    recent = await epochs.last_assigned(connection, inputs.history_epoch_ids)
    return await load_candidates(connection, inputs.import_id, recent, after=after, limit=limit)
