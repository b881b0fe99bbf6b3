"""Uploads files with presigned forms or URLs, and downloads files from presigned URLs.

This module does only the HTTP requests; clients get forms and URLs over NATS. Every request has a time limit
in addition to the limits for a connection and for each read, which a slow store would never reach.
"""

import asyncio
import base64
import binascii
import hashlib
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from zipcast.client.http import (
    AnswerEncodingError,
    AnswerTooLargeError,
    BoundedBody,
    ProxySettingsError,
    open_client,
)
from zipcast.clock import SystemClock
from zipcast.errors import DamagedFileError, TooLargeError, TooLateError, TransferError

TIMEOUT_SECONDS = 60.0
"""The longest wait in seconds for a connection, and for the next bytes."""
MAX_UPLOAD_SECONDS = 4 * 3600.0
"""The longest time in seconds for a whole upload."""
MAX_FETCH_SECONDS = 300.0
"""The longest time in seconds for a whole `fetch`."""
MAX_DOWNLOAD_SECONDS = 4 * 3600.0
"""The longest time in seconds for a whole `download`."""
MAX_FETCHED_BYTES = 64 * 2**20
"""The largest file that `fetch` reads into memory, in bytes. `download` streams to disk instead."""
MAX_DOWNLOADED_BYTES = 5 * 2**30
"""S3's limit for a single upload, in bytes. No honest file is larger."""
CHUNK_BYTES = 64 * 1024
MAX_REFUSAL_BYTES = 64 * 1024
REFUSAL_SECONDS = 10.0
RETRY_AFTER_SECONDS = 1.0
"""The pause in seconds after an error of the store, until another attempt may succeed."""
_S3_ERROR = re.compile(r"<Code>([A-Za-z]+)</Code>(?:<Message>([^<]*)</Message>)?")
_MD5 = re.compile(r"[0-9a-f]{32}")

_CLOCK = SystemClock()

Progress = Callable[[int, int], None]
"""Called with the number of bytes sent or received so far, and with the size of the file."""


class _ObservedFile(io.FileIO):
    """A file that reports how much of it has been read."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        super().__init__(path)
        self._progress = progress
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read the next bytes and report the new position."""
        content = super().read(-1 if size is None else size) or b""
        if self._progress is not None and content:
            self._progress(self.tell(), self._size)
        return content


async def post_file(
    url: str,
    fields: Mapping[str, str],
    name: str,
    path: Path,
    *,
    sha256: str | None = None,
    deadline_at: datetime | None = None,
    progress: Progress | None = None,
    timeout_seconds: float = MAX_UPLOAD_SECONDS,
    now: Callable[[], datetime] = _CLOCK.now,
    http: httpx.AsyncClient | None = None,
) -> str:
    """Upload `path` as `name` below the form's prefix, and return the object's key.

    `name` may contain folders. Pass the file's `sha256` (hex) if the form was requested with a checksum.
    `deadline_at` (aware) is the time by which the file must be stored so that it counts. The store's clock
    decides. `now` returns the service's time. Without `http`, a client is opened for this upload alone.
    Raises TooLateError, TransferError and OSError."""
    if "key" not in fields:
        raise TransferError("the form has no key: request another one")
    key = fields["key"].replace("${filename}", name)
    form = {**fields, "key": key}
    if sha256 is not None:
        form["x-amz-checksum-sha256"] = base64.b64encode(bytes.fromhex(sha256)).decode()

    def request(client: httpx.AsyncClient, file: io.FileIO) -> httpx.Request:
        return client.build_request("POST", url, data=form, files={"file": (path.name, file)})

    times = _Times(_expiry(fields), deadline_at, now, timeout_seconds)
    await _sent(url, key, path, request, times, progress, http)
    return key


async def put_file(
    url: str,
    headers: Mapping[str, str],
    key: str,
    path: Path,
    *,
    expires_at: datetime,
    deadline_at: datetime | None = None,
    progress: Progress | None = None,
    timeout_seconds: float = MAX_UPLOAD_SECONDS,
    now: Callable[[], datetime] = _CLOCK.now,
    http: httpx.AsyncClient | None = None,
) -> None:
    """Upload `path` as the object `key` with a presigned PUT URL and its headers, which expire at
    `expires_at`. The other arguments and the errors are those of `post_file`."""

    def request(client: httpx.AsyncClient, file: io.FileIO) -> httpx.Request:
        return client.build_request("PUT", url, headers=headers, content=_chunks(file))

    times = _Times(expires_at, deadline_at, now, timeout_seconds)
    await _sent(url, key, path, request, times, progress, http)


async def _chunks(file: io.FileIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk


@dataclass(frozen=True, slots=True)
class _Times:
    """The times of an upload: when its access expires, if that is known, and by when the file counts."""

    expires_at: datetime | None
    deadline_at: datetime | None
    now: Callable[[], datetime]
    timeout_seconds: float


async def _sent(
    url: str,
    key: str,
    path: Path,
    request: Callable[[httpx.AsyncClient, io.FileIO], httpx.Request],
    times: _Times,
    progress: Progress | None,
    http: httpx.AsyncClient | None,
) -> None:
    """Send the file with this request, and check the store's reply."""
    expires_at, deadline_at = times.expires_at, times.deadline_at
    if expires_at is not None and times.now() >= expires_at:
        raise TooLateError(f"the form expired at {expires_at:%H:%M:%S} UTC: request one for the next epoch")
    async with _timed(times.timeout_seconds):
        with _ObservedFile(path, progress) as file:
            async with _client(url, http) as client:
                answer = await client.send(request(client, file), stream=True)
                words = await _refusal_words(answer)
    if answer.status_code not in {200, 201, 204}:
        if expires_at is not None and _stored_at(answer) >= expires_at:
            raise TooLateError(f"the form expired at {expires_at:%H:%M:%S} UTC", answer.status_code)
        raise _refusal(answer, words, key)
    if deadline_at is not None and (stored_at := _stored_at(answer)) > deadline_at:
        raise TooLateError(
            f"{key} was stored at {stored_at:%H:%M:%S} UTC, after the deadline ({deadline_at:%H:%M:%S}): "
            "it does not count",
            answer.status_code,
        )


@asynccontextmanager
async def _client(url: str, http: httpx.AsyncClient | None) -> AsyncIterator[httpx.AsyncClient]:
    """Provide the given client, or one that is closed afterwards."""
    if http is not None:
        yield http
        return
    async with open_client(url, TIMEOUT_SECONDS) as client:
        yield client


@asynccontextmanager
async def _timed(seconds: float) -> AsyncIterator[None]:
    """Limit the time of a request, and turn errors of the HTTP library into TransferError."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TransferError(f"the transfer took more than {seconds:.0f} seconds") from error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ExceptionGroup) as error:
        raise TransferError(
            f"the object store did not reply: {type(error).__name__}", retry_after=RETRY_AFTER_SECONDS
        ) from error
    except ProxySettingsError as error:
        raise TransferError(str(error)) from error


def _expiry(fields: Mapping[str, str]) -> datetime | None:
    """Return when the form expires according to its signed policy, or None if the policy does not state
    that."""
    try:
        expiration = json.loads(base64.b64decode(fields["policy"]))["expiration"]
        expires_at = datetime.fromisoformat(expiration)
    except (KeyError, ValueError, TypeError, RecursionError, binascii.Error):
        return None
    return None if expires_at.tzinfo is None else expires_at


def _stored_at(answer: httpx.Response) -> datetime:
    """Return the time in the store's reply, which is also the time of the object. If the reply has no time,
    return the local time."""
    try:
        return parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return datetime.now(UTC)


async def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in lower-case hex. Raises OSError."""

    def read() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return await asyncio.to_thread(read)


async def fetch(
    url: str, *, max_bytes: int = MAX_FETCHED_BYTES, timeout_seconds: float = MAX_FETCH_SECONDS
) -> bytes:
    """Return the content of a presigned URL. Raises TooLargeError and TransferError."""
    content = bytearray()
    async with _timed(timeout_seconds), _body(url, max_bytes) as (_, chunks):
        async for chunk in chunks:
            content += chunk
    return bytes(content)


async def download(
    url: str,
    path: Path,
    *,
    max_bytes: int = MAX_DOWNLOADED_BYTES,
    size_bytes: int | None = None,
    etag: str | None = None,
    progress: Progress | None = None,
    timeout_seconds: float = MAX_DOWNLOAD_SECONDS,
    http: httpx.AsyncClient | None = None,
) -> int:
    """Stream the content of a presigned URL to the file `path`, and return its size in bytes.

    The file appears only when it is complete. If `size_bytes` and `etag` are given, the file is checked
    against them. With `etag`, an interrupted download leaves a part of the file, and the next call continues
    it. Raises TooLargeError, DamagedFileError, TransferError and OSError."""
    part = part_of(path, etag or url)
    if size_bytes is not None and size_bytes > max_bytes:
        raise TooLargeError(f"the object has {size_bytes} bytes, and {max_bytes} are allowed")
    max_bytes = max_bytes if size_bytes is None else size_bytes
    try:
        async with _timed(timeout_seconds):
            headers = await _receive(url, part, max_bytes, size_bytes, etag, progress, http)
    except BaseException as error:
        # Keep the part of the file only if the next call can tell that it belongs to the same object.
        if etag is None or isinstance(error, TooLargeError):
            part.unlink(missing_ok=True)
        raise
    received = part.stat().st_size
    try:
        if size_bytes is not None and received != size_bytes:
            raise DamagedFileError(f"{path.name} has {received} bytes instead of {size_bytes}")
        if etag is not None and not await asyncio.to_thread(_matches, part, etag, headers):
            raise DamagedFileError(f"{path.name} differs from the upload: its MD5 is not {etag}")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return received


def part_of(path: Path, content: str) -> Path:
    """Return the path of the file that holds the received part of an object until the object is complete.
    `content` identifies the object: its ETag, or its URL if no ETag is known."""
    return path.with_name(f".{path.name}.{hashlib.sha256(content.encode()).hexdigest()[:16]}.part")


async def _receive(
    url: str,
    part: Path,
    max_bytes: int,
    size_bytes: int | None,
    etag: str | None,
    progress: Progress | None,
    http: httpx.AsyncClient | None,
) -> httpx.Headers:
    """Append the missing bytes to the file `part`, and return the headers of the reply."""
    have = 0 if etag is None else await asyncio.to_thread(_size, part)
    if size_bytes is not None and have >= size_bytes:
        have = 0  # the part was complete but not checked, so begin again
    async with _body(url, max_bytes, have, etag, http) as (answer, chunks):
        if answer.status_code != httpx.codes.PARTIAL_CONTENT:
            have = 0
        with part.open("ab" if have else "wb") as file:
            async for chunk in chunks:
                if (have := have + len(chunk)) > max_bytes:
                    raise TooLargeError(f"the object has more than {max_bytes} bytes")
                await asyncio.to_thread(file.write, chunk)
                if progress is not None:
                    progress(have, have if size_bytes is None else size_bytes)
    return answer.headers


def _size(path: Path) -> int:
    """Return the size of a file in bytes, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def _matches(path: Path, etag: str, headers: httpx.Headers) -> bool:
    """Return whether the file has the MD5 that the ETag states. ETags of uploads in several parts and of
    objects encrypted with KMS or a customer's key state none, so these are not checked."""
    encryption = headers.get("x-amz-server-side-encryption", "")
    other = "aws:kms" in encryption or "x-amz-server-side-encryption-customer-algorithm" in headers
    if other or not _MD5.fullmatch(etag):
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == etag


@asynccontextmanager
async def _body(
    url: str,
    max_bytes: int,
    offset: int = 0,
    etag: str | None = None,
    http: httpx.AsyncClient | None = None,
) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[bytes]]]:
    """Request the object's bytes from `offset` on. If the object's ETag is not `etag`, the store sends the
    whole object."""
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": f'"{etag}"'}
    async with _client(url, http) as client, client.stream("GET", url, headers=headers) as answer:
        if answer.status_code not in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
            raise _refusal(answer, await _refusal_words(answer), "the download")
        yield answer, _bounded(answer, max_bytes)


async def _bounded(answer: httpx.Response, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body in chunks, as the object is stored. Raises TooLargeError, before reading if the store
    states the size.

    Size, ETag and manifest are about the stored bytes. A miner chooses the stored Content-Encoding, so a
    client that followed it would get other bytes, and perhaps many more."""
    too_large = TooLargeError(f"the object has more than {max_bytes} bytes: stream it with `download`")
    stated = answer.headers.get("Content-Length", "")
    if stated.isascii() and stated.isdigit() and int(stated) > max_bytes:
        raise too_large
    received = 0
    async for piece in answer.aiter_raw():
        if (received := received + len(piece)) > max_bytes:
            raise too_large
        yield piece


async def _refusal_words(answer: httpx.Response) -> str:
    """Return the first MAX_REFUSAL_BYTES of a reply as text; stop reading after REFUSAL_SECONDS."""
    words = bytearray()
    try:
        body = BoundedBody(answer.headers, MAX_REFUSAL_BYTES)
        async with asyncio.timeout(REFUSAL_SECONDS):
            async for piece in answer.aiter_raw():
                words += body.decompress(piece)
    except (AnswerTooLargeError, AnswerEncodingError, TimeoutError):
        pass  # the part that was read is enough
    await answer.aclose()
    return bytes(words).decode(errors="replace")


def _refusal(answer: httpx.Response, words: str, what: str) -> TransferError:
    """Return an error with the store's code and message, such as EntityTooSmall, if the reply has them."""
    found = _S3_ERROR.search(words)
    reason = ": ".join(part for part in found.groups() if part) if found else str(answer.status_code)
    busy = answer.status_code in {429, 500, 502, 503, 504}
    return TransferError(
        f"the object store refused {what}: {reason}",
        answer.status_code,
        retry_after=RETRY_AFTER_SECONDS if busy else None,
    )
