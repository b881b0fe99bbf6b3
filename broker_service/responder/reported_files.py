"""Checks that the files of a validator's report are there, and are as it says.

Owns what is checked: place, size, required metadata, SHA-256. By the checksum that the store kept of an
upload where there is one, else by reading the object, up to a bound for each report. Nothing is taken on the
validator's word; which version was checked is kept with the report.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from broker_service.responder.metrics import ResponderMetrics
from broker_service.responder.sessions import store_down
from broker_service.responder.upload_access import required_metadata
from storage.database.results import StoredFile
from storage.objects.policies import Scope
from storage.objects.reading import FoundObject, ObjectReader
from storage.objects.store import ObjectStoreUnavailableError
from zipcast.clock import Clock
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.results import ReportedFile

# The time from a report's arrival; the bridge waits eight seconds for an answer, and the database needs some
# of them.
PATIENCE_SECONDS = 6.0
REMEMBERED_HASHES = 1_000
# A validator's clock may be so far ahead of ours.
AHEAD = timedelta(minutes=5)
TIMESTAMP = "validation-timestamp"
_STAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
Hashing = asyncio.Task[str]


@dataclass(frozen=True, slots=True)
class FileChecker:
    """`most_hashed_bytes`: of the files of one report that came without a checksum, together."""

    reader: ObjectReader
    clock: Clock
    most_hashed_bytes: int
    metrics: ResponderMetrics
    _hashings: "OrderedDict[tuple[str, str, str | None, str], Hashing]" = field(default_factory=OrderedDict)

    async def check(
        self, scope: Scope, hotkey: Hotkey, interval: EpochInterval, files: tuple[ReportedFile, ...]
    ) -> tuple[StoredFile, ...]:
        """Check each file and return the results in their order; `scope` is where they must be.

        Raises ServiceError(FILE_MISMATCH | CHECKSUM_REQUIRED | CREDENTIALS_UNAVAILABLE | REQUEST_UNDER_WAY).
        After the last, reading goes on, and the same report succeeds once all files have been read."""
        ends_at = self.clock.monotonic() + PATIENCE_SECONDS
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
            raise mismatch(file.key, "it is not there")
        if found.size != file.size_bytes:
            raise mismatch(file.key, f"it holds {found.size} bytes, not {file.size_bytes}")
        fault = metadata_fault(found.metadata, hotkey, interval, self.clock.now())
        if fault is not None:
            raise mismatch(file.key, fault)
        if found.sha256 is not None and found.sha256 != file.sha256:
            raise mismatch(file.key, f"its SHA-256 is {found.sha256}")
        return found

    async def _hashed(
        self, pairs: list[tuple[ReportedFile, FoundObject]], ends_at: float
    ) -> tuple[StoredFile, ...]:
        """Read and hash the content of those that came without a checksum."""
        unproven = [(file, found) for file, found in pairs if found.sha256 is None]
        self._require_few_bytes([found for _, found in unproven])
        hashings = [self._hashing(found) for _, found in unproven]
        if hashings:
            # Wait for all together, no longer than the caller does; unfinished readings go on without the
            # caller.
            await asyncio.wait(hashings, timeout=self._left(ends_at))
        for (file, _), hashing in zip(unproven, hashings, strict=True):
            if not hashing.done():
                raise _under_way()
            if (sha256 := hashing.result()) != file.sha256:
                raise mismatch(file.key, f"its SHA-256 is {sha256}")
        for _, found in pairs:
            self.metrics.files_checked.labels("content" if found.sha256 is None else "checksum").inc()
        return tuple(_stored(file, found) for file, found in pairs)

    def _require_few_bytes(self, unproven: list[FoundObject]) -> None:
        """Read the files, except those that were read before."""
        fresh = [found for found in unproven if _place(found) not in self._hashings]
        if sum(found.size for found in fresh) > self.most_hashed_bytes:
            largest = max(fresh, key=lambda found: found.size)
            raise ServiceError(
                ErrorCode.CHECKSUM_REQUIRED,
                f"Files that came without a SHA-256 hold more than {self.most_hashed_bytes} bytes together; "
                f"the largest is {largest.key}.",
            )

    def _hashing(self, found: FoundObject) -> Hashing:
        """Return the reading of a version, the same one if it is or was read already; a failed one is
        forgotten."""
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
        ErrorCode.REQUEST_UNDER_WAY, "The files are still being read; report again.", retry_after_seconds=5
    )


def mismatch(key: str, fault: str) -> ServiceError:
    return ServiceError(ErrorCode.FILE_MISMATCH, f"{key}: {fault}.")


def metadata_fault(
    metadata: Mapping[str, str], hotkey: Hotkey, interval: EpochInterval, now: datetime
) -> str | None:
    """Return what is wrong with an upload's metadata; None if nothing is."""
    # The timestamp is not compared: any plausible one will do.
    for name, required in required_metadata(hotkey, interval.epoch_id, now).items():
        value = metadata.get(name)
        if value is None:
            return f"its metadata {name} is missing"
        if name != TIMESTAMP and value != required:
            return f"its metadata {name} is not {required}"
    stamped_at = _stamp(metadata[TIMESTAMP])
    if stamped_at is None:
        return f"its metadata {TIMESTAMP} is no RFC 3339 time"
    if not interval.start_at <= stamped_at <= now + AHEAD:
        return f"its metadata {TIMESTAMP} lies before the epoch or in the future"
    return None


def _stamp(text: str) -> datetime | None:
    if not _STAMP.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _require_inside(scope: Scope, key: str) -> None:
    """Literally: no segment that a store might resolve to somewhere else. Raises
    ServiceError(FILE_MISMATCH)."""
    rest = key.removeprefix(scope.prefix)
    if rest == key or any(part in {"", ".", ".."} for part in rest.split("/")):
        raise mismatch(key, f"it does not lie below {scope.prefix}")


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
