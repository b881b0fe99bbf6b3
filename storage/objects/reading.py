"""Reads single objects: the store's metadata of an object, and the hash of its content.

It has its own threads and its own client, separate from those of `store`, so that files that take long to
read do not delay lists and sessions.
"""

import asyncio
import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from storage.objects.store import STORE_FAULTS, ObjectStoreConfig, ObjectStoreUnavailableError, open_client

Result = TypeVar("Result")

# The numbers of threads that read the heads of files, and that hash files. Together they must not exceed the
# number of the client's connections.
LOOK_THREADS = 6
HASH_THREADS = 2
CHUNK_BYTES = 1024**2
# The time limit of hashing a file. This is longer than a working store takes for the largest amount that is
# hashed at once.
HASH_SECONDS = 120.0
_FULL_OBJECT = {None, "FULL_OBJECT"}
_GONE = {"404", "NoSuchKey", "NotFound", "NoSuchVersion"}


@dataclass(frozen=True, slots=True)
class FoundObject:
    """The newest version of an object. Names in `metadata` are in lower case and without a prefix. `sha256`
    (hex) is set if the store computed it for the whole object at the upload."""

    bucket: str
    key: str
    version_id: str | None
    etag: str
    size: int
    metadata: Mapping[str, str]
    sha256: str | None


class ObjectReader:
    """Reads objects in its own threads. Every coroutine can raise ObjectStoreUnavailableError."""

    def __init__(self, config: ObjectStoreConfig, on_error: Callable[[], None] = lambda: None) -> None:
        """`on_error` is called once for every call that fails."""
        self._deadline_seconds = config.deadline_seconds
        self._on_error = on_error
        self._s3: Any = open_client(config, "s3")
        self._files: Any = open_client(config, "s3", file_seconds=HASH_SECONDS)
        self._looking = asyncio.Semaphore(LOOK_THREADS)
        self._lookers = ThreadPoolExecutor(LOOK_THREADS, thread_name_prefix="object-looks")
        self._hashers = ThreadPoolExecutor(HASH_THREADS, thread_name_prefix="object-hashes")

    def close(self) -> None:
        for threads in (self._lookers, self._hashers):
            threads.shutdown(wait=False, cancel_futures=True)

    async def look(self, bucket: str, key: str) -> FoundObject | None:
        """Return the object's newest version, or None if there is no object."""

        def head() -> FoundObject | None:
            try:
                head = self._s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in _GONE:
                    return None
                raise
            return _found(bucket, key, head)

        # Wait for a free thread first, so that the time limit does not include this wait.
        async with self._looking:
            return await self._run(self._lookers, head, self._deadline_seconds)

    async def hash(self, found: FoundObject) -> str:
        """Return the SHA-256 of exactly this version's content, in hex. The file is read in pieces and not
        kept in memory."""
        return await self._run(self._hashers, lambda: self._hashed(found), HASH_SECONDS * 2)

    def _hashed(self, found: FoundObject) -> str:
        # Read exactly the object that was found. If the bucket keeps no versions, the ETag shows whether the
        # object was replaced.
        exactly = {"IfMatch": found.etag} if found.version_id is None else {"VersionId": found.version_id}
        body = self._files.get_object(Bucket=found.bucket, Key=found.key, **exactly)["Body"]
        digest, ends_at = hashlib.sha256(), time.monotonic() + HASH_SECONDS
        try:
            for chunk in body.iter_chunks(CHUNK_BYTES):
                digest.update(chunk)
                if time.monotonic() > ends_at:
                    raise TimeoutError
        finally:
            body.close()
        return digest.hexdigest()

    async def _run(
        self, threads: ThreadPoolExecutor, call: Callable[[], Result], deadline_seconds: float
    ) -> Result:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadline_seconds):
                return await loop.run_in_executor(threads, call)
        except STORE_FAULTS as error:
            self._on_error()
            raise ObjectStoreUnavailableError(type(error).__name__) from error


def _found(bucket: str, key: str, head: Mapping[str, Any]) -> FoundObject:
    version_id = head.get("VersionId")
    return FoundObject(
        bucket=bucket,
        key=key,
        version_id=None if version_id in {None, "null"} else version_id,
        etag=head["ETag"],
        size=head["ContentLength"],
        metadata={name.lower(): value for name, value in head.get("Metadata", {}).items()},
        sha256=_full_sha256(head.get("ChecksumSHA256"), head.get("ChecksumType")),
    )


def _full_sha256(checksum: str | None, kind: str | None) -> str | None:
    """Return the checksum in hex, or None if it does not cover the whole content: the checksum of a multipart
    upload is computed from the checksums of its parts."""
    if checksum is None or kind not in _FULL_OBJECT:
        return None
    try:
        digest = base64.b64decode(checksum, validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == hashlib.sha256().digest_size else None
