"""Sends requests to the bridge. The bridge may be hostile, so every reply has a size limit."""

import time
from pathlib import Path

import httpx

from zipcast.cli.session import Service
from zipcast.client.http import (
    HTTP_FAULTS,
    AnswerEncodingError,
    AnswerTooLargeError,
    BoundedBody,
    ProxySettingsError,
    open_sync_client,
)
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import parse_error
from zipcast.protocol.messages.history import EndedEpochsReply

TIMEOUT_SECONDS = 10.0
WHOLE_ANSWER_SECONDS = 120.0
"""The longest time in seconds from the head of a reply to its end, even if more data keeps arriving."""
MAX_ANSWER_BYTES = 8 * 2**20
"""The largest size of a reply after decompression, in bytes. Parsing JSON may take thirty times as much
memory."""
MAX_EPOCH_BYTES = 384 * 1024
"""The largest size of one epoch on a page, in bytes. A message of NATS has at most 256 KB, and escaping in
JSON makes it longer."""
MAX_REFUSAL_BYTES = 64 * 1024


class UnreachableError(OSError):
    """The bridge does not reply."""


def address_of(http: str | None, ready: Path, profile: str | None = None) -> str:
    """Return the address of the bridge, without a slash at its end. Raises NotReadyError, ProfileError, and
    typer.BadParameter if it is unknown."""
    if http is not None:
        return http.rstrip("/")
    service = Service.find(ready, profile)
    return service.needed(None, service.http, "--http").rstrip("/")


def get_page(address: str, limit: int, before: str | None = None) -> EndedEpochsReply:
    """Return the newest `limit` ended epochs that started before the epoch `before`.

    Raises ServiceError and OSError."""
    parameters = {"limit": str(limit)} | ({} if before is None else {"before": before})
    max_bytes = max(MAX_ANSWER_BYTES, limit * MAX_EPOCH_BYTES)
    answer = get(address, "/api/v1/epochs", parameters=parameters, max_bytes=max_bytes)
    return EndedEpochsReply.model_validate_json(answer)


def get(
    address: str,
    target: str,
    headers: dict[str, str] | None = None,
    *,
    parameters: dict[str, str] | None = None,
    max_bytes: int = MAX_ANSWER_BYTES,
) -> bytes:
    """Send a request to the bridge and return the body of its reply. Raises ServiceError if the bridge
    refuses it, and OSError if the bridge does not reply or its reply is too large."""
    try:
        with (
            open_sync_client(address, TIMEOUT_SECONDS) as http,
            http.stream(
                "GET",
                address + target,
                params=parameters,
                headers={**(headers or {}), "Accept-Encoding": "gzip"},
            ) as answer,
        ):
            served = answer.status_code == httpx.codes.OK
            content = _content(answer, max_bytes if served else MAX_REFUSAL_BYTES)
    except ProxySettingsError:
        raise
    except (AnswerTooLargeError, AnswerEncodingError) as error:
        raise OSError(f"{address}{target} cannot be read: {error}") from None
    except HTTP_FAULTS as error:
        raise UnreachableError(f"{address} does not reply: {type(error).__name__}") from None
    if served:
        return content
    try:
        refused = parse_error(content)
    except (ValueError, AttributeError, RecursionError):
        refused = ServiceError(
            ErrorCode.INTERNAL, f"the bridge replied with HTTP status {answer.status_code}"
        )
    refused.request_id = answer.headers.get("X-Request-Id")
    raise refused


def _content(answer: httpx.Response, max_bytes: int) -> bytes:
    """Return the decompressed body. Raises AnswerTooLargeError, AnswerEncodingError and httpx.ReadTimeout."""
    body, content = BoundedBody(answer.headers, max_bytes), bytearray()
    give_up_at = time.monotonic() + WHOLE_ANSWER_SECONDS
    for piece in answer.iter_raw():
        if time.monotonic() > give_up_at:
            raise httpx.ReadTimeout(f"the reply took more than {WHOLE_ANSWER_SECONDS:.0f} seconds")
        content += body.decompress(piece)
    return bytes(content)
