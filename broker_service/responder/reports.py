"""Miners' status reports: whose nonce is right is believed, late ones are kept and told apart."""

from dataclasses import dataclass

from broker_service.responder.metrics import ResponderMetrics
from broker_service.responder.record import Record
from runtime.identity import Caller, Proof
from storage.submissions import Submission
from zipcast.clock import Clock
from zipcast.errors import ErrorCode, ServiceError
from zipcast.messages import EpochMessage
from zipcast.status_messages import StatusReply, StatusRequest


@dataclass(frozen=True, slots=True)
class Reports:
    record: Record
    clock: Clock
    metrics: ResponderMetrics

    async def status(self, caller: Caller, proof: Proof, report: StatusRequest) -> StatusReply:
        """Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | ARCHIVED | NONCE_MISMATCH |
        SERVICE_UNAVAILABLE)."""
        stored = await self.record.started(report.epoch_id)
        if stored.status == "archived":
            raise ServiceError(ErrorCode.ARCHIVED, "The epoch's detail is no longer kept.")
        message = EpochMessage.model_validate_json(stored.envelope.payload)
        if report.nonce != message.nonce:
            raise ServiceError(ErrorCode.NONCE_MISMATCH, "The nonce is not that epoch's.")
        now = self.clock.now()
        is_late = now >= message.submission_deadline
        kept = await self.record.submission(
            Submission(
                epoch_id=report.epoch_id,
                hotkey=caller.hotkey,
                status=report.status,
                reported_at=proof.signed_at,
                received_at=now,
                is_late=is_late,
                listings_scraped=report.listings_scraped,
                zipcodes_completed=[
                    progress.model_dump(mode="json") for progress in report.zipcodes_completed or ()
                ],
                s3_upload_complete=report.s3_upload_complete,
                s3_upload_at=report.s3_upload_timestamp,
                request_id=caller.request_id,
                most_claimed=_most_claimed(report, message),
            )
        )
        if kept:
            self.metrics.miner_reports.labels(report.status, str(is_late).lower()).inc()
        return StatusReply(
            message=_told(kept=kept, is_late=is_late),
            epoch_id=report.epoch_id,
            status=report.status,
            timestamp=now,
        )


def _most_claimed(report: StatusRequest, message: EpochMessage) -> dict[str, int]:
    """By zipcode of the epoch; of one that is named twice the larger count."""
    published = {one.zipcode for one in message.zipcodes}
    claimed: dict[str, int] = {}
    for one in report.zipcodes_completed or ():
        if one.zipcode in published:
            claimed[one.zipcode] = max(claimed.get(one.zipcode, 0), one.listings_scraped)
    return claimed


def _told(*, kept: bool, is_late: bool) -> str:
    if not kept:
        return "A report signed later is on record already."
    return "Recorded, after the deadline." if is_late else "Recorded."
