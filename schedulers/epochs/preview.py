"""Returns the next epoch before its start, for an operator with the scheduler's database login and secrets.

No service calls this module, so pending epochs are never sent over a network.
"""

from dataclasses import dataclass

from schedulers.epochs import plan
from schedulers.epochs.preparation import Preparer
from storage.database import epoch_changes, epochs
from storage.database.pending_epochs import pending_epoch
from zipcast.protocol.messages.epochs import EpochMessage


@dataclass(frozen=True, slots=True)
class Preview:
    """The next epoch. If `is_prepared`, it is stored and will be published like this; otherwise it is the
    result of a dry run. `relaxed_cooldown` lists the zipcodes that were admitted during their cooldown.
    `relaxed_age_days` is the number of days by which the age limit was exceeded."""

    message: EpochMessage
    is_prepared: bool
    relaxed_cooldown: tuple[str, ...]
    relaxed_age_days: int


async def preview_next(preparer: Preparer) -> Preview:
    """Return the next epoch. If it is not prepared, prepare it under the usual lock, in a transaction that is
    rolled back. Raises the errors of preparing."""
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
