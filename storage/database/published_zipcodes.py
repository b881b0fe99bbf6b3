"""Reads and writes the published counts of each import's zipcodes, and which of them are false.

Only schedulers write, and only they may read which counts are false. `zipcast.selection.false_counts` decides
which are.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from operator import itemgetter

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import PublishedZipcode, RetiredHoneypot, ZipcodeHoneypot
from storage.database.zipcode_versions import require_whole
from zipcast.selection.false_counts import PublishedPool
from zipcast.selection.honeypots import commitment
from zipcast.selection.model import Candidate, MarketTier

_COLUMNS = tuple(field.name for field in fields(Candidate) if field.name != "last_assigned_at")
_PUBLISHED = PublishedZipcode.__table__.c
_BATCH = 5_000


@dataclass(frozen=True, slots=True)
class SecretCount:
    """The real count of a honeypot, with the salt of its commitment in hex."""

    real_listings: int
    threshold: int
    salt: str


async def is_published(connection: AsyncConnection, import_id: int) -> bool:
    """Return whether the published counts of this import are stored already."""
    query = select(PublishedZipcode.import_id).where(PublishedZipcode.import_id == import_id).limit(1)
    return (await connection.execute(query)).first() is not None


async def store(
    connection: AsyncConnection,
    import_id: int,
    pool: PublishedPool,
    salts: Mapping[str, bytes],
    threshold: int,
) -> None:
    """Store the published data of an import's zipcodes. `salts` has a salt for each zipcode."""
    rows = [_row(import_id, one, pool, salts[one.zipcode]) for one in pool.candidates]
    for first in range(0, len(rows), _BATCH):
        await connection.execute(insert(PublishedZipcode), rows[first : first + _BATCH])
    honeypots = [
        {
            "import_id": import_id,
            "zipcode": zipcode,
            "real_listings": real_listings,
            "threshold": threshold,
            "salt": salts[zipcode].hex(),
        }
        for zipcode, real_listings in pool.real_listings.items()
    ]
    if honeypots:
        await connection.execute(insert(ZipcodeHoneypot), honeypots)
    known = set((await connection.execute(select(RetiredHoneypot.zipcode))).scalars())
    retired = [{"zipcode": zipcode, "import_id": import_id} for zipcode in sorted(pool.retired - known)]
    if retired:
        await connection.execute(insert(RetiredHoneypot), retired)


def _row(import_id: int, one: Candidate, pool: PublishedPool, salt: bytes) -> dict[str, object]:
    real = pool.real_listings.get(one.zipcode)
    shown = one.expected_listings if real is None else real
    bound = commitment(one.zipcode, shown, is_honeypot=real is not None, salt=salt)
    return {name: getattr(one, name) for name in _COLUMNS} | {"import_id": import_id, "commitment": bound}


async def load_before(connection: AsyncConnection, import_id: int) -> PublishedPool | None:
    """Return the published data of the newest import before this one, including the secret parts, or None.
    For schedulers only."""
    query = select(func.max(PublishedZipcode.import_id)).where(PublishedZipcode.import_id < import_id)
    before = (await connection.execute(query)).scalar()
    if before is None:
        return None
    candidates = [one for one, _ in await load(connection, before, {})]
    secret = await secret_counts(connection, before)
    retired = (await connection.execute(select(RetiredHoneypot.zipcode))).scalars()
    real_listings = {zipcode: one.real_listings for zipcode, one in secret.items()}
    return PublishedPool(tuple(candidates), real_listings, frozenset(retired))


async def load(
    connection: AsyncConnection,
    import_id: int,
    last_assigned: Mapping[str, datetime],
    *,
    after: str | None = None,
    limit: int | None = None,
) -> list[tuple[Candidate, str]]:
    """Return the import's active zipcodes with their published counts and commitments, ordered by zipcode:
    all of them, or the next `limit` after the zipcode `after`. `last_assigned` has, by zipcode, the start of
    the newest epoch that assigned it. Raises VersionTrimmedError."""
    await require_whole(connection, import_id)
    query = select(*(_PUBLISHED[name] for name in (*_COLUMNS, "commitment")))
    query = query.where(_PUBLISHED.import_id == import_id).order_by(_PUBLISHED.zipcode).limit(limit)
    if after is not None:
        query = query.where(_PUBLISHED.zipcode > after)
    rows = await connection.execute(query)
    return [_candidate(tuple(row), last_assigned) for row in rows]


_TIER = _COLUMNS.index("market_tier")
_TIERS = {str(tier): tier for tier in MarketTier}
_ZIPCODE = itemgetter(_COLUMNS.index("zipcode"))


def _candidate(row: tuple[object, ...], last_assigned: Mapping[str, datetime]) -> tuple[Candidate, str]:
    values = [*row[:-1], last_assigned.get(str(_ZIPCODE(row)))]
    values[_TIER] = _TIERS[str(values[_TIER])]
    return Candidate(*values), str(row[-1])  # type: ignore[arg-type]


async def secret_counts(
    connection: AsyncConnection, import_id: int, zipcodes: Collection[str] | None = None
) -> dict[str, SecretCount]:
    """Return the honeypots of an import by zipcode: all of them, or only those among `zipcodes`. For
    schedulers only."""
    columns = (
        ZipcodeHoneypot.zipcode,
        ZipcodeHoneypot.real_listings,
        ZipcodeHoneypot.threshold,
        ZipcodeHoneypot.salt,
    )
    query = select(*columns).where(ZipcodeHoneypot.import_id == import_id)
    if zipcodes is not None:
        query = query.where(ZipcodeHoneypot.zipcode.in_(zipcodes))
    rows = await connection.execute(query)
    return {zipcode: SecretCount(real, threshold, salt) for zipcode, real, threshold, salt in rows}


_OPENED = text(
    "select distinct drawn ->> 'zipcode' "
    "from zipcast.epoch_honeypots, jsonb_array_elements(content::jsonb) as drawn "
    "where zipcast.epoch_is_revealed(epoch_id)"
)


async def opened_share(connection: AsyncConnection, import_id: int) -> float:
    """Return the share of the import's honeypots that validators know from revealed epochs; 0 if there are
    none. For schedulers only."""
    # Use two queries. In a single one, whether this table is read at all would reveal whether there are
    # honeypots.
    opened = set((await connection.execute(_OPENED)).scalars())
    query = select(ZipcodeHoneypot.zipcode).where(ZipcodeHoneypot.import_id == import_id)
    honeypots = set((await connection.execute(query)).scalars())
    return len(opened & honeypots) / len(honeypots) if honeypots else 0.0
