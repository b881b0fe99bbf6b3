"""What the record knows of miners in epochs that are revealed, for signals; and noting those.

Owns which epochs are still to be looked through, each once. What is a signal is the scheduler's to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, Text, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import Epoch, EpochAssignment, MinerSignal, RequestRefusal
from zipcast.calendar import EpochInterval
from zipcast.errors import ErrorCode
from zipcast.subjects import Verb

# Refusals are kept no longer.
LOOK_BACK = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class MinerFacts:
    """One miner's report of one epoch. `reported` and `exact` count zipcodes of the epoch, each once."""

    epoch_id: str
    hotkey: str
    completed_at: datetime | None
    listings: int
    reported: int
    exact: int


@dataclass(frozen=True, slots=True)
class NonceRefusals:
    """`suppressed`: of anybody's, left out of the trail before these."""

    hotkey: str
    refusals: int
    suppressed: int


@dataclass(frozen=True, slots=True)
class NewSignal:
    hotkey: str
    kind: str
    details: dict[str, Any]


async def next_unlooked(connection: AsyncConnection) -> EpochInterval | None:
    """The oldest revealed epoch that nobody has looked through; locked until the transaction ends."""
    query = (
        select(Epoch.start_at, Epoch.end_at)
        .where(
            Epoch.signals_computed_at.is_(None),
            Epoch.message_sha256.is_not(None),
            Epoch.end_at > func.clock_timestamp() - LOOK_BACK,
            func.zipcast.epoch_is_revealed(Epoch.epoch_id),
        )
        .order_by(Epoch.end_at)
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else EpochInterval(row.start_at, row.end_at)


async def epochs_until(connection: AsyncConnection, start_at: datetime, count: int) -> list[str]:
    """The epoch that starts then and those before it that were published, newest first, `count` in all."""
    query = select(Epoch.epoch_id).where(Epoch.start_at <= start_at, Epoch.message_sha256.is_not(None))
    return list((await connection.execute(query.order_by(Epoch.start_at.desc()).limit(count))).scalars())


# Of one report that names a zipcode twice, the larger count. Who says that it is complete and not how much
# that was claims all of it.
_FACTS = text(
    """
    select report.epoch_id, report.hotkey, report.first_completed_at,
        coalesce(nullif(report.first_completed_listings, 0), epoch.total_expected_listings, 0),
        count(assigned.zipcode), count(*)
        filter (where counted.listings = assigned.expected_listings)
    from zipcast.miner_submissions as report join zipcast.epochs as epoch using (epoch_id)
    left join lateral (
        select one ->> 'zipcode' as zipcode, max((one ->> 'listingsScraped')::bigint) as listings
        from jsonb_array_elements(report.zipcodes_completed) as one group by 1
    ) as counted on true
    left join zipcast.epoch_assignments as assigned
        on assigned.epoch_id = report.epoch_id and assigned.zipcode = counted.zipcode
    where report.epoch_id = any(:epochs)
    group by report.epoch_id, report.hotkey, epoch.epoch_id
    """
).bindparams(bindparam("epochs", type_=ARRAY(Text)))


async def miner_facts(connection: AsyncConnection, epoch_ids: Sequence[str]) -> list[MinerFacts]:
    rows = await connection.execute(_FACTS, {"epochs": list(epoch_ids)})
    return [MinerFacts(*row) for row in rows]


async def nonce_refusals(connection: AsyncConnection, interval: EpochInterval) -> list[NonceRefusals]:
    """While that epoch ran, by hotkey. The responder's alone: there the signature had been verified."""
    query = (
        select(RequestRefusal.hotkey, func.count(), func.sum(RequestRefusal.suppressed))
        .where(
            RequestRefusal.process == "responder",
            RequestRefusal.verb == Verb.MINER_STATUS,
            RequestRefusal.error == ErrorCode.NONCE_MISMATCH,
            RequestRefusal.hotkey.is_not(None),
            RequestRefusal.refused_at >= interval.start_at,
            RequestRefusal.refused_at < interval.end_at,
        )
        .group_by(RequestRefusal.hotkey)
    )
    rows = await connection.execute(query)
    return [NonceRefusals(str(hotkey), int(count), int(left)) for hotkey, count, left in rows]


# A key counts for a zipcode if that is the only one of the epoch's that its path names, beside the hotkey.
_UPLOADS = text(
    """
    select hotkey, zipcode, sum(size_bytes)::bigint from (
        select object.hotkey, object.size_bytes, min(assigned.zipcode) as zipcode
        from zipcast.upload_manifests as object
        cross join lateral regexp_matches(
            replace(object.object_key, object.hotkey, ''), '(?<![0-9])[0-9]{5}(?![0-9])', 'g') as named
        join zipcast.epoch_assignments as assigned
            on assigned.epoch_id = object.epoch_id and assigned.zipcode = named[1]
        where object.epoch_id = :epoch
        group by object.hotkey, object.object_key, object.size_bytes
        having count(distinct assigned.zipcode) = 1
    ) as keyed group by hotkey, zipcode
    """
)


async def uploaded_bytes(connection: AsyncConnection, epoch_id: str) -> dict[str, dict[str, int]]:
    """Return by hotkey and zipcode how many bytes the epoch's manifest holds of files that name the
    zipcode."""
    found: dict[str, dict[str, int]] = {}
    for hotkey, zipcode, size in await connection.execute(_UPLOADS, {"epoch": epoch_id}):
        found.setdefault(hotkey, {})[zipcode] = size
    return found


async def published_counts(connection: AsyncConnection, epoch_id: str) -> dict[str, int]:
    """Return the published listings of the epoch's zipcodes."""
    query = select(EpochAssignment.zipcode, EpochAssignment.expected_listings)
    rows = (await connection.execute(query.where(EpochAssignment.epoch_id == epoch_id))).all()
    return {row.zipcode: row.expected_listings for row in rows}


async def note_signals(connection: AsyncConnection, epoch_id: str, found: Sequence[NewSignal]) -> None:
    """And that the epoch was looked through. What is noted already stays as it is."""
    now = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    rows = [
        {
            "epoch_id": epoch_id,
            "hotkey": one.hotkey,
            "kind": one.kind,
            "details": one.details,
            "computed_at": now,
        }
        for one in found
    ]
    if rows:
        await connection.execute(upsert(MinerSignal).on_conflict_do_nothing(), rows)
    await connection.execute(update(Epoch).where(Epoch.epoch_id == epoch_id).values(signals_computed_at=now))
