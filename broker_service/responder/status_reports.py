"""Stores miners' status reports. The nonce must be correct; late reports are stored and marked as late."""

from dataclasses import dataclass

from access.requests import Caller, Proof
from broker_service.responder.batches import Batches
from broker_service.responder.database import Record
from broker_service.responder.metrics import ResponderMetrics
from service.database_reads import in_our_words
from storage.database.submissions import Comparison, Signed, Standing, Submission, compare
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.protocol.messages.status import StatusReply, StatusRequest


@dataclass(slots=True)
class Reports:
    record: Record
    submissions: Batches[Submission, Comparison]
    clock: Clock
    metrics: ResponderMetrics
    _running: EpochMessage | None = None
    """The newest epoch that was read from the database while it was running."""

    async def status(self, caller: Caller, proof: Proof, report: StatusRequest) -> StatusReply:
        """Store a miner's report, unless a report with the same or a later time of signing is already stored.

        Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | ARCHIVED | NONCE_MISMATCH |
        REQUEST_REUSED | SERVICE_UNAVAILABLE)."""
        message = await self._message(report.epoch_id)
        now = self.clock.now()
        if report.nonce != message.nonce:
            # A legacy signature does not cover the nonce, so an eavesdropper can send a copy of the report
            # with a wrong nonce. Such a copy must not count as a mistake of the signer.
            if await self._standing(report.epoch_id, caller, proof) is Standing.NEWEST:
                raise ServiceError(ErrorCode.NONCE_MISMATCH, "The nonce is not the nonce of that epoch.")
            raise _reused()
        is_late = now >= message.submission_deadline
        compared = await self.submissions.put(
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
                body_sha256=proof.body_sha256,
                request_id=caller.request_id,
                most_claimed=_most_claimed(report, message),
            )
        )
        if compared.standing is Standing.CONFLICTING:
            raise _reused()
        if compared.standing is Standing.NEWEST:
            self.metrics.miner_reports.labels(report.status, str(is_late).lower()).inc()
        return StatusReply(
            message=_message(compared),
            epoch_id=report.epoch_id,
            status=report.status,
            timestamp=now,
        )

    async def _standing(self, epoch_id: str, caller: Caller, proof: Proof) -> Standing:
        """Return how a report compares with the stored one. Raises ServiceError(SERVICE_UNAVAILABLE)."""
        signed = Signed(
            epoch_id=epoch_id,
            hotkey=caller.hotkey,
            reported_at=proof.signed_at,
            body_sha256=proof.body_sha256,
        )
        with in_our_words():
            async with self.submissions.pool.acquire() as connection:
                return (await compare(connection, [signed]))[0].standing

    async def _message(self, epoch_id: str) -> EpochMessage:
        """Return the epoch from the database. The running epoch is read only once, because nearly all reports
        are about it."""
        running = self._running
        if running is not None and running.epoch_id == epoch_id and self.clock.now() < running.epoch_end:
            return running
        stored = await self.record.started(epoch_id)
        if stored.status == "archived":
            raise ServiceError(ErrorCode.ARCHIVED, "The details of this epoch were deleted.")
        message = EpochMessage.model_validate_json(stored.envelope.payload)
        if self.clock.now() < message.epoch_end:
            self._running = message
        return message


def _most_claimed(report: StatusRequest, message: EpochMessage) -> dict[str, int]:
    """Return the claimed count for each zipcode of the epoch. If a zipcode is named twice, the larger count
    is used."""
    published = {one.zipcode for one in message.zipcodes}
    claimed: dict[str, int] = {}
    for one in report.zipcodes_completed or ():
        if one.zipcode in published:
            claimed[one.zipcode] = max(claimed.get(one.zipcode, 0), one.listings_scraped)
    return claimed


def _reused() -> ServiceError:
    return ServiceError(
        ErrorCode.REQUEST_REUSED,
        "An earlier request with another body had the same signed text. Sign again with a new timestamp.",
    )


def _message(compared: Comparison) -> str:
    if compared.standing is Standing.SUPERSEDED:
        return "A report signed later is stored already."
    return "Recorded, after the deadline." if compared.is_late else "Recorded."
