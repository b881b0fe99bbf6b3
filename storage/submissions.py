"""Miners' status reports: per epoch and hotkey the newest by the time it was signed, and when the first came
that said it was completed."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import case, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import MinerSubmission

MOST_CLAIMED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Submission:
    """`is_late`: received after the epoch's deadline. Late reports are kept, and told apart. `body_sha256`:
    hex, of the request without its signature. `most_claimed`: listings by zipcode, of its zipcodes."""

    epoch_id: str
    hotkey: str
    status: str
    reported_at: datetime
    received_at: datetime
    is_late: bool
    listings_scraped: int | None
    zipcodes_completed: list[dict[str, Any]]
    s3_upload_complete: bool
    s3_upload_at: datetime | None
    request_id: str
    body_sha256: str
    most_claimed: dict[str, int] = field(default_factory=dict)

    @property
    def listings_claimed(self) -> int:
        """The larger of the stated total and the sum over zipcodes, as far as the column goes."""
        of_zipcodes = sum(int(one["listingsScraped"]) for one in self.zipcodes_completed)
        return min(max(self.listings_scraped or 0, of_zipcodes), MOST_CLAIMED)


# A report that claims less replaces the one before it, but not what that had claimed.
_MOST_OF_BOTH = text(
    """(
        select coalesce(jsonb_object_agg(zipcode, listings), '{}') from (
            select zipcode, max(listings::bigint) as listings from (
                select * from jsonb_each_text(miner_submissions.most_claimed)
                union all select * from jsonb_each_text(excluded.most_claimed)
            ) as claims (zipcode, listings) group by zipcode
        ) as most
    )"""
)


class Standing(Enum):
    """How a report compares with the miner's newest of that epoch in the database."""

    NEWEST = "signed later than the stored one, or the first"
    REPEATED = "the stored one, word for word"
    CONFLICTING = "signed at the same time as the stored one, with another body"
    SUPERSEDED = "signed earlier than the stored one"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`is_late`: whether the report that is stored came after the deadline."""

    standing: Standing
    is_late: bool


async def compare(
    connection: AsyncConnection, epoch_id: str, hotkey: str, reported_at: datetime, body_sha256: str
) -> Comparison:
    """Return how a report signed at `reported_at` compares with the stored one; nothing is written."""
    query = select(MinerSubmission.reported_at, MinerSubmission.body_sha256, MinerSubmission.is_late).where(
        MinerSubmission.epoch_id == epoch_id, MinerSubmission.hotkey == hotkey
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return Comparison(Standing.NEWEST, is_late=False)
    if row.reported_at < reported_at:
        return Comparison(Standing.NEWEST, row.is_late)
    if row.reported_at > reported_at:
        return Comparison(Standing.SUPERSEDED, row.is_late)
    same = row.body_sha256 == body_sha256
    return Comparison(Standing.REPEATED if same else Standing.CONFLICTING, row.is_late)


async def store_submission(connection: AsyncConnection, submission: Submission) -> Comparison:
    """Store the report if it was signed strictly later than the stored one, and return how it compares.

    Only NEWEST was written: one signed text stands for one body."""
    values = asdict(submission)
    completed = submission.status == "COMPLETED"
    first = {
        "first_completed_at": submission.received_at if completed else None,
        "first_completed_listings": submission.listings_claimed if completed else None,
    }
    report = upsert(MinerSubmission).values(values | first)
    fresh = MinerSubmission.first_completed_at.is_(None)
    kept = {
        name: case((fresh, report.excluded[name]), else_=getattr(MinerSubmission, name)) for name in first
    } | {"most_claimed": _MOST_OF_BOTH}
    newer = report.on_conflict_do_update(
        index_elements=[MinerSubmission.epoch_id, MinerSubmission.hotkey],
        set_={name: report.excluded[name] for name in values if name not in {"epoch_id", "hotkey"}} | kept,
        where=report.excluded.reported_at > MinerSubmission.reported_at,
    ).returning(MinerSubmission.hotkey)
    if (await connection.execute(newer)).first() is not None:
        return Comparison(Standing.NEWEST, submission.is_late)
    return await compare(
        connection,
        submission.epoch_id,
        submission.hotkey,
        submission.reported_at,
        submission.body_sha256,
    )
