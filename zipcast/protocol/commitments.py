"""Spells the texts that are signed: for connections, and the legacy commitments of the HTTP contract.

Owns the exact texts and their windows of time. `btauth/1` requests are in `btauth.py`.
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

# nats-server's nonces are 11 or more characters of base64url. Anything else may be a text that a
# hostile server wants signed, so neither the SDK nor the callout touches it.
_SERVER_NONCE = re.compile(r"^[A-Za-z0-9_-]{8,64}$")
_UNIX_SECONDS = re.compile(r"^[1-9][0-9]{0,10}$")

LOOPBACK_AUDIENCE = "loopback"


def connection_text(network: str, netuid: int, audience: str, hotkey: str, nonce: str) -> bytes:
    """Return the text whose signature proves a connection: it names the server's nonce and the name that the
    client verified.

    Raises ValueError for a nonce no nats-server makes."""
    if not _SERVER_NONCE.fullmatch(nonce):
        raise ValueError("nonce must be 8 to 64 characters of base64url")
    return f"zipcast:connect:v1:{network}:{netuid}:{audience}:{hotkey}:{nonce}".encode()


def connection_at_text(network: str, netuid: int, audience: str, hotkey: str, unix_seconds: int) -> bytes:
    """The same for clients that cannot sign the nonce: valid for 60 s around `unix_seconds`, once."""
    return f"zipcast:connect-at:v1:{network}:{netuid}:{audience}:{hotkey}:{unix_seconds}".encode()


@dataclass(frozen=True, slots=True)
class Window:
    """The time that a legacy timestamp may lie behind and ahead of our clock, in seconds."""

    past_seconds: int
    future_seconds: int


# contract-http: accepted clock difference.
GET_WINDOW = Window(past_seconds=300, future_seconds=60)
API_WINDOW = Window(past_seconds=300, future_seconds=300)


CURRENT_COMMITMENT = "zipcode:assignment:current:{timestamp}"
STREAM_COMMITMENT = "zipcode:stream:{timestamp}"
VALIDATOR_UPLOAD_COMMITMENT = "s3:validator:upload:{timestamp}"
FOLDER_ACCESS_COMMITMENT = "s3:data:access:{coldkey}:{hotkey}:{timestamp}"
VALIDATION_COMMITMENT = "zipcode:validation:{epoch_id}:{timestamp}"
STATUS_COMMITMENT = "zipcode:status:{epoch_id}:{timestamp}"
MINER_STATUS_COMMITMENT = "miner:status:{hotkey}:{epoch_id}:{timestamp}"
VALIDATOR_ACCESS_COMMITMENT = "s3:validator:access:{timestamp}"
MINER_ACCESS_COMMITMENT = "s3:validator:miner:{miner_hotkey}:{timestamp}"


@dataclass(frozen=True, slots=True)
class UnverifiedCommitment:
    """A legacy request's identity fields, well-shaped, unchecked."""

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
    # Both in whole seconds: a client that signs 300 s back is 300 s back for the whole of that second.
    if int(now_unix) - request.timestamp > window.past_seconds:
        raise ServiceError(
            ErrorCode.STALE_REQUEST, f"timestamp is more than {window.past_seconds} s in the past."
        )
    if request.timestamp - now_unix > window.future_seconds:
        raise ServiceError(
            ErrorCode.STALE_REQUEST, f"timestamp is more than {window.future_seconds} s in the future."
        )


def verify_commitment(request: UnverifiedCommitment, texts: Iterable[str]) -> tuple[Hotkey, str]:
    """The hotkey, and which text it signed, raw or in `<Bytes>`. Raises ServiceError(BAD_SIGNATURE)."""
    for text in texts:
        if signature_is_valid(request.hotkey, text.encode(), request.signature):
            return request.hotkey, text
    raise ServiceError(
        ErrorCode.BAD_SIGNATURE, "The signature is not that hotkey's over the documented text."
    )
