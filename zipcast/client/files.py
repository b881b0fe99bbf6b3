"""Defines the files that miners and validators upload and read."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from zipcast.errors import ServiceError, TooLargeError, TooSmallError
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.messages.access import (
    MinerUploadReply,
    ReadableObject,
    S3Credentials,
    UploadMethod,
    ValidatorReadReply,
    ValidatorUploadReply,
)
from zipcast.protocol.messages.results import ReportedFile

_KEY = re.compile(r"data/hotkey=([^/]+)/(?:.*/)?epoch=[^/]+/(.+)|data/hotkey=([^/]+)/(.+)", re.DOTALL)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
MAX_NAME_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of an ended epoch, as it was at the deadline. `url` is a presigned URL that gets exactly this
    version and is valid until `expires_at`. The miner chose `key` and `name`, so use neither as a path."""

    epoch_id: str
    miner_hotkey: str
    key: str
    name: str
    size_bytes: int
    etag: str
    stored_at: datetime
    version_id: str | None
    url: str
    expires_at: datetime

    @classmethod
    def all_of(cls, page: ValidatorReadReply) -> "list[Upload]":
        """Return the uploads of one page. Raises ServiceError(INTERNAL) for a key outside of all miners'
        folders."""
        return [cls._of(one, page) for one in page.objects]

    @classmethod
    def _of(cls, one: ReadableObject, page: ValidatorReadReply) -> "Upload":
        found = _KEY.fullmatch(one.key)
        if found is None:
            raise ServiceError(
                ErrorCode.INTERNAL, "The service listed a file outside of the miners' folders."
            )
        return cls(
            epoch_id=page.epoch_id,
            miner_hotkey=found[1] or found[3],
            key=one.key,
            name=found[2] or found[4],
            size_bytes=one.size,
            etag=one.etag,
            stored_at=one.last_modified,
            version_id=one.version_id,
            url=one.url,
            expires_at=page.expires_at,
        )

    @property
    def file_name(self) -> str:
        """Return a name that is safe for a file in any folder. Different keys have different names."""
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:16]
        return f"{digest}-{_UNSAFE.sub('_', self.name)[-MAX_NAME_CHARACTERS:]}"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that was uploaded. `sha256` is in lower-case hex; it is None for miners' files."""

    epoch_id: str
    key: str
    size_bytes: int
    sha256: str | None = None

    def reported(self) -> ReportedFile:
        """Return the entry in a validator's report. Raises ServiceError(CHECKSUM_REQUIRED)."""
        if self.sha256 is None:
            raise ServiceError(
                ErrorCode.CHECKSUM_REQUIRED,
                f"{self.key} has no SHA-256, because a miner uploaded it. "
                "Report only files that you uploaded as a validator.",
            )
        return ReportedFile(key=self.key, size_bytes=self.size_bytes, sha256=self.sha256)


@dataclass(frozen=True, slots=True)
class UploadForm:
    """Upload access to one folder, or, if `method` is PUT, to one file in it. `deadline_at` is the time until
    which files count, or None if they count at any time. With `credentials`, a miner's large file is uploaded
    in parts."""

    epoch_id: str
    prefix: str
    method: UploadMethod
    url: str
    fields: dict[str, str]
    min_bytes: int
    max_bytes: int
    expires_at: datetime
    deadline_at: datetime | None
    credentials: S3Credentials | None = None

    @classmethod
    def for_miner(cls, reply: MinerUploadReply) -> "UploadForm":
        """Return a miner's form, whose files count until it expires."""
        return cls(
            reply.epoch_id,
            reply.prefix,
            reply.method,
            reply.url,
            reply.fields,
            reply.min_bytes,
            reply.max_bytes,
            reply.expires_at,
            reply.expires_at,
            reply.s3_credentials,
        )

    @classmethod
    def for_validator(cls, epoch_id: str, reply: ValidatorUploadReply) -> "UploadForm":
        """Return a validator's form, whose files count at any time."""
        return cls(
            epoch_id,
            reply.metadata.folder_path,
            reply.method,
            reply.upload_url,
            reply.fields,
            1,
            reply.metadata.max_file_size,
            reply.metadata.expires_at,
            None,
        )

    def require_size(self, path: Path, size_bytes: int) -> None:
        """Check the size before anything is sent. Raises TooLargeError and TooSmallError."""
        if size_bytes > self.max_bytes:
            raise TooLargeError(f"{path} has {size_bytes} bytes; the limit is {self.max_bytes} bytes")
        if size_bytes < self.min_bytes:
            raise TooSmallError(f"{path} has {size_bytes} bytes; at least {self.min_bytes} are needed")
