"""Checks validators' reports, and stores each with its audit rows in one transaction.

This module checks that the epoch has ended and can still be reported on; `reported_files` checks the files.
A repeated report gets the first reply; its files are not checked again.
"""

from dataclasses import dataclass

from access.requests import Caller, Proof
from broker_service.responder.database import Record
from broker_service.responder.metrics import ResponderMetrics
from broker_service.responder.reported_files import FileChecker
from service.database_reads import require_detail
from service.registry import RegistryView
from storage.database.epochs import StoredEpoch
from storage.database.results import AuditedZipcode, NewResult, RecordedResult, StoredFile
from storage.objects import credential_policies
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.results import AuditRow, CheckedFile, ResultsReply, ResultsRequest


@dataclass(frozen=True, slots=True)
class ResultsDesk:
    record: Record
    files: FileChecker
    registry: RegistryView
    clock: Clock
    validator_bucket: str
    metrics: ResponderMetrics

    async def report(self, caller: Caller, proof: Proof, report: ResultsRequest) -> ResultsReply:
        """Store a report and return the receipt.

        Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | EPOCH_NOT_ENDED | ARCHIVED | REQUEST_REUSED
        | FILE_MISMATCH | CHECKSUM_REQUIRED | CREDENTIALS_UNAVAILABLE | REQUEST_UNDER_WAY |
        SERVICE_UNAVAILABLE)."""
        stored = await self._ended(report.epoch_id)
        known = await self.record.known_result(report.epoch_id, caller, proof)
        if known is not None:
            return reply_of(report.epoch_id, known, proof)
        scope = credential_policies.validator_scope(self.validator_bucket, caller.hotkey, report.epoch_id)
        found = await self.files.check(scope, caller.hotkey, stored.interval, report.files)
        written = await self.record.result(self._new(caller, proof, report, found))
        reply = reply_of(report.epoch_id, written, proof)
        if written.request_key == proof.request_key:
            self.metrics.validator_reports.labels(str(reply.late).lower()).inc()
        return reply

    async def _ended(self, epoch_id: str) -> StoredEpoch:
        stored = require_detail(await self.record.started(epoch_id))
        if self.clock.now() < stored.interval.end_at:
            raise ServiceError(ErrorCode.EPOCH_NOT_ENDED, "The epoch is still running. Report after its end.")
        return stored

    def _new(
        self, caller: Caller, proof: Proof, report: ResultsRequest, found: tuple[StoredFile, ...]
    ) -> NewResult:
        return NewResult(
            epoch_id=report.epoch_id,
            hotkey=caller.hotkey,
            alpha_stake_rao=self.registry.require_registered(caller.hotkey).alpha_stake_rao,
            reported_at=proof.signed_at,
            received_at=self.clock.now(),
            started_at=report.started_at,
            duration_seconds=report.duration_seconds,
            miners_evaluated=report.miners_evaluated,
            listings_validated=report.listings_validated,
            top_3_miners=[one.model_dump(mode="json") for one in report.top_miners],
            files=found,
            audit=tuple(_audited(row) for row in report.audit),
            body_sha256=proof.body_sha256,
            request_key=proof.request_key,
            request_id=caller.request_id,
        )


def _audited(row: AuditRow) -> AuditedZipcode:
    return AuditedZipcode(
        miner_hotkey=row.miner_hotkey,
        zipcode=row.zipcode,
        validation_type=row.type,
        result=row.result,
        score=row.score,
        listings_checked=row.listings_checked,
        issues=list(row.issues),
    )


def reply_of(epoch_id: str, written: RecordedResult, proof: Proof) -> ResultsReply:
    """Make the reply from the stored report only, so that a repeated request gets the same reply."""
    ours = written.request_key == proof.request_key
    if ours and written.body_sha256 != proof.body_sha256:
        raise ServiceError(
            ErrorCode.REQUEST_REUSED, "An earlier request with another body had the same signed text."
        )
    same = written.body_sha256 == proof.body_sha256
    return ResultsReply(
        message=_message(written, same=same),
        result_id=str(written.id),
        epoch_id=epoch_id,
        received_at=written.received_at,
        in_force=same,
        late=written.is_late,
        superseded_reports=written.earlier,
        audit_rows=written.audit_rows,
        files=tuple(CheckedFile.model_validate(file) for file in written.files),
    )


def _message(written: RecordedResult, *, same: bool) -> str:
    if not same:
        return "A report that was signed later is already stored."
    if written.is_late:
        return "Recorded, but it does not count, because the epoch was already revealed."
    return "Recorded."
