"""The decoys of an epoch whose message came from the stream instead of from here.

The message does not tell them; what it was committed to does. Owns when they are believed: only where the
same zipcodes come out again.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from runtime import logs
from schedulers.choosing import choose_epoch
from schedulers.prepare import Preparer
from schedulers.seed_secrets import UnknownSecretError
from storage import epoch_inputs
from storage.honeypots import store_honeypots
from zipcast.honeypots import Choice
from zipcast.inputs import SelectionInputs
from zipcast.messages import AssignedZipcode, EpochMessage
from zipcast.selection import PoolTooSmallError

log = logs.logger()


async def record_honeypots(preparer: Preparer, connection: AsyncConnection, message: EpochMessage) -> None:
    """In the transaction that adopts `message`. Where this record does not lead to its zipcodes, the epoch
    has no decoys here, and the log says so."""
    stored = await epoch_inputs.committed_inputs(connection, message.epoch_id)
    inputs = None if stored is None else SelectionInputs.from_bytes(stored)
    choice = None if inputs is None else await _choice(preparer, connection, inputs, message)
    same = choice is not None and AssignedZipcode.all_of(choice.zipcodes) == message.zipcodes
    if not same:
        log.error("honeypots_not_recomputed", epoch_id=message.epoch_id)
    found = choice.honeypots if choice is not None and same else ()
    threshold = 0 if inputs is None or inputs.honeypots is None else inputs.honeypots.threshold
    await store_honeypots(connection, message.epoch_id, found, threshold)


async def _choice(
    preparer: Preparer, connection: AsyncConnection, inputs: SelectionInputs, message: EpochMessage
) -> Choice | None:
    try:
        seed = preparer.seed(message.epoch_id, inputs.secret_id)
        return await choose_epoch(connection, inputs, seed, message.epoch_start)
    except (PoolTooSmallError, UnknownSecretError):
        return None
