"""Reads an epoch's pool from the database and chooses the epoch's zipcodes. It also decides the published
counts of an import.

The rules are in the pure modules `zipcast.selection.select`, `zipcast.selection.honeypots` and
`zipcast.selection.false_counts`. An epoch's pool is the published data of its import, with the history that
its inputs name. The choice can therefore be repeated at any time.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import epochs, published_zipcodes
from storage.database.candidates import load_real_candidates
from storage.database.honeypots import DrawnHoneypot
from storage.database.pending_epochs import assigned_while_pending
from zipcast.selection import fitting, seeds
from zipcast.selection.committed_inputs import SelectionInputs
from zipcast.selection.false_counts import PublishedPool, publish
from zipcast.selection.honeypots import Choice, HoneypotSettings
from zipcast.selection.model import SelectionSettings

_ANY_SEED = bytes(32)
_CHECKED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class ChosenEpoch:
    """A choice, with the salts of the drawn honeypots."""

    choice: Choice
    drawn: tuple[DrawnHoneypot, ...]


async def choose_epoch(
    connection: AsyncConnection, inputs: SelectionInputs, draw_seed: bytes, start_at: datetime
) -> ChosenEpoch:
    """Choose the zipcodes of an epoch. The result is the same at any time after the previous epoch was drawn.
    Raises PoolTooSmallError."""
    recent = await epochs.last_assigned(connection, inputs.history_epoch_ids)
    recent |= await assigned_while_pending(connection, inputs.history_epoch_ids)
    candidates = [one for one, _ in await published_zipcodes.load(connection, inputs.import_id, recent)]
    secret = await published_zipcodes.secret_counts(connection, inputs.import_id)
    real_listings = {zipcode: one.real_listings for zipcode, one in secret.items()}
    # In a thread, because 42,000 candidates take a fifth of a second.
    choice = await asyncio.to_thread(inputs.choose, candidates, real_listings, draw_seed, start_at)
    drawn = [
        DrawnHoneypot(
            one.zipcode,
            one.real_listings,
            one.published_listings,
            secret[one.zipcode].salt,
            discarded,
            secret[one.zipcode].threshold,
        )
        for discarded, honeypots in ((False, choice.honeypots), (True, choice.discarded))
        for one in honeypots
    ]
    return ChosenEpoch(choice, tuple(drawn))


async def require_enough(connection: AsyncConnection, inputs: SelectionInputs, start_at: datetime) -> None:
    """Check that the pool can fill the epoch with any draw seed. Raises PoolTooSmallError.

    Usually, the check reads only a few zipcodes, because age limit and cooldown are relaxed if necessary."""
    totals, last = fitting.band(inputs.settings), ""
    while rows := await published_zipcodes.load(
        connection, inputs.import_id, {}, after=last, limit=_CHECKED_AT_ONCE
    ):
        totals = fitting.completable(totals, filter(inputs.settings.may_be_drawn, (one for one, _ in rows)))
        if totals & 1:
            return
        last = rows[-1][0].zipcode
    # No draw can fill the epoch. Raise the error that says how many zipcodes there are of each kind.
    await choose_epoch(connection, inputs, _ANY_SEED, start_at)


async def publish_import(
    connection: AsyncConnection,
    import_id: int,
    settings: SelectionSettings,
    honeypots: HoneypotSettings,
    keys: seeds.ImportKeys,
) -> None:
    """Decide an import's published counts, unless that was done before. The caller must hold the lock for
    preparing epochs."""
    if await published_zipcodes.is_published(connection, import_id):
        return
    before = await published_zipcodes.load_before(connection, import_id)
    zipcodes = await load_real_candidates(connection, import_id)

    def decided() -> tuple[PublishedPool, dict[str, bytes]]:
        pool = publish(zipcodes, before, settings, honeypots, keys.honeypots())
        return pool, {one.zipcode: keys.salt(one.zipcode) for one in pool.candidates}

    pool, salts = await asyncio.to_thread(decided)
    await published_zipcodes.store(connection, import_id, pool, salts, honeypots.threshold)
