"""Using what was issued: posting a file through a presigned form, fetching a presigned address.

Owns the HTTP side of an upload. Knows nothing of NATS.
"""

from collections.abc import Mapping
from pathlib import Path

import httpx

TIMEOUT_SECONDS = 60.0


class UploadError(Exception):
    """The object store refused or did not answer; `status` is its HTTP status, or None."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


async def post_file(url: str, fields: Mapping[str, str], name: str, path: Path) -> str:
    """Upload `path` as `name` below the form's prefix; returns the object's key.

    `name` may hold folders. Raises UploadError, OSError."""
    key = fields["key"].replace("${filename}", name)
    form = {**fields, "key": key}
    try:
        with path.open("rb") as file:
            async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as http:
                answer = await http.post(url, data=form, files={"file": (path.name, file)})
    except httpx.HTTPError as error:
        raise UploadError(f"the object store did not answer: {type(error).__name__}") from error
    if answer.status_code not in {200, 201, 204}:
        raise UploadError(f"the object store refused {key}: {answer.status_code}", answer.status_code)
    return key


async def fetch(url: str) -> bytes:
    """What a presigned GET holds. Raises UploadError."""
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as http:
            answer = await http.get(url)
    except httpx.HTTPError as error:
        raise UploadError(f"the object store did not answer: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise UploadError(f"the object store refused: {answer.status_code}", answer.status_code)
    return answer.content
