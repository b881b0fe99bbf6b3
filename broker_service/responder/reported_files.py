"""Checks that the files of a validator's report exist and match the report.

It checks each file's place, size, required metadata and SHA-256. The SHA-256 comes from the checksum that the
store kept, or from reading the object, up to a limit for each report. The version that was checked is stored
with the report.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from broker_service.responder.metrics import ResponderMetrics
from broker_service.responder.sts_sessions import store_down
from broker_service.responder.upload_access import required_metadata
from storage.database.results import StoredFile
from storage.objects.credential_policies import Scope
from storage.objects.reading import FoundObject, ObjectReader
from storage.objects.store import ObjectStoreUnavailableError
from zipcast.clock import Clock
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.results import ReportedFile

# The time limit for checking files, counted from the report's arrival. The bridge waits eight seconds for the
# reply, and the database needs some of this time.
TIMEOUT_SECONDS = 6.0
REMEMBERED_HASHES = 1_000
# A validator's clock may be ahead by this much.
AHEAD = timedelta(minutes=5)
TIMESTAMP = "validation-timestamp"
_STAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
Hashing = asyncio.Task[str]


@dataclass(frozen=True, slots=True)
class FileChecker:
    """Checks the files of reports. `most_hashed_bytes` limits the total size of one report's files without a
    stored checksum."""

    reader: ObjectReader
    clock: Clock
    most_hashed_bytes: int
    metrics: ResponderMetrics
    _hashings: "OrderedDict[tuple[str, str, str | None, str], Hashing]" = field(default_factory=OrderedDict)

    async def check(
        self, scope: Scope, hotkey: Hotkey, interval: EpochInterval, files: tuple[ReportedFile, ...]
    ) -> tuple[StoredFile, ...]:
        """Check each file and return the results in the same order. The files must be within `scope`.

        Raises ServiceError(FILE_MISMATCH | CHECKSUM_REQUIRED | CREDENTIALS_UNAVAILABLE | REQUEST_UNDER_WAY).
        After REQUEST_UNDER_WAY, reading continues, and the same report succeeds once all files have been
        read."""
        ends_at = self.clock.monotonic() + TIMEOUT_SECONDS
        for file in files:
            _require_inside(scope, file.key)
        try:
            looks = await self._looked(scope.bucket, files, ends_at)
            found = [
                self._matching(file, look, hotkey, interval) for file, look in zip(files, looks, strict=True)
            ]
            return await self._hashed(list(zip(files, found, strict=True)), ends_at)
        except ObjectStoreUnavailableError:
            raise store_down() from None

    async def _looked(
        self, bucket: str, files: tuple[ReportedFile, ...], ends_at: float
    ) -> list[FoundObject | None]:
        try:
            async with asyncio.timeout(self._left(ends_at)):
                return await asyncio.gather(*(self.reader.look(bucket, file.key) for file in files))
        except TimeoutError:
            raise _under_way() from None

    def _left(self, ends_at: float) -> float:
        return max(0.0, ends_at - self.clock.monotonic())

    def _matching(
        self, file: ReportedFile, found: FoundObject | None, hotkey: Hotkey, interval: EpochInterval
    ) -> FoundObject:
        if found is None:
            raise mismatch(file.key, "the file does not exist")
        if found.size != file.size_bytes:
            raise mismatch(file.key, f"the file has {found.size} bytes, not {file.size_bytes}")
        fault = metadata_fault(found.metadata, hotkey, interval, self.clock.now())
        if fault is not None:
            raise mismatch(file.key, fault)
        if found.sha256 is not None and found.sha256 != file.sha256:
            raise mismatch(file.key, f"the file's SHA-256 is {found.sha256}")
        return found

    async def _hashed(
        self, pairs: list[tuple[ReportedFile, FoundObject]], ends_at: float
    ) -> tuple[StoredFile, ...]:
        """Read and hash the files that have no stored checksum."""
        unproven = [(file, found) for file, found in pairs if found.sha256 is None]
        self._require_few_bytes([found for _, found in unproven])
        hashings = [self._hashing(found) for _, found in unproven]
        if hashings:
            # Wait for all files together, but no longer than the caller waits. If the time is up, the reading
            # of files continues without the caller, so that a repeated report finds the hashes.
            await asyncio.wait(hashings, timeout=self._left(ends_at))
        for (file, _), hashing in zip(unproven, hashings, strict=True):
            if not hashing.done():
                raise _under_way()
            if (sha256 := hashing.result()) != file.sha256:
                raise mismatch(file.key, f"the file's SHA-256 is {sha256}")
        for _, found in pairs:
            self.metrics.files_checked.labels("content" if found.sha256 is None else "checksum").inc()
        return tuple(_stored(file, found) for file, found in pairs)

    def _require_few_bytes(self, unproven: list[FoundObject]) -> None:
        """Check that the files to be read are not too large together. Files that were read before do not
        count."""
        fresh = [found for found in unproven if _place(found) not in self._hashings]
        if sum(found.size for found in fresh) > self.most_hashed_bytes:
            largest = max(fresh, key=lambda found: found.size)
            raise ServiceError(
                ErrorCode.CHECKSUM_REQUIRED,
                f"Files uploaded without a SHA-256 must have at most {self.most_hashed_bytes} bytes "
                "together. The "
                f"largest is {largest.key}.",
            )

    def _hashing(self, found: FoundObject) -> Hashing:
        """Return the task that reads a version. If it is being read or was read before, return the same task,
        unless it failed."""
        place = _place(found)
        hashing = self._hashings.get(place)
        if hashing is None:
            hashing = self._hashings[place] = asyncio.create_task(self.reader.hash(found))
            hashing.add_done_callback(lambda done: self._forget_failed(place, done))
            while len(self._hashings) > REMEMBERED_HASHES:
                self._hashings.popitem(last=False)
        self._hashings.move_to_end(place)
        return hashing

    def _forget_failed(self, place: tuple[str, str, str | None, str], done: Hashing) -> None:
        if done.cancelled() or done.exception() is not None:
            self._hashings.pop(place, None)


def _under_way() -> ServiceError:
    return ServiceError(
        ErrorCode.REQUEST_UNDER_WAY,
        "The files are still being checked. Send the report again.",
        retry_after_seconds=5,
    )


def mismatch(key: str, fault: str) -> ServiceError:
    return ServiceError(ErrorCode.FILE_MISMATCH, f"{key}: {fault}.")


def metadata_fault(
    metadata: Mapping[str, str], hotkey: Hotkey, interval: EpochInterval, now: datetime
) -> str | None:
    """Return what is wrong with an upload's metadata, or None."""
    # Every value must match exactly, except the timestamp: any plausible time is accepted.
    for name, required in required_metadata(hotkey, interval.epoch_id, now).items():
        value = metadata.get(name)
        if value is None:
            return f"the metadata {name} is missing"
        if name != TIMESTAMP and value != required:
            return f"the metadata {name} must be {required}"
    stamped_at = _stamp(metadata[TIMESTAMP])
    if stamped_at is None:
        return f"the metadata {TIMESTAMP} must be an RFC 3339 time"
    if not interval.start_at <= stamped_at <= now + AHEAD:
        return f"the metadata {TIMESTAMP} is before the epoch or in the future"
    return None


def _stamp(text: str) -> datetime | None:
    if not _STAMP.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _require_inside(scope: Scope, key: str) -> None:
    """Check that the key is within the scope, and has no segment that a store might resolve to another place.
    Raises ServiceError(FILE_MISMATCH)."""
    rest = key.removeprefix(scope.prefix)
    if rest == key or any(part in {"", ".", ".."} for part in rest.split("/")):
        raise mismatch(key, f"the key must be below {scope.prefix}")


def _place(found: FoundObject) -> tuple[str, str, str | None, str]:
    return found.bucket, found.key, found.version_id, found.etag


def _stored(file: ReportedFile, found: FoundObject) -> StoredFile:
    return StoredFile(
        key=file.key,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        version_id=found.version_id,
        checked_by="content" if found.sha256 is None else "checksum",
    )
