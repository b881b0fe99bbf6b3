"""Miners' status reports: per epoch and hotkey the newest by the time it was signed."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import MinerSubmission


@dataclass(frozen=True, slots=True)
class Submission:
    """`is_late`: received after the epoch's deadline. Late reports are kept, and told apart."""

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


async def store_submission(connection: AsyncConnection, submission: Submission) -> bool:
    """False if a report signed later is there already, which stays."""
    report = upsert(MinerSubmission).values(asdict(submission))
    newer = report.on_conflict_do_update(
        index_elements=[MinerSubmission.epoch_id, MinerSubmission.hotkey],
        set_={
            name: report.excluded[name] for name in asdict(submission) if name not in {"epoch_id", "hotkey"}
        },
        where=report.excluded.reported_at >= MinerSubmission.reported_at,
    ).returning(MinerSubmission.hotkey)
    return (await connection.execute(newer)).first() is not None
