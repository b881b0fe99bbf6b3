"""Stores the honeypots of an epoch that was copied from the stream.

The message does not name them, but the epoch's committed inputs lead to them. They are stored only if these
inputs lead to the same zipcodes as the message.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from schedulers.epochs.preparation import Preparer
from schedulers.epochs.seed_secrets import UnknownSecretError
from schedulers.epochs.zipcode_choice import ChosenEpoch, choose_epoch
from service import logs
from storage.database import epoch_drafts
from storage.database.honeypots import store_honeypots
from zipcast.protocol.messages.epochs import AssignedZipcode, EpochMessage
from zipcast.selection import seeds
from zipcast.selection.committed_inputs import SelectionInputs
from zipcast.selection.model import PoolTooSmallError

log = logs.logger()


async def record_honeypots(preparer: Preparer, connection: AsyncConnection, message: EpochMessage) -> None:
    """Store the honeypots in the transaction that adopts `message`. If selecting again with the stored inputs
    gives other zipcodes than the message has, store none and log that."""
    stored = await epoch_drafts.effective_inputs(connection, message.epoch_id)
    inputs = None if stored is None else SelectionInputs.from_bytes(stored)
    chosen = None if inputs is None else await _chosen(preparer, connection, inputs, message)
    if chosen is None or AssignedZipcode.all_of(chosen.choice.zipcodes) != message.zipcodes:
        log.error("honeypots_not_recomputed", epoch_id=message.epoch_id)
        chosen = None
    await store_honeypots(connection, message.epoch_id, () if chosen is None else chosen.drawn)


async def _chosen(
    preparer: Preparer, connection: AsyncConnection, inputs: SelectionInputs, message: EpochMessage
) -> ChosenEpoch | None:
    try:
        seed = preparer.seed(message.epoch_id, inputs.secret_id)
        draw_seed = seeds.derive_draw_seed(seed, message.used_round())
        return await choose_epoch(connection, inputs, draw_seed, message.epoch_start)
    except (PoolTooSmallError, UnknownSecretError):
        return None
