"""Stores miners' status reports: for each epoch and hotkey, the report that was signed last, and the time at
which the first report of completion arrived."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from operator import attrgetter, itemgetter
from typing import Any

import asyncpg

from storage.database.locks import milliseconds

MAX_CLAIMED = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Identifies a report. `body_sha256` (hex) is that of the request without its signature."""

    epoch_id: str
    hotkey: str
    reported_at: datetime
    body_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission(Signed):
    """One report. `is_late` is true if it was received after the epoch's deadline. `most_claimed` has
    listings by zipcode."""

    status: str
    received_at: datetime
    is_late: bool
    listings_scraped: int | None
    zipcodes_completed: list[dict[str, Any]]
    s3_upload_complete: bool
    s3_upload_at: datetime | None
    request_id: str
    most_claimed: dict[str, int] = field(default_factory=dict)

    @property
    def listings_claimed(self) -> int:
        """Return the larger of the stated total and the sum over zipcodes, limited to what the column can
        store."""
        of_zipcodes = sum(int(one["listingsScraped"]) for one in self.zipcodes_completed)
        return min(max(self.listings_scraped or 0, of_zipcodes), MAX_CLAIMED)


class Standing(Enum):
    """How a report compares with the stored one of the same miner and epoch."""

    NEWEST = "signed later than the stored one, or the first"
    REPEATED = "the stored one, word for word"
    CONFLICTING = "signed at the same time as the stored one, with another body"
    SUPERSEDED = "signed earlier than the stored one"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of a comparison. `is_late` tells whether the stored report arrived after the deadline."""

    standing: Standing
    is_late: bool


# The rows are written in the order of their keys, so that two replicas that write the same rows do not
# deadlock. A later report replaces the earlier one even if its counts are smaller, but the larger counts are
# kept.
STORE = """
with patience as materialized (select set_config('lock_timeout', $16, true) as lock)
insert into zipcast.miner_submissions as stored (epoch_id, hotkey, status, reported_at, received_at, is_late,
    listings_scraped, s3_upload_complete, s3_upload_at, body_sha256, request_id, zipcodes_completed,
    most_claimed, first_completed_at, first_completed_listings)
select new.* from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bool[],
        $7::int[], $8::bool[], $9::timestamptz[], $10::text[], $11::text[], $12::jsonb[], $13::jsonb[],
        $14::timestamptz[], $15::int[]) as new(epoch_id, hotkey), patience
where patience.lock <> ''
order by new.epoch_id, new.hotkey
on conflict (epoch_id, hotkey) do update set
    status = excluded.status, reported_at = excluded.reported_at, received_at = excluded.received_at,
    is_late = excluded.is_late, listings_scraped = excluded.listings_scraped,
    s3_upload_complete = excluded.s3_upload_complete, s3_upload_at = excluded.s3_upload_at,
    body_sha256 = excluded.body_sha256, request_id = excluded.request_id,
    zipcodes_completed = excluded.zipcodes_completed,
    most_claimed = (
        select coalesce(jsonb_object_agg(zipcode, listings), '{}') from (
            select zipcode, max(listings::bigint) as listings from (
                select * from jsonb_each_text(stored.most_claimed)
                union all select * from jsonb_each_text(excluded.most_claimed)
            ) as claims (zipcode, listings) group by zipcode
        ) as most
    ),
    first_completed_at = coalesce(stored.first_completed_at, excluded.first_completed_at),
    first_completed_listings = case when stored.first_completed_at is null
        then excluded.first_completed_listings else stored.first_completed_listings end
where excluded.reported_at > stored.reported_at
returning epoch_id, hotkey
"""

_FIND = """
select epoch_id, hotkey, reported_at, body_sha256, is_late from zipcast.miner_submissions
join unnest($1::text[], $2::text[]) as asked(epoch_id, hotkey) using (epoch_id, hotkey)
"""

_KEY, _KEY_OF_ROW = attrgetter("epoch_id", "hotkey"), itemgetter("epoch_id", "hotkey")
_STATED = attrgetter(
    *("epoch_id", "hotkey", "status", "reported_at", "received_at", "is_late", "listings_scraped"),
    *("s3_upload_complete", "s3_upload_at", "body_sha256", "request_id"),
)


async def store(
    connection: asyncpg.Connection, reports: Sequence[Submission], lock_timeout: timedelta
) -> list[Comparison]:
    """Store each report that was signed strictly later than the stored one, in one commit, and return the
    comparison for each. Only reports with the result NEWEST were written. If two bodies have the same time of
    signing, the one that was stored first counts.

    If there are several reports of one miner, they are treated as if the newest had arrived first. Raises
    DRIVER_ERRORS."""
    newest: dict[Any, Submission] = {}
    for report in reports:
        if _KEY(report) not in newest or report.reported_at > newest[_KEY(report)].reported_at:
            newest[_KEY(report)] = report
    columns = map(list, zip(*map(_columns, newest.values()), strict=True))
    written = {tuple(row) for row in await connection.fetch(STORE, *columns, milliseconds(lock_timeout))}
    others = [one for one in reports if _KEY(one) not in written or newest[_KEY(one)] is not one]
    compared = iter(await compare(connection, others) if others else ())
    return [
        Comparison(Standing.NEWEST, one.is_late)
        if _KEY(one) in written and newest[_KEY(one)] is one
        else next(compared)
        for one in reports
    ]


async def compare(connection: asyncpg.Connection, reports: Sequence[Signed]) -> list[Comparison]:
    """Return how each report compares with the stored one, without writing. Raises DRIVER_ERRORS."""
    epoch_ids, hotkeys = zip(*map(_KEY, reports), strict=True)
    stored = {_KEY_OF_ROW(row): row for row in await connection.fetch(_FIND, epoch_ids, hotkeys)}
    return [_compared(one, stored.get(_KEY(one))) for one in reports]


def _compared(report: Signed, stored: Any | None) -> Comparison:
    if stored is None:
        return Comparison(Standing.NEWEST, is_late=False)
    if stored["reported_at"] < report.reported_at:
        return Comparison(Standing.NEWEST, stored["is_late"])
    if stored["reported_at"] > report.reported_at:
        return Comparison(Standing.SUPERSEDED, stored["is_late"])
    same = stored["body_sha256"] == report.body_sha256
    return Comparison(Standing.REPEATED if same else Standing.CONFLICTING, stored["is_late"])


def _columns(report: Submission) -> tuple[Any, ...]:
    completed = report.status == "COMPLETED"
    return (
        *_STATED(report),
        json.dumps(report.zipcodes_completed),
        json.dumps(report.most_claimed),
        report.received_at if completed else None,
        report.listings_claimed if completed else None,
    )
