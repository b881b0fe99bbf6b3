"""Miners' status reports: per epoch and hotkey the newest by the time it was signed, and when the first came
that said it was completed."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import case, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import MinerSubmission

MOST_CLAIMED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Submission:
    """`is_late`: received after the epoch's deadline. Late reports are kept, and told apart. `most_claimed`:
    listings by zipcode, of zipcodes of the epoch alone."""

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


async def store_submission(connection: AsyncConnection, submission: Submission) -> bool:
    """False if a report signed later is there already, which stays."""
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
        where=report.excluded.reported_at >= MinerSubmission.reported_at,
    ).returning(MinerSubmission.hotkey)
    return (await connection.execute(newer)).first() is not None
