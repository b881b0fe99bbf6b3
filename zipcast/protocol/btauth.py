"""Signs and verifies requests with `btauth/1`, the standard of the Bittensor SDK, restricted to sr25519.

This module owns the headers and the signed text. The format is that of `bittensor.http_auth`; tests check
both directions. It is implemented here because importing `bittensor` takes a second and 100 MB, and because
this module is stricter: it accepts no ed25519, no addresses of other networks, no white space and no Unicode
digits. Protection against replay is the caller's task.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import (
    Hotkey,
    MalformedHotkeyError,
    MalformedSignatureError,
    Signer,
    parse_hotkey,
    parse_signature,
    signature_is_valid,
)

PROTOCOL = "btauth/1"
VERSION = "1"
SCHEME = "sr25519"
SIGNED_NAME_PREFIX = "x-bittensor-"
HEADER_VERSION = "X-Bittensor-Version"
HEADER_HOTKEY = "X-Bittensor-Hotkey"
HEADER_RECEIVER = "X-Bittensor-Receiver"
HEADER_NONCE = "X-Bittensor-Nonce"
HEADER_CRYPTO = "X-Bittensor-Crypto"
HEADER_SIGNATURE = "X-Bittensor-Signature"

# The time of a request may be this far in the past and in the future: DEFAULT_MAX_AGE and
# DEFAULT_ALLOWED_SKEW of bittensor.http_auth.
MAX_AGE_NS = 10 * 10**9
MAX_AHEAD_NS = 2 * 10**9

_NONCE = re.compile(r"^[1-9][0-9]{0,19}$")


@dataclass(frozen=True, slots=True)
class UnverifiedRequest:
    """Well-formed headers that are not verified yet."""

    hotkey: Hotkey
    receiver: str
    nonce_ns: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A request whose method, path and body `hotkey` signed for this receiver at `nonce_ns` (Unix ns)."""

    hotkey: Hotkey
    nonce_ns: int


def signed_text(*, method: str, path: str, body: bytes, nonce_ns: int, hotkey: str, receiver: str) -> bytes:
    """Return the bytes to sign. `path` is the HTTP path with its query, or the NATS subject."""
    digest = hashlib.sha256(body).hexdigest()
    lines = (PROTOCOL, SCHEME, method.upper(), path, digest, str(nonce_ns), hotkey, receiver)
    return "\n".join(lines).encode()


def sign(
    signer: Signer, *, method: str, path: str, body: bytes, receiver: str, nonce_ns: int
) -> dict[str, str]:
    """Return the headers of one request. `nonce_ns` is the Unix time in ns; sign each retry again."""
    hotkey = signer.ss58_address
    text = signed_text(
        method=method, path=path, body=body, nonce_ns=nonce_ns, hotkey=hotkey, receiver=receiver
    )
    return {
        HEADER_VERSION: VERSION,
        HEADER_HOTKEY: hotkey,
        HEADER_RECEIVER: receiver,
        HEADER_NONCE: str(nonce_ns),
        HEADER_SIGNATURE: "0x" + bytes(signer.sign(text)).hex(),
    }


def parse(headers: Mapping[str, str]) -> UnverifiedRequest:
    """Read the `btauth/1` headers; their names may be in any case.

    Raises ServiceError(MALFORMED_AUTH) naming the header and the rule: a header that is missing, malformed,
    or given twice in different spellings."""
    given: dict[str, str] = {}
    for name, value in headers.items():
        if name.lower().startswith(SIGNED_NAME_PREFIX) and name.lower() in given:
            raise ServiceError(ErrorCode.MALFORMED_AUTH, f"Header {name} is given twice: send it once.")
        given[name.lower()] = value

    def header(name: str) -> str:
        value = given.get(name.lower())
        if value is None:
            raise ServiceError(ErrorCode.MALFORMED_AUTH, f"Header {name} is missing.")
        return value

    if header(HEADER_VERSION) != VERSION:
        raise ServiceError(ErrorCode.MALFORMED_AUTH, f"Header {HEADER_VERSION} must be {VERSION}.")
    if given.get(HEADER_CRYPTO.lower(), SCHEME) != SCHEME:
        raise ServiceError(ErrorCode.MALFORMED_AUTH, f"Header {HEADER_CRYPTO} must be {SCHEME}.")
    if not _NONCE.fullmatch(header(HEADER_NONCE)):
        raise ServiceError(ErrorCode.MALFORMED_AUTH, f"Header {HEADER_NONCE} must be Unix nanoseconds.")
    try:
        hotkey = parse_hotkey(header(HEADER_HOTKEY))
        signature = parse_signature(header(HEADER_SIGNATURE))
    except MalformedHotkeyError as error:
        raise ServiceError(ErrorCode.MALFORMED_HOTKEY, f"Header {HEADER_HOTKEY} {error}.") from None
    except MalformedSignatureError as error:
        raise ServiceError(ErrorCode.MALFORMED_AUTH, f"Header {HEADER_SIGNATURE} {error}.") from None
    return UnverifiedRequest(hotkey, header(HEADER_RECEIVER), int(header(HEADER_NONCE)), signature)


def check_fresh(request: UnverifiedRequest, now_ns: int) -> None:
    """Check that the request was signed within the time window. Raises ServiceError(STALE_REQUEST).

    This check is cheap, so it comes before the checks of the registry and the signature."""
    if now_ns - request.nonce_ns > MAX_AGE_NS:
        raise ServiceError(ErrorCode.STALE_REQUEST, "The request was signed more than 10 s ago.")
    if request.nonce_ns - now_ns > MAX_AHEAD_NS:
        raise ServiceError(ErrorCode.STALE_REQUEST, "The request was signed more than 2 s in the future.")


def verify(
    request: UnverifiedRequest, *, method: str, path: str, body: bytes, receivers: frozenset[str]
) -> VerifiedRequest:
    """Verify receiver and signature; `check_fresh` checks the time.

    Raises ServiceError(WRONG_RECEIVER | BAD_SIGNATURE)."""
    if request.receiver not in receivers:
        raise ServiceError(ErrorCode.WRONG_RECEIVER, "The request was signed for another receiver.")
    text = signed_text(
        method=method,
        path=path,
        body=body,
        nonce_ns=request.nonce_ns,
        hotkey=request.hotkey,
        receiver=request.receiver,
    )
    if not signature_is_valid(request.hotkey, text, request.signature):
        raise ServiceError(ErrorCode.BAD_SIGNATURE, "The signature does not match hotkey, body and path.")
    return VerifiedRequest(request.hotkey, request.nonce_ns)
