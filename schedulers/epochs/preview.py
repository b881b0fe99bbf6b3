"""Shows the next epoch before its start, to an operator with the scheduler's database login and secrets.

Owns no door: no process calls this, so that nothing of a pending epoch is ever on a network.
"""

from dataclasses import dataclass

from schedulers.epochs import plan
from schedulers.epochs.preparation import Preparer
from storage.database import epoch_changes, epochs
from storage.database.pending_epochs import pending_epoch
from zipcast.protocol.messages.epochs import EpochMessage


@dataclass(frozen=True, slots=True)
class Preview:
    """`is_prepared`: it is stored, and this is what will be published; else it is what preparing it now would
    give, and nothing of that was kept. `relaxed_cooldown`: let back before their cooldown was over.
    `relaxed_age_days`: by how many days data is too old."""

    message: EpochMessage
    is_prepared: bool
    relaxed_cooldown: tuple[str, ...]
    relaxed_age_days: int


async def preview_next(preparer: Preparer) -> Preview:
    """Under the lock of preparing, in a transaction that is undone. Raises what preparing raises."""
    async with preparer.database.connect() as connection:
        await epoch_changes.lock_preparation(connection)
        timeline = await epochs.timeline(connection, await epochs.database_now(connection))
        interval = plan.next_interval(preparer.calendar, timeline)
        found = await pending_epoch(connection, interval.epoch_id)
        if found is not None:
            prepared = found.prepared
            return Preview(
                prepared.message, True, tuple(prepared.relaxed_cooldown), prepared.relaxed_age_days
            )
        prepared = await preparer.build(connection, interval)
        await connection.rollback()
    return Preview(prepared.message, False, tuple(prepared.relaxed_cooldown), prepared.relaxed_age_days)
