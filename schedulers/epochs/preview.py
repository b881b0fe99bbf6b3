"""Returns the next epoch before its start, for an operator with the scheduler's database login and secrets.

No service calls this module, so pending epochs are never sent over a network.
"""

from dataclasses import dataclass
from datetime import datetime

from schedulers.epochs import plan
from schedulers.epochs.preparation import Preparer
from storage.database import epoch_changes, epochs
from storage.database.pending_epochs import pending_epoch
from zipcast.protocol.messages.epochs import EpochMessage


@dataclass(frozen=True, slots=True)
class Preview:
    """The next epoch. If it is drawn, `message` will be published like this; otherwise `message` is None, and
    the draw takes place at `drawn_at`. `relaxed_cooldown` are the zipcodes that were admitted during their
    cooldown. `relaxed_age_days` is the number of days by which the age limit was exceeded."""

    epoch_id: str
    target_listings: int
    drawn_at: datetime | None
    message: EpochMessage | None
    relaxed_cooldown: tuple[str, ...] = ()
    relaxed_age_days: int = 0


async def preview_next(preparer: Preparer) -> Preview:
    """Return the next epoch. If it is not drawn, draft it under the usual lock, in a transaction that is
    rolled back. Raises the errors of drafting."""
    async with preparer.database.connect() as connection:
        await epoch_changes.lock_preparation(connection)
        timeline = await epochs.timeline(connection, await epochs.database_now(connection))
        interval = plan.next_interval(preparer.calendar, timeline)
        found = await pending_epoch(connection, interval.epoch_id)
        if found is not None:
            prepared, message = found.prepared, found.prepared.message
            cooldown = tuple(prepared.relaxed_cooldown)
            target = message.target_listings
            return Preview(interval.epoch_id, target, None, message, cooldown, prepared.relaxed_age_days)
        inputs = (await preparer.drafter.commit(connection, interval)).inputs
        await connection.rollback()
    drawn_at = preparer.chain.instant(inputs.beacon.draw_round)
    return Preview(interval.epoch_id, inputs.settings.target_listings, drawn_at, None)
