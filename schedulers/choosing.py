"""The zipcodes of an epoch, from the record: what its committed inputs and seed decide, decoys among them.

Owns nothing of the rules: they are pure, `zipcast.selection` and `zipcast.honeypots`. The pool is never
stored: the version of the zipcodes and the epochs that the inputs name give it again at any time.
"""

import asyncio
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import epochs, honeypots
from storage.candidates import load_candidates
from storage.pending_epochs import assigned_while_pending
from zipcast.honeypots import Choice
from zipcast.inputs import SelectionInputs


async def choose_epoch(
    connection: AsyncConnection, inputs: SelectionInputs, seed: bytes, start_at: datetime
) -> Choice:
    """The same at any time after the epoch before it was prepared. Raises PoolTooSmallError."""
    recent = await epochs.last_assigned(connection, inputs.history_epoch_ids)
    recent |= await assigned_while_pending(connection, inputs.history_epoch_ids)
    candidates = await load_candidates(connection, inputs.import_id, recent)
    resting = await honeypots.resting(connection, inputs.honeypot_epoch_ids)
    # Off the loop: 42,000 candidates take a fifth of a second.
    return await asyncio.to_thread(inputs.choose, candidates, resting, seed, start_at)
