"""Asking the bridge: where it is, and what it answers or refuses."""

from pathlib import Path
from typing import Annotated

import httpx
import typer

from zipcast.errors import ErrorCode, ServiceError
from zipcast.history_messages import EndedEpochsReply
from zipcast.http import open_sync_client
from zipcast.messages import parse_error
from zipcast.ready import NotReadyError, Ready

TIMEOUT_SECONDS = 10.0
HttpOption = Annotated[str | None, typer.Option("--http", help="The bridge's address.")]


def address_of(http: str | None, ready: Path) -> str:
    """Raises NotReadyError."""
    try:
        return http or Ready.read(ready).http
    except NotReadyError as error:
        raise NotReadyError(f"{error}, or give --http") from None


def get_page(address: str, parameters: dict[str, str]) -> EndedEpochsReply:
    """Ended epochs, newest first. Raises ServiceError, OSError."""
    return EndedEpochsReply.model_validate_json(get(address, "/api/v1/epochs", parameters=parameters))


def get(
    address: str,
    target: str,
    headers: dict[str, str] | None = None,
    *,
    parameters: dict[str, str] | None = None,
) -> bytes:
    """Raises ServiceError as the bridge states it, and OSError where it does not answer."""
    try:
        with open_sync_client(address, TIMEOUT_SECONDS) as http:
            answer = http.get(address + target, params=parameters, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(f"{address} does not answer: {type(error).__name__}") from None
    if answer.status_code == httpx.codes.OK:
        return answer.content
    try:
        refused = parse_error(answer.content)
    except (ValueError, AttributeError):
        refused = ServiceError(ErrorCode.INTERNAL, f"the bridge answered {answer.status_code}")
    raise refused
