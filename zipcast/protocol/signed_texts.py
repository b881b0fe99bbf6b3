"""Builds and verifies the texts that clients sign to connect, and the legacy commitments of HTTP requests.

This module owns the exact texts and their time windows. Requests signed with `btauth/1` are in `btauth.py`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import (
    Hotkey,
    MalformedHotkeyError,
    MalformedSignatureError,
    parse_hotkey,
    parse_signature,
    signature_is_valid,
)

# nats-server's nonces have 11 or more characters of base64url. Anything else may be a text that a hostile
# server wants to have signed, so the SDK does not sign it and the callout does not accept it.
_SERVER_NONCE = re.compile(r"^[A-Za-z0-9_-]{8,64}$")
_UNIX_SECONDS = re.compile(r"^[1-9][0-9]{0,10}$")

LOOPBACK_AUDIENCE = "loopback"


def connection_text(network: str, netuid: int, audience: str, hotkey: str, nonce: str) -> bytes:
    """Return the text that a client signs to connect. It contains the server's nonce and `audience`, the
    server name that the client verified.

    Raises ValueError for a nonce that no nats-server would make."""
    if not _SERVER_NONCE.fullmatch(nonce):
        raise ValueError("nonce must be 8 to 64 characters of base64url")
    return f"zipcast:connect:v1:{network}:{netuid}:{audience}:{hotkey}:{nonce}".encode()


def connection_at_text(network: str, netuid: int, audience: str, hotkey: str, unix_seconds: int) -> bytes:
    """Return the text to sign for clients that cannot sign the nonce. Its signature can be used once, within
    60 s of `unix_seconds`."""
    return f"zipcast:connect-at:v1:{network}:{netuid}:{audience}:{hotkey}:{unix_seconds}".encode()


@dataclass(frozen=True, slots=True)
class Window:
    """The range of a legacy timestamp: its largest distance from the present time in the past and in the
    future, in seconds."""

    past_seconds: int
    future_seconds: int


# A timestamp may be this far in the past and in the future: docs/http-contract.md, "Conventions".
GET_WINDOW = Window(past_seconds=300, future_seconds=60)
API_WINDOW = Window(past_seconds=300, future_seconds=300)


CURRENT_COMMITMENT = "zipcode:assignment:current:{timestamp}"
STREAM_COMMITMENT = "zipcode:stream:{timestamp}"
SEALED_COMMITMENT = "zipcode:sealed:{timestamp}"
VALIDATOR_UPLOAD_COMMITMENT = "s3:validator:upload:{timestamp}"
FOLDER_ACCESS_COMMITMENT = "s3:data:access:{coldkey}:{hotkey}:{timestamp}"
VALIDATION_COMMITMENT = "zipcode:validation:{epoch_id}:{timestamp}"
STATUS_COMMITMENT = "zipcode:status:{epoch_id}:{timestamp}"
MINER_STATUS_COMMITMENT = "miner:status:{hotkey}:{epoch_id}:{timestamp}"
VALIDATOR_ACCESS_COMMITMENT = "s3:validator:access:{timestamp}"
MINER_ACCESS_COMMITMENT = "s3:validator:miner:{miner_hotkey}:{timestamp}"


@dataclass(frozen=True, slots=True)
class UnverifiedCommitment:
    """The identity fields of a legacy request: well-formed, but not verified."""

    hotkey: Hotkey
    timestamp: int
    signature: bytes


def parse_commitment(hotkey: str, timestamp: str, signature: str) -> UnverifiedCommitment:
    """Read the identity fields of a legacy request. Raises ServiceError(MALFORMED_HOTKEY | MALFORMED_REQUEST
    | MALFORMED_AUTH) naming the field."""
    if not _UNIX_SECONDS.fullmatch(timestamp):
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, "timestamp must be Unix seconds, digits only.")
    try:
        return UnverifiedCommitment(parse_hotkey(hotkey), int(timestamp), parse_signature(signature))
    except MalformedHotkeyError as error:
        raise ServiceError(ErrorCode.MALFORMED_HOTKEY, f"hotkey {error}.") from None
    except MalformedSignatureError as error:
        raise ServiceError(ErrorCode.MALFORMED_AUTH, f"signature {error}.") from None


def check_commitment_fresh(request: UnverifiedCommitment, window: Window, now_unix: float) -> None:
    """Check that the timestamp lies within the window. Raises ServiceError(STALE_REQUEST)."""
    # Compare whole seconds, so that a timestamp 300 s in the past is accepted during that whole second.
    if int(now_unix) - request.timestamp > window.past_seconds:
        raise ServiceError(
            ErrorCode.STALE_REQUEST, f"timestamp is more than {window.past_seconds} s in the past."
        )
    if request.timestamp - now_unix > window.future_seconds:
        raise ServiceError(
            ErrorCode.STALE_REQUEST, f"timestamp is more than {window.future_seconds} s in the future."
        )


def verify_commitment(request: UnverifiedCommitment, texts: Iterable[str]) -> tuple[Hotkey, str]:
    """Return the hotkey and the text of `texts` that it signed, raw or within `<Bytes>`.

    Raises ServiceError(BAD_SIGNATURE)."""
    for text in texts:
        if signature_is_valid(request.hotkey, text.encode(), request.signature):
            return request.hotkey, text
    raise ServiceError(
        ErrorCode.BAD_SIGNATURE, "The signature is not that hotkey's over the documented text."
    )
