"""Issues S3 upload access to verified callers, and decides for which epoch and until when.

`issuance` writes the row of a grant, the object store signs, and `storage.objects.credential_policies` makes
the policy documents.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from broker_service.responder.database import Record
from broker_service.responder.issuance import ProvenRequest, Terms
from broker_service.responder.sts_sessions import LIFETIME as SESSION_LIFETIME
from broker_service.responder.sts_sessions import Sessions, SessionScope
from service.current_epoch import CurrentEpoch
from storage.database.issuances import LIST_WITH_UPLOAD, Granted
from storage.objects import credential_policies
from storage.objects.credential_policies import MAX_UPLOAD_BYTES, MIN_UPLOAD_BYTES, Scope
from storage.objects.store import MIN_SESSION_SECONDS, ObjectStore
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.access import (
    FileToUpload,
    MinerUploadReply,
    MinerUploadRequest,
    S3Credentials,
    UploadGuidelines,
    UploadMethod,
    ValidatorUploadMetadata,
    ValidatorUploadReply,
    ValidatorUploadRequest,
)
from zipcast.protocol.messages.legacy import FolderAccessReply, StructureInfo

VALIDATOR_LIFETIME = SESSION_LIFETIME
FOLDER_LIFETIME = timedelta(hours=24)
LIST_URL_SECONDS = int(LIST_WITH_UPLOAD.total_seconds())
MEBIBYTE = 1024**2
MIN_VALIDATOR_BYTES = 1
FILE_TYPES = ("json", "parquet", "csv")
_GRANTED = "Upload access granted."
_GRANTED_WITHOUT_STS = (
    "Upload access granted by form only: this object store has no STS, so there are no credentials."
)


@dataclass(frozen=True, slots=True)
class _Upload:
    """A signed form, or a signed URL for one file with the headers `fields`."""

    method: UploadMethod
    url: str
    fields: dict[str, str]


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

    async def miner_upload(self, request: ProvenRequest, asked: MinerUploadRequest) -> MinerUploadReply:
        """Return a form for `data/hotkey=…/epoch=…/` that is valid until the epoch's deadline. If requested,
        also return credentials, which end at the deadline too.

        Raises ServiceError(NO_CURRENT_EPOCH | MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | EPOCH_NOT_OPEN |
        MALFORMED_REQUEST | CREDENTIALS_UNAVAILABLE), and the errors of `granted`."""
        self._require_file(asked.file, MIN_UPLOAD_BYTES)
        epoch_id, deadline = await self._deadline(asked.epoch_id)
        if deadline - self.clock.now() < timedelta(seconds=1):
            raise ServiceError(ErrorCode.EPOCH_NOT_OPEN, "The epoch's submission deadline has passed.")
        scope = credential_policies.miner_scope(self.miner_bucket, request.caller.hotkey, epoch_id)
        async with request.granted(Terms(scope, epoch_id, ends_at=deadline)) as granted:
            access = self._upload(scope, {}, granted, asked.file)
            session = None
            if asked.with_credentials:
                session = await self._session(request, epoch_id, scope, granted)
            return MinerUploadReply(
                epoch_id=epoch_id,
                bucket=scope.bucket,
                prefix=scope.prefix,
                method=access.method,
                url=access.url,
                fields=access.fields,
                s3_credentials=session,
                expires_at=granted.expires_at,
                min_bytes=MIN_UPLOAD_BYTES,
                max_bytes=MAX_UPLOAD_BYTES,
                list_url=self.store.list_url(scope, granted.issued_at, LIST_URL_SECONDS),
            )

    def _require_file(self, file: FileToUpload | None, least_bytes: int) -> None:
        """Check the file that the request names, unless the store takes forms. Raises
        ServiceError(MALFORMED_REQUEST)."""
        if self.store.takes_forms:
            return
        if file is None:
            raise ServiceError(
                ErrorCode.MALFORMED_REQUEST,
                "file: this object store takes no forms, so name the file to upload and its size.",
            )
        if not least_bytes <= file.size_bytes <= MAX_UPLOAD_BYTES:
            raise ServiceError(
                ErrorCode.MALFORMED_REQUEST,
                f"file.sizeBytes: must be {least_bytes} to {MAX_UPLOAD_BYTES}.",
            )

    def _upload(
        self,
        scope: Scope,
        metadata: dict[str, str],
        granted: Granted,
        file: FileToUpload | None,
        *,
        with_checksum: bool = False,
        least_bytes: int = MIN_UPLOAD_BYTES,
    ) -> _Upload:
        """Sign a form, or a URL for one file if the store takes no forms."""
        if self.store.takes_forms or file is None:
            form = self.store.post_form(
                scope,
                metadata,
                granted.issued_at,
                granted.seconds,
                with_checksum=with_checksum,
                least_bytes=least_bytes,
            )
            return _Upload("POST", form.url, form.fields)
        put = self.store.presigned_put(scope, file, metadata, granted.issued_at, granted.seconds)
        return _Upload("PUT", put.url, put.headers)

    async def _session(
        self, request: ProvenRequest, epoch_id: str, scope: Scope, granted: Granted
    ) -> S3Credentials | None:
        """Return credentials for the scope that end with the grant, or None if the provider has no STS or
        makes no session that is so short."""
        if granted.expires_at - self.clock.now() < timedelta(seconds=MIN_SESSION_SECONDS):
            return None
        opened = SessionScope(scope.bucket, scope.prefix, credential_policies.upload_session_policy(scope))
        hotkey = request.caller.hotkey
        return await self.sessions.credentials(hotkey, epoch_id, "upload", opened, granted.expires_at)

    def _runs(self, epoch_id: str) -> bool:
        """Return whether the epoch in memory is this one and runs, so that the database need not be
        queried."""
        try:
            return self.current.running().message.epoch_id == epoch_id
        except ServiceError:
            return False

    async def _deadline(self, epoch_id: str | None) -> tuple[str, datetime]:
        """Return the id and deadline of the epoch, or, without an id, of the running one."""
        if epoch_id is None or self._runs(epoch_id):
            message = (await self.current.awaited()).message
            return message.epoch_id, message.submission_deadline
        return epoch_id, (await self.record.started(epoch_id)).interval.end_at

    async def folder_access(self, request: ProvenRequest) -> FolderAccessReply:
        """Return a form for the whole folder `data/hotkey=…/`, valid for 24 h, as legacy clients expect.

        Raises the errors of `granted`."""
        if not self.store.takes_forms:
            raise ServiceError(
                ErrorCode.CREDENTIALS_UNAVAILABLE,
                "This object store takes no forms. Use s3.miner-upload, whose request names the file.",
            )
        scope = credential_policies.miner_folder_scope(self.miner_bucket, request.caller.hotkey)
        async with request.granted(Terms(scope, None, lifetime=FOLDER_LIFETIME)) as granted:
            form = self.store.post_form(scope, {}, granted.issued_at, granted.seconds)
            return FolderAccessReply(
                folder=scope.prefix,
                url=form.url,
                fields=form.fields,
                expiry=granted.expires_at,
                list_url=self.store.list_url(scope, granted.issued_at, LIST_URL_SECONDS),
                structure_info=StructureInfo(
                    folder_structure=scope.prefix + "epoch={epoch_id}/{path}",
                    description="A file holds 1 KB to 5 GB. It counts for the epoch that its path names; "
                    "under another path it counts for the epoch in which it was stored.",
                    example=scope.prefix + "epoch=2026-11-22T04-00-00/listings/19103.parquet",
                ),
            )

    async def validator_upload(
        self, request: ProvenRequest, asked: ValidatorUploadRequest
    ) -> ValidatorUploadReply:
        """Return a form and, if the provider has STS, credentials for `validators/…/epoch=…/`, valid for 4 h.

        Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | MALFORMED_REQUEST |
        CREDENTIALS_UNAVAILABLE), and the errors of `granted`."""
        # A validator's file may have only a few bytes; the minimum size is a rule for miners.
        self._require_file(asked.file, MIN_VALIDATOR_BYTES)
        epoch_id, hotkey = asked.epoch_id, request.caller.hotkey
        if not self._runs(epoch_id):
            await self.record.started(epoch_id)
        scope = credential_policies.validator_scope(self.validator_bucket, hotkey, epoch_id)
        async with request.granted(Terms(scope, epoch_id, lifetime=VALIDATOR_LIFETIME)) as granted:
            metadata = required_metadata(hotkey, epoch_id, granted.issued_at)
            access = self._upload(
                scope,
                metadata,
                granted,
                asked.file,
                with_checksum=asked.with_checksum,
                least_bytes=MIN_VALIDATOR_BYTES,
            )
            session = await self._session(request, epoch_id, scope, granted)
            return ValidatorUploadReply(
                message=_GRANTED if session is not None else _GRANTED_WITHOUT_STS,
                method=access.method,
                upload_url=access.url,
                fields=access.fields,
                s3_credentials=session,
                upload_guidelines=_guidelines(scope, metadata),
                metadata=ValidatorUploadMetadata(
                    folder_path=scope.prefix,
                    expires_at=granted.expires_at,
                    max_file_size=MAX_UPLOAD_BYTES,
                    supported_formats=FILE_TYPES,
                ),
            )


def required_metadata(hotkey: Hotkey, epoch_id: str, issued_at: datetime) -> dict[str, str]:
    """Return the x-amz-meta-* fields that every validator upload must have. The form already contains
    them."""
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
