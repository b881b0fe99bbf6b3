"""Reads and writes the honeypots that were drawn for epochs, and compares reports with them once the epoch is
revealed.

The SQL function `epoch_is_revealed` decides when an epoch is revealed. Only the scheduler may read the table,
which has one padded row per epoch; other processes use the function `revealed_honeypots`. Signals about
miners are also read here.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.history import REVEALED
from storage.database.tables import EpochHoneypots, MinerSignal

HONEYPOT_HIT = "honeypot_hit"
# Rows are padded to a multiple of this size, so that the size of a row does not reveal how many honeypots it
# has. One such size is enough for a dozen honeypots.
STEP_CHARACTERS = 4_096


@dataclass(frozen=True, slots=True)
class OpenedHoneypot:
    """A honeypot that was drawn. Its commitment can be checked with `salt` (hex). `discarded` is true if only
    a discarded draw contained it."""

    zipcode: str
    real_listings: int
    published_listings: int
    salt: str
    discarded: bool


@dataclass(frozen=True, slots=True)
class DrawnHoneypot(OpenedHoneypot):
    """A drawn honeypot. Its real count is below `threshold`."""

    threshold: int


@dataclass(frozen=True, slots=True)
class Revelation:
    """The facts that are revealed one epoch after an epoch's end. The seed is in hex."""

    seed: str
    honeypots: tuple[OpenedHoneypot, ...]


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal about a miner for validators to examine. It has no other effect."""

    hotkey: str
    kind: str
    details: dict[str, Any]
    computed_at: datetime


async def store_honeypots(
    connection: AsyncConnection, epoch_id: str, honeypots: Sequence[DrawnHoneypot]
) -> None:
    """Store the honeypots of an epoch, and replace stored ones."""
    content = json.dumps([asdict(one) for one in honeypots])
    padded = content.ljust(-(-len(content) // STEP_CHARACTERS) * STEP_CHARACTERS)
    store = upsert(EpochHoneypots).values(epoch_id=epoch_id, content=padded)
    await connection.execute(
        store.on_conflict_do_update(
            index_elements=[EpochHoneypots.epoch_id],
            set_={"content": store.excluded.content, "compared_at": None},
        )
    )


async def discard_honeypots(connection: AsyncConnection, epoch_id: str) -> None:
    """Delete the honeypots of an epoch that has not started."""
    await connection.execute(delete(EpochHoneypots).where(EpochHoneypots.epoch_id == epoch_id))


def _opened(content: list[dict[str, Any]]) -> tuple[OpenedHoneypot, ...]:
    names = [field.name for field in fields(OpenedHoneypot)]
    return tuple(OpenedHoneypot(**{name: one[name] for name in names}) for one in content)


async def is_revealed(connection: AsyncConnection, epoch_id: str) -> bool:
    """Return whether one epoch has passed since the epoch's end, by PostgreSQL's clock."""
    return bool((await connection.execute(select(func.zipcast.epoch_is_revealed(epoch_id)))).scalar())


async def revelation(connection: AsyncConnection, epoch_id: str) -> Revelation | None:
    """Return the epoch's seed and honeypots, or None if the epoch does not exist or is not revealed yet by
    PostgreSQL's clock."""
    seed_query = select(REVEALED.c.seed).where(
        REVEALED.c.epoch_id == epoch_id, func.zipcast.epoch_is_revealed(REVEALED.c.epoch_id)
    )
    seed = (await connection.execute(seed_query)).scalar()
    if seed is None:
        return None
    revealed = select(func.zipcast.revealed_honeypots(epoch_id).cast(JSONB))
    found = (await connection.execute(revealed)).scalar()
    return Revelation(seed, _opened(found or []))


async def signals(connection: AsyncConnection, epoch_id: str) -> list[Signal]:
    """Return the signals of an epoch, ordered by hotkey and kind."""
    query = (
        select(MinerSignal.hotkey, MinerSignal.kind, MinerSignal.details, MinerSignal.computed_at)
        .where(MinerSignal.epoch_id == epoch_id)
        .order_by(MinerSignal.hotkey, MinerSignal.kind)
    )
    return [Signal(*row) for row in await connection.execute(query)]


# If one report names a zipcode twice, the larger count is taken.
_HITS = text(
    """
    with claimed as (
        select epoch_id, content from zipcast.epoch_honeypots
        where compared_at is null and zipcast.epoch_is_revealed(epoch_id)
        for update skip locked
    ), due as (
        select epoch_id, honeypot.* from claimed, jsonb_to_recordset(content::jsonb) as honeypot (
            zipcode text, real_listings integer, published_listings integer, threshold integer,
            discarded boolean)
        where not discarded
    ), reported as (
        select due.epoch_id, hotkey, due.zipcode, due.real_listings, due.published_listings, due.threshold,
            case when jsonb_typeof(most_claimed -> due.zipcode) = 'number'
                then least((most_claimed ->> due.zipcode)::numeric, 2147483647)::bigint end as reported,
            is_late as late
        from due join zipcast.miner_submissions using (epoch_id)
        where most_claimed ? due.zipcode
    ), flagged as (
        insert into zipcast.miner_signals (epoch_id, hotkey, kind, details, computed_at)
        select epoch_id, hotkey, :kind, jsonb_build_object('late', bool_or(late), 'zipcodes', jsonb_agg(
            jsonb_build_object('zipcode', zipcode, 'reportedListings', reported, 'threshold', threshold,
                'realListings', real_listings, 'publishedListings', published_listings) order by zipcode)),
            clock_timestamp()
        from reported where reported > threshold
        group by epoch_id, hotkey
        on conflict do nothing returning epoch_id
    ), compared as (
        update zipcast.epoch_honeypots as stored set compared_at = clock_timestamp()
        from claimed where stored.epoch_id = claimed.epoch_id
        returning stored.epoch_id
    )
    select (select count(*) from compared), (select count(*) from flagged)
    """
).bindparams(bindparam("kind", type_=Text))


async def flag_hits(connection: AsyncConnection) -> tuple[int, int]:
    """Compare the reports of each newly revealed epoch with its honeypots, once. Return how many epochs were
    compared, and how many miners reported more for a honeypot than its threshold."""
    compared, flagged = (await connection.execute(_HITS, {"kind": HONEYPOT_HIT})).one()
    return int(compared), int(flagged)
