"""Decoys in PostgreSQL: written with their epoch, read once they are revealed, compared with reports then.

Owns every statement on `epoch_honeypots`, and reading `miner_signals`. When decoys are revealed says the
function `epoch_is_revealed` of the migrations, which row-level security asks too, and nobody else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, bindparam, delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.history import REVEALED
from storage.tables import EpochHoneypot, MinerSignal
from zipcast.honeypots import Honeypot

HONEYPOT_HIT = "honeypot_hit"


@dataclass(frozen=True, slots=True)
class Revelation:
    """What one epoch after an epoch's end may be known of it; the seed is in hex."""

    seed: str
    honeypots: tuple[Honeypot, ...]


@dataclass(frozen=True, slots=True)
class Signal:
    """Something about a miner that validators may want to look at. Nothing is ever done by it here."""

    hotkey: str
    kind: str
    details: dict[str, Any]
    computed_at: datetime


async def store_honeypots(
    connection: AsyncConnection, epoch_id: str, honeypots: Sequence[Honeypot], threshold: int
) -> None:
    """Instead of any that are there; `threshold` is the one that the epoch was committed to."""
    await connection.execute(delete(EpochHoneypot).where(EpochHoneypot.epoch_id == epoch_id))
    rows = [
        {
            "epoch_id": epoch_id,
            "zipcode": one.zipcode,
            "real_listings": one.real_listings,
            "published_listings": one.published_listings,
            "threshold": threshold,
        }
        for one in honeypots
    ]
    if rows:
        await connection.execute(insert(EpochHoneypot), rows)


async def resting(connection: AsyncConnection, epoch_ids: Sequence[str]) -> list[str]:
    """The decoys of those epochs, each once, by zipcode."""
    query = select(EpochHoneypot.zipcode).where(EpochHoneypot.epoch_id.in_(epoch_ids)).distinct()
    return sorted((await connection.execute(query)).scalars())


async def is_revealed(connection: AsyncConnection, epoch_id: str) -> bool:
    """Whether one epoch has passed since the epoch's end, by PostgreSQL's clock."""
    return bool((await connection.execute(select(func.epoch_is_revealed(epoch_id)))).scalar())


async def revelation(connection: AsyncConnection, epoch_id: str) -> Revelation | None:
    """None before one epoch after the epoch's end, by PostgreSQL's clock, and where there is none."""
    seed_query = select(REVEALED.c.seed).where(
        REVEALED.c.epoch_id == epoch_id, func.epoch_is_revealed(REVEALED.c.epoch_id)
    )
    seed = (await connection.execute(seed_query)).scalar()
    if seed is None:
        return None
    query = select(
        EpochHoneypot.zipcode, EpochHoneypot.real_listings, EpochHoneypot.published_listings
    ).where(EpochHoneypot.epoch_id == epoch_id)
    rows = await connection.execute(query.order_by(EpochHoneypot.zipcode))
    return Revelation(seed, tuple(Honeypot(*row) for row in rows))


async def signals(connection: AsyncConnection, epoch_id: str) -> list[Signal]:
    """By hotkey and kind."""
    query = (
        select(MinerSignal.hotkey, MinerSignal.kind, MinerSignal.details, MinerSignal.computed_at)
        .where(MinerSignal.epoch_id == epoch_id)
        .order_by(MinerSignal.hotkey, MinerSignal.kind)
    )
    return [Signal(*row) for row in await connection.execute(query)]


# Of one report that names a zipcode twice, the larger count.
_HITS = text(
    """
    with due as (
        select epoch_id, zipcode, real_listings, published_listings, threshold
        from epoch_honeypots where compared_at is null and epoch_is_revealed(epoch_id)
        for update skip locked
    ), reported as (
        select due.epoch_id, hotkey, due.zipcode, due.real_listings, due.published_listings, due.threshold,
            (most_claimed ->> due.zipcode)::bigint as reported, is_late as late
        from due join miner_submissions using (epoch_id)
        where most_claimed ? due.zipcode
    ), flagged as (
        insert into miner_signals (epoch_id, hotkey, kind, details, computed_at)
        select epoch_id, hotkey, :kind, jsonb_build_object('late', bool_or(late), 'zipcodes', jsonb_agg(
            jsonb_build_object('zipcode', zipcode, 'reportedListings', reported, 'threshold', threshold,
                'realListings', real_listings, 'publishedListings', published_listings) order by zipcode)),
            clock_timestamp()
        from reported where reported > threshold
        group by epoch_id, hotkey
        on conflict do nothing returning epoch_id
    ), compared as (
        update epoch_honeypots set compared_at = clock_timestamp()
        from due where epoch_honeypots.epoch_id = due.epoch_id and epoch_honeypots.zipcode = due.zipcode
        returning epoch_honeypots.epoch_id
    )
    select (select count(distinct epoch_id) from compared), (select count(*) from flagged)
    """
).bindparams(bindparam("kind", type_=Text))


async def flag_hits(connection: AsyncConnection) -> tuple[int, int]:
    """Compare the reports of each epoch whose decoys have been revealed since, once. Returns how many epochs
    were compared, and how many miners reported more for a decoy than its threshold."""
    compared, flagged = (await connection.execute(_HITS, {"kind": HONEYPOT_HIT})).one()
    return int(compared), int(flagged)
