"""Reads facts about miners in revealed epochs for signals, and stores the signals.

It finds the epochs that have not been examined yet. The scheduler decides what a signal is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, Text, bindparam, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import manifests
from storage.database.tables import Epoch, EpochAssignment, MinerSignal, RequestRefusal, UploadSeal
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.verbs import Verb

# Signals are computed only for epochs that ended within this time, because refused requests are not kept for
# longer.
LOOK_BACK = timedelta(days=30)
# If an epoch has no manifest this long after its end, its signals are computed without uploads.
MAX_SEAL_WAIT = timedelta(days=1)
MAX_DUE = 500
# To find zipcodes, only a miner's largest files of an epoch are searched, and only the end of each key:
# searching many long keys with numbers could take minutes.
MAX_SEARCHED_FILES = 2_000
MAX_SEARCHED_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class MinerFacts:
    """The facts about one miner's report on one epoch. `reported` and `exact` count different zipcodes of the
    epoch."""

    epoch_id: str
    hotkey: str
    completed_at: datetime | None
    listings: int
    reported: int
    exact: int


@dataclass(frozen=True, slots=True)
class NonceRefusals:
    """The refusals of a hotkey. `suppressed` counts refusals of any hotkey that were not stored before
    these."""

    hotkey: str
    refusals: int
    suppressed: int


@dataclass(frozen=True, slots=True)
class NewSignal:
    hotkey: str
    kind: str
    details: dict[str, Any]


async def unlooked(connection: AsyncConnection) -> list[EpochInterval]:
    """Return the revealed epochs that were not examined yet, oldest first. An epoch waits until it has a
    manifest, but at most for MAX_SEAL_WAIT."""
    now = func.clock_timestamp()
    query = (
        select(Epoch.start_at, Epoch.end_at)
        .where(
            Epoch.signals_computed_at.is_(None),
            Epoch.message_sha256.is_not(None),
            Epoch.end_at > now - LOOK_BACK,
            or_(exists().where(UploadSeal.epoch_id == Epoch.epoch_id), Epoch.end_at <= now - MAX_SEAL_WAIT),
            func.zipcast.epoch_is_revealed(Epoch.epoch_id),
        )
        .order_by(Epoch.end_at)
        .limit(MAX_DUE)
    )
    return [EpochInterval(row.start_at, row.end_at) for row in await connection.execute(query)]


async def lock_unlooked(connection: AsyncConnection, epoch_id: str) -> bool:
    """Lock the epoch until the transaction ends. Return False if another replica is examining or has examined
    it."""
    query = (
        select(Epoch.epoch_id)
        .where(Epoch.epoch_id == epoch_id, Epoch.signals_computed_at.is_(None))
        .with_for_update(skip_locked=True, key_share=True)
    )
    return (await connection.execute(query)).first() is not None


async def epochs_until(connection: AsyncConnection, start_at: datetime, count: int) -> list[str]:
    """Return the epoch that starts at `start_at` and published ones before it, newest first, `count` in
    all."""
    query = select(Epoch.epoch_id).where(Epoch.start_at <= start_at, Epoch.message_sha256.is_not(None))
    return list((await connection.execute(query.order_by(Epoch.start_at.desc()).limit(count))).scalars())


MAX_REPORTS = 20_000
"""The largest number of rows that are read, in the order of their arrival; miners send fewer. Without this
limit, millions of rows written with the responder's login could delay the epochs."""
# If a report names a zipcode twice, the larger count is taken. A report of completion without a count counts
# as if all listings of the epoch were reported.
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
    order by min(report.received_at) limit :most
    """
).bindparams(bindparam("epochs", type_=ARRAY(Text)))


async def miner_facts(connection: AsyncConnection, epoch_ids: Sequence[str]) -> list[MinerFacts]:
    rows = await connection.execute(_FACTS, {"epochs": list(epoch_ids), "most": MAX_REPORTS})
    return [MinerFacts(*row) for row in rows]


async def nonce_refusals(connection: AsyncConnection, interval: EpochInterval) -> list[NonceRefusals]:
    """Return the refusals during this epoch, by hotkey. Only those of the responder count, because it
    verifies the signature first."""
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
        .order_by(func.min(RequestRefusal.refused_at))
        .limit(MAX_REPORTS)
    )
    rows = await connection.execute(query)
    return [NonceRefusals(str(hotkey), int(count), int(left)) for hotkey, count, left in rows]


# A file counts for a zipcode if that is the only zipcode of the epoch that the end of the file's key names.
# The hotkey in the key is ignored. A number with which that end begins is ignored too, because its first
# digits may be cut off.
_UPLOADS = text(
    """
    select named.zipcode, sum(file.size_bytes)::bigint as bytes from (
        select right(replace(object_key, hotkey, ''), :characters) as key_end, size_bytes
        from zipcast.upload_manifests where epoch_id = :epoch and hotkey = :hotkey
        order by size_bytes desc, object_key limit :files
    ) as file cross join lateral (
        select min(found[1]) as zipcode, count(distinct found[1]) as zipcodes
        from regexp_matches(file.key_end, '(?<=[^0-9])[0-9]{5}(?![0-9])', 'g') as found
        where found[1] = any(array(
            select zipcode from zipcast.epoch_assignments where epoch_id = :epoch))
    ) as named where named.zipcodes = 1 group by named.zipcode
    """
).bindparams(characters=MAX_SEARCHED_CHARACTERS, files=MAX_SEARCHED_FILES)


async def uploaded_bytes(connection: AsyncConnection, epoch_id: str) -> dict[str, dict[str, int]]:
    """Return, by hotkey and zipcode, the bytes of files in the epoch's manifest that name the zipcode. Each
    miner has a separate statement, so that the time limit of a statement applies to one miner."""
    found: dict[str, dict[str, int]] = {}
    for hotkey in await manifests.sealed_hotkeys(connection, epoch_id):
        rows = await connection.execute(_UPLOADS, {"epoch": epoch_id, "hotkey": hotkey})
        if sizes := {row.zipcode: row.bytes for row in rows}:
            found[hotkey] = sizes
    return found


async def published_counts(connection: AsyncConnection, epoch_id: str) -> dict[str, int]:
    """Return the published number of listings of each zipcode of the epoch."""
    query = select(EpochAssignment.zipcode, EpochAssignment.expected_listings)
    rows = (await connection.execute(query.where(EpochAssignment.epoch_id == epoch_id))).all()
    return {row.zipcode: row.expected_listings for row in rows}


async def note_signals(connection: AsyncConnection, epoch_id: str, found: Sequence[NewSignal]) -> None:
    """Store the signals, and mark the epoch as examined. Signals that are already stored are not changed."""
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
