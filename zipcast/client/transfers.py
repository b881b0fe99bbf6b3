"""Uploads files with presigned forms, and downloads files from presigned URLs.

This module does only the HTTP requests; clients get forms and URLs over NATS.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from zipcast.client.http import AnswerEncodingError, AnswerTooLargeError, BoundedBody, open_client
from zipcast.protocol.messages.results import ReportedFile

TIMEOUT_SECONDS = 60.0
MAX_FETCHED_BYTES = 64 * 2**20
"""The largest file that `fetch` reads into memory, in bytes. `download` streams to disk instead."""
MAX_DOWNLOADED_BYTES = 5 * 2**30
"""S3's limit for a single upload, in bytes. No honest file is larger."""
MAX_REFUSAL_BYTES = 64 * 1024
REFUSAL_SECONDS = 10.0
_S3_ERROR = re.compile(r"<Code>([A-Za-z]+)</Code>(?:<Message>([^<]*)</Message>)?")


class UploadError(Exception):
    """The object store refused the request or did not respond. `status` is its HTTP status, or None."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class TooLateError(UploadError):
    """The file was not stored before the deadline, so it does not count. Continue with the next epoch."""


class TooLargeError(UploadError):
    """An object is larger than the caller allows. No part of it was kept."""


async def post_file(
    url: str,
    fields: Mapping[str, str],
    name: str,
    path: Path,
    *,
    with_checksum: bool = False,
    deadline_at: datetime | None = None,
) -> str:
    """Upload `path` as `name` below the form's prefix, and return the object's key.

    `name` may contain folders. Set `with_checksum` if the form was requested with it. `deadline_at` (aware)
    is the time by which the file must be stored to count, by the store's clock. Raises TooLateError,
    UploadError and OSError."""
    expires_at = _expiry(fields)
    if expires_at is not None and datetime.now(UTC) >= expires_at:
        raise TooLateError(f"the form expired at {expires_at:%H:%M:%S} UTC: request one for the next epoch")
    if "key" not in fields:
        raise UploadError("the form has no key: request another one")
    key = fields["key"].replace("${filename}", name)
    form = {**fields, "key": key}
    if with_checksum:
        digest = bytes.fromhex(await asyncio.to_thread(_sha256, path))
        form["x-amz-checksum-sha256"] = base64.b64encode(digest).decode()
    try:
        with path.open("rb") as file:
            async with open_client(url, TIMEOUT_SECONDS) as http:
                request = http.build_request("POST", url, data=form, files={"file": (path.name, file)})
                answer = await http.send(request, stream=True)
                words = await _refusal_words(answer)
    except (httpx.HTTPError, httpx.InvalidURL, ExceptionGroup) as error:
        raise UploadError(f"the object store did not answer: {type(error).__name__}") from error
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
    return key


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


async def reported_file(key: str, path: Path) -> ReportedFile:
    """Return the entry in a validator's report for a file that was uploaded as `key`. Raises OSError."""

    def read() -> ReportedFile:
        return ReportedFile(key=key, size_bytes=path.stat().st_size, sha256=_sha256(path))

    return await asyncio.to_thread(read)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def fetch(url: str, *, max_bytes: int = MAX_FETCHED_BYTES) -> bytes:
    """Return the content of a presigned URL. Raises TooLargeError, UploadError and OSError."""
    content = bytearray()
    async with _body(url, max_bytes) as chunks:
        async for chunk in chunks:
            content += chunk
    return bytes(content)


async def download(url: str, path: Path, *, max_bytes: int = MAX_DOWNLOADED_BYTES) -> int:
    """Stream the content of a presigned URL to the file `path`, and return its size in bytes.

    The file appears only when it is complete. Raises TooLargeError, UploadError and OSError."""
    partial = path.with_name(path.name + ".partial")
    size = 0
    try:
        with partial.open("wb") as file:
            async with _body(url, max_bytes) as chunks:
                async for chunk in chunks:
                    size += len(chunk)
                    await asyncio.to_thread(file.write, chunk)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return size


@asynccontextmanager
async def _body(url: str, max_bytes: int) -> AsyncIterator[AsyncIterator[bytes]]:
    try:
        async with open_client(url, TIMEOUT_SECONDS) as http, http.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise _refusal(answer, await _refusal_words(answer), "the address")
            yield _bounded(answer, max_bytes)
    except (httpx.HTTPError, httpx.InvalidURL, ExceptionGroup) as error:
        raise UploadError(f"the object store did not answer: {type(error).__name__}") from error


async def _bounded(answer: httpx.Response, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body in chunks. Raises TooLargeError; if the size is stated, this happens before reading."""
    too_large = TooLargeError(f"the object has more than {max_bytes} bytes: stream it with `download`")
    stated = answer.headers.get("Content-Length", "")
    if stated.isascii() and stated.isdigit() and int(stated) > max_bytes:
        raise too_large
    try:
        body = BoundedBody(answer.headers, max_bytes)
        async for piece in answer.aiter_raw():
            yield body.decompress(piece)
    except AnswerTooLargeError:
        raise too_large from None
    except AnswerEncodingError as error:
        raise UploadError(f"the object cannot be read: {error}") from None


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


def _refusal(answer: httpx.Response, words: str, what: str) -> UploadError:
    """Return an error with the store's code and message, such as EntityTooSmall, if the reply has them."""
    found = _S3_ERROR.search(words)
    reason = ": ".join(part for part in found.groups() if part) if found else str(answer.status_code)
    return UploadError(f"the object store refused {what}: {reason}", answer.status_code)
