"""Using what was issued: posting a file through a presigned form, fetching a presigned address.

Owns the HTTP side of an upload. Knows nothing of NATS.
"""

import asyncio
import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import httpx

from zipcast.result_messages import ReportedFile

TIMEOUT_SECONDS = 60.0
_S3_ERROR = re.compile(r"<Code>([A-Za-z]+)</Code>(?:<Message>([^<]*)</Message>)?")


class UploadError(Exception):
    """The object store refused or did not answer; `status` is its HTTP status, or None."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


async def post_file(
    url: str, fields: Mapping[str, str], name: str, path: Path, *, with_checksum: bool = False
) -> str:
    """Upload `path` as `name` below the form's prefix; returns the object's key.

    `name` may hold folders. `with_checksum`: for a form that was asked for so. Raises UploadError,
    OSError."""
    key = fields["key"].replace("${filename}", name)
    form = {**fields, "key": key}
    if with_checksum:
        digest = bytes.fromhex(await asyncio.to_thread(_sha256, path))
        form["x-amz-checksum-sha256"] = base64.b64encode(digest).decode()
    try:
        with path.open("rb") as file:
            async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as http:
                answer = await http.post(url, data=form, files={"file": (path.name, file)})
    except httpx.HTTPError as error:
        raise UploadError(f"the object store did not answer: {type(error).__name__}") from error
    if answer.status_code not in {200, 201, 204}:
        raise _refusal(answer, key)
    return key


async def reported_file(key: str, path: Path) -> ReportedFile:
    """How a validator's report names the file that was uploaded as `key`. Raises OSError."""

    def read() -> ReportedFile:
        return ReportedFile(key=key, size_bytes=path.stat().st_size, sha256=_sha256(path))

    return await asyncio.to_thread(read)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def fetch(url: str) -> bytes:
    """What a presigned GET holds. Raises UploadError."""
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as http:
            answer = await http.get(url)
    except httpx.HTTPError as error:
        raise UploadError(f"the object store did not answer: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise _refusal(answer, "the address")
    return answer.content


def _refusal(answer: httpx.Response, what: str) -> UploadError:
    """With S3's own code and sentence, such as EntityTooSmall, where it gave one."""
    found = _S3_ERROR.search(answer.text)
    reason = ": ".join(part for part in found.groups() if part) if found else str(answer.status_code)
    return UploadError(f"the object store refused {what}: {reason}", answer.status_code)
