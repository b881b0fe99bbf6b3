"""Minting S3 access for proven callers: what, for which epoch, until when.

Owns the rules of issuance. Every credential that leaves is a row first; the signing is the object
store's, the documents are `storage.policies`'.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from broker_service.responder.record import Record
from broker_service.responder.sessions import LIFETIME as SESSION_LIFETIME
from broker_service.responder.sessions import Sessions, SessionScope
from runtime.current_epoch import CurrentEpoch
from runtime.identity import Caller
from storage import policies
from storage.issuances import LIST_WITH_UPLOAD
from storage.object_store import ObjectStore
from storage.policies import MAX_UPLOAD_BYTES, MIN_UPLOAD_BYTES, Scope
from zipcast.clock import Clock
from zipcast.errors import ErrorCode, ServiceError
from zipcast.hotkeys import Hotkey
from zipcast.legacy_messages import FolderAccessReply, StructureInfo
from zipcast.messages import (
    MinerUploadReply,
    UploadGuidelines,
    ValidatorUploadMetadata,
    ValidatorUploadReply,
)
from zipcast.subjects import Verb

VALIDATOR_LIFETIME = SESSION_LIFETIME
FOLDER_LIFETIME = timedelta(hours=24)
LIST_URL_SECONDS = int(LIST_WITH_UPLOAD.total_seconds())
MEBIBYTE = 1024**2
LEAST_VALIDATOR_BYTES = 1
FILE_TYPES = ("json", "parquet", "csv")
_GRANTED = "Upload access granted."
_GRANTED_WITHOUT_STS = (
    "Upload access granted, by form alone: this object store has no STS, so no credentials."
)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Issues access to the two buckets."""

    store: ObjectStore
    sessions: Sessions
    record: Record
    current: CurrentEpoch
    clock: Clock
    miner_bucket: str
    validator_bucket: str

    async def miner_upload(self, caller: Caller, epoch_id: str | None) -> MinerUploadReply:
        """A form for `data/hotkey=…/epoch=…/` that ends at the epoch's deadline.

        Raises ServiceError(NO_CURRENT_EPOCH | MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | EPOCH_NOT_OPEN
        | SERVICE_UNAVAILABLE)."""
        epoch_id, deadline = await self._deadline(epoch_id)
        now = self.clock.now()
        expires_at = now + _until(deadline, now)
        scope = policies.miner_scope(self.miner_bucket, caller.hotkey, epoch_id)
        await self.record.issuance(caller, Verb.S3_MINER_UPLOAD, scope, epoch_id, now, expires_at)
        # Measured again: the row may have taken seconds, by which the form would outlive the deadline.
        now = self.clock.now()
        expires_at = now + (lifetime := _until(deadline, now))
        form = self.store.post_form(scope, {}, int(lifetime.total_seconds()))
        return MinerUploadReply(
            epoch_id=epoch_id,
            bucket=scope.bucket,
            prefix=scope.prefix,
            url=form.url,
            fields=form.fields,
            expires_at=expires_at,
            min_bytes=MIN_UPLOAD_BYTES,
            max_bytes=MAX_UPLOAD_BYTES,
            list_url=self.store.list_url(scope, LIST_URL_SECONDS),
        )

    async def require_open(self, epoch_id: str | None) -> None:
        """Raises ServiceError as `miner_upload`, but for the record of it."""
        _, deadline = await self._deadline(epoch_id)
        _until(deadline, self.clock.now())

    async def require_started(self, epoch_id: str) -> None:
        """Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | SERVICE_UNAVAILABLE)."""
        if not self._runs(epoch_id):
            await self.record.started(epoch_id)

    def _runs(self, epoch_id: str) -> bool:
        """Return whether memory has it as the running epoch, so that the record need not be asked."""
        try:
            return self.current.running().message.epoch_id == epoch_id
        except ServiceError:
            return False

    async def _deadline(self, epoch_id: str | None) -> tuple[str, datetime]:
        """Return id and deadline of that epoch, or of the running one."""
        if epoch_id is None or self._runs(epoch_id):
            message = (await self.current.awaited()).message
            return message.epoch_id, message.submission_deadline
        return epoch_id, (await self.record.started(epoch_id)).interval.end_at

    async def folder_access(self, caller: Caller) -> FolderAccessReply:
        """A form for the whole of `data/hotkey=…/`, for 24 h, as legacy clients expect it.

        Raises ServiceError(SERVICE_UNAVAILABLE)."""
        now = self.clock.now()
        expires_at = now + FOLDER_LIFETIME
        scope = policies.miner_folder_scope(self.miner_bucket, caller.hotkey)
        await self.record.issuance(caller, Verb.S3_FOLDER_ACCESS, scope, None, now, expires_at)
        # Signed for what is left, so that a slow record does not make the form outlive its row.
        lifetime = expires_at - self.clock.now()
        form = self.store.post_form(scope, {}, int(lifetime.total_seconds()))
        return FolderAccessReply(
            folder=scope.prefix,
            url=form.url,
            fields=form.fields,
            expiry=expires_at,
            list_url=self.store.list_url(scope, LIST_URL_SECONDS),
            structure_info=StructureInfo(
                folder_structure=scope.prefix + "epoch={epoch_id}/{path}",
                description="A file holds 1 KB to 5 GB. It counts for the epoch that its path names; under "
                "another path it counts for the epoch in which it was stored.",
                example=scope.prefix + "epoch=2026-11-22T04-00-00/listings/19103.parquet",
            ),
        )

    async def validator_upload(
        self, caller: Caller, epoch_id: str, *, with_checksum: bool = False
    ) -> ValidatorUploadReply:
        """A form and, where the provider has STS, credentials for `validators/…/epoch=…/`, for 4 h.

        Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | CREDENTIALS_UNAVAILABLE |
        SERVICE_UNAVAILABLE)."""
        await self.require_started(epoch_id)
        now = self.clock.now()
        expires_at = now + VALIDATOR_LIFETIME
        lifetime = int(VALIDATOR_LIFETIME.total_seconds())
        scope = policies.validator_scope(self.validator_bucket, caller.hotkey, epoch_id)
        metadata = required_metadata(caller.hotkey, epoch_id, now)
        await self.record.issuance(caller, Verb.S3_VALIDATOR_UPLOAD, scope, epoch_id, now, expires_at)
        # A validator's results may be a few bytes; the smallest upload is a rule for miners.
        form = self.store.post_form(
            scope, metadata, lifetime, with_checksum=with_checksum, least_bytes=LEAST_VALIDATOR_BYTES
        )
        opened = SessionScope(scope.bucket, scope.prefix, policies.upload_session_policy(scope))
        session = await self.sessions.credentials(caller.hotkey, epoch_id, "upload", opened)
        return ValidatorUploadReply(
            message=_GRANTED if session is not None else _GRANTED_WITHOUT_STS,
            upload_url=form.url,
            fields=form.fields,
            s3_credentials=session,
            upload_guidelines=_guidelines(scope, metadata),
            metadata=ValidatorUploadMetadata(
                folder_path=scope.prefix,
                expires_at=expires_at,
                max_file_size=MAX_UPLOAD_BYTES,
                supported_formats=FILE_TYPES,
            ),
        )


def _until(deadline: datetime, now: datetime) -> timedelta:
    """Whole seconds, rounded down. Raises ServiceError(EPOCH_NOT_OPEN) when less than one is left."""
    seconds = int((deadline - now).total_seconds())
    if seconds < 1:
        raise ServiceError(ErrorCode.EPOCH_NOT_OPEN, "The epoch's submission deadline has passed.")
    return timedelta(seconds=seconds)


def required_metadata(hotkey: Hotkey, epoch_id: str, issued_at: datetime) -> dict[str, str]:
    """Return the x-amz-meta-* fields that every validator upload must carry; the form has them filled in."""
    return {
        "epoch-id": epoch_id,
        "validator-hotkey": hotkey,
        "validation-timestamp": issued_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _guidelines(scope: Scope, metadata: dict[str, str]) -> UploadGuidelines:
    return UploadGuidelines(
        max_file_size_mb=MAX_UPLOAD_BYTES // MEBIBYTE,
        allowed_file_types=FILE_TYPES,
        required_metadata=tuple(metadata),
        folder_structure=scope.prefix,
        example_files=(f"{scope.prefix}results.json", f"{scope.prefix}audit/spot_checks.parquet"),
    )
