"""Lists every error that a client can get; replies over NATS and HTTP share this table.

Each code has an HTTP status, a meaning and a remedy. A message is one sentence that a person can act on; it
never holds a stack trace, a driver's message, a secret or a signature.
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class ErrorCode(StrEnum):
    """The value is what travels as `error`."""

    MALFORMED_REQUEST = "malformed_request"
    MALFORMED_EPOCH_ID = "malformed_epoch_id"
    MALFORMED_HOTKEY = "malformed_hotkey"
    MALFORMED_AUTH = "malformed_auth"
    BAD_SIGNATURE = "bad_signature"
    STALE_REQUEST = "stale_request"
    WRONG_RECEIVER = "wrong_receiver"
    NOT_REGISTERED = "not_registered"
    VALIDATOR_REQUIRED = "validator_required"
    ADMIN_REQUIRED = "admin_required"
    COLDKEY_MISMATCH = "coldkey_mismatch"
    NOT_FOUND = "not_found"
    COMMAND_NOT_FOUND = "command_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    LENGTH_REQUIRED = "length_required"
    NO_CURRENT_EPOCH = "no_current_epoch"
    EPOCH_NOT_FOUND = "epoch_not_found"
    ARCHIVED = "archived"
    NONCE_MISMATCH = "nonce_mismatch"
    EPOCH_NOT_OPEN = "epoch_not_open"
    EPOCH_NOT_ENDED = "epoch_not_ended"
    NOT_YET_REVEALED = "not_yet_revealed"
    FILE_MISMATCH = "file_mismatch"
    CHECKSUM_REQUIRED = "checksum_required"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    RATE_LIMITED = "rate_limited"
    REQUEST_REUSED = "request_reused"
    REQUEST_UNDER_WAY = "request_under_way"
    LEGACY_REFUSED = "legacy_refused"
    REGISTRY_UNAVAILABLE = "registry_unavailable"
    CREDENTIALS_UNAVAILABLE = "credentials_unavailable"
    SERVICE_UNAVAILABLE = "service_unavailable"
    INTERNAL = "internal_error"


@dataclass(frozen=True, slots=True)
class ErrorMeaning:
    """`status` is the HTTP status, also sent as `code`; `retryable` errors carry `retryAfter`."""

    status: int
    meaning: str
    remedy: str
    retryable: bool = False


_RESIGN = "Sign the documented text with the hotkey you name, and send lower-case hex."

ERRORS = MappingProxyType(
    {
        ErrorCode.MALFORMED_REQUEST: ErrorMeaning(
            400, "The body, a field or a parameter breaks a rule.", "Read `message`: it names both."
        ),
        ErrorCode.MALFORMED_EPOCH_ID: ErrorMeaning(
            400, "The epoch id is not YYYY-MM-DDTHH-MM-SS.", "Send the id exactly as published."
        ),
        ErrorCode.MALFORMED_HOTKEY: ErrorMeaning(
            400, "Not an SS58 address with prefix 42.", "Send the address your wallet shows."
        ),
        ErrorCode.MALFORMED_AUTH: ErrorMeaning(
            401, "Signature headers or fields are missing or misshapen.", _RESIGN
        ),
        ErrorCode.BAD_SIGNATURE: ErrorMeaning(
            401, "The signature is not that hotkey's over this request.", _RESIGN
        ),
        ErrorCode.STALE_REQUEST: ErrorMeaning(
            401,
            "The time of signing is outside the accepted window.",
            "Correct the clock by `serverTime`, sign again.",
        ),
        ErrorCode.WRONG_RECEIVER: ErrorMeaning(
            401, "The request was signed for another service.", "Sign for the signer you pinned."
        ),
        ErrorCode.NOT_REGISTERED: ErrorMeaning(
            403, "The hotkey is not registered on this subnet.", "Register it, or use the one that is."
        ),
        ErrorCode.VALIDATOR_REQUIRED: ErrorMeaning(
            403, "Only validators with a permit and enough stake may ask this.", "Ask with such a hotkey."
        ),
        ErrorCode.ADMIN_REQUIRED: ErrorMeaning(
            403, "Only the operator's admins may ask this.", "Ask with a hotkey of `ADMIN_HOTKEYS`."
        ),
        ErrorCode.COLDKEY_MISMATCH: ErrorMeaning(
            403,
            "The hotkey is registered, but not under that coldkey.",
            "Name and sign the coldkey that the metagraph shows for the hotkey.",
        ),
        ErrorCode.NOT_FOUND: ErrorMeaning(404, "There is nothing at this address.", "See the docs."),
        ErrorCode.COMMAND_NOT_FOUND: ErrorMeaning(
            404, "No admin command has that id.", "Ask for the newest with `commands.list`."
        ),
        ErrorCode.METHOD_NOT_ALLOWED: ErrorMeaning(
            405, "This address does not take that method.", "See the docs."
        ),
        ErrorCode.LENGTH_REQUIRED: ErrorMeaning(
            411, "The body has no stated length.", "Send `Content-Length`, not `Transfer-Encoding`."
        ),
        ErrorCode.NO_CURRENT_EPOCH: ErrorMeaning(
            404, "No epoch is running now.", "Wait for the next one: it comes by itself."
        ),
        ErrorCode.EPOCH_NOT_FOUND: ErrorMeaning(
            404, "No epoch of that id has started.", "Use an id you received."
        ),
        ErrorCode.ARCHIVED: ErrorMeaning(
            410, "The epoch is too old: its detail is no longer kept.", "Use the signed message you keep."
        ),
        ErrorCode.NONCE_MISMATCH: ErrorMeaning(
            400, "The nonce is not that epoch's.", "Send the nonce of the epoch you report on."
        ),
        ErrorCode.EPOCH_NOT_OPEN: ErrorMeaning(
            409, "The epoch's submission deadline has passed.", "Upload for the running epoch."
        ),
        ErrorCode.EPOCH_NOT_ENDED: ErrorMeaning(
            409,
            "The epoch still runs, or its uploads are being listed.",
            "Ask again: reports from its end on, uploads from about a minute after it.",
        ),
        ErrorCode.NOT_YET_REVEALED: ErrorMeaning(
            409, "An epoch's pool is shown one epoch after its end.", "Ask again then."
        ),
        ErrorCode.FILE_MISMATCH: ErrorMeaning(
            422,
            "A reported file is missing, elsewhere, or not what the report says.",
            "Read `message`: it names the file and what is wrong. Upload it again, or report what is there.",
        ),
        ErrorCode.CHECKSUM_REQUIRED: ErrorMeaning(
            422,
            "Files without a stored SHA-256 hold more than is read for one report.",
            "Upload them with `x-amz-checksum-sha256`, in one piece.",
        ),
        ErrorCode.PAYLOAD_TOO_LARGE: ErrorMeaning(413, "The request is too large.", "Send less."),
        ErrorCode.RATE_LIMITED: ErrorMeaning(
            429,
            "That much has been asked for in that time.",
            "Wait `retryAfter` seconds. Only requests that you signed count against your hotkey.",
            retryable=True,
        ),
        ErrorCode.REQUEST_REUSED: ErrorMeaning(
            409, "The same signed text came before with another body.", "Sign again, with a new time."
        ),
        ErrorCode.REQUEST_UNDER_WAY: ErrorMeaning(
            503, "The same request is being answered at this moment.", "Try again.", retryable=True
        ),
        ErrorCode.LEGACY_REFUSED: ErrorMeaning(
            403,
            "This hotkey has asked for no legacy commitment to be accepted in its name.",
            "Sign with btauth/1.",
        ),
        ErrorCode.REGISTRY_UNAVAILABLE: ErrorMeaning(
            503, "The list of registered hotkeys is missing or too old.", "Try again.", retryable=True
        ),
        ErrorCode.CREDENTIALS_UNAVAILABLE: ErrorMeaning(
            503, "The object store does not answer.", "Try again.", retryable=True
        ),
        ErrorCode.SERVICE_UNAVAILABLE: ErrorMeaning(
            503, "A part this request needs is down.", "Try again.", retryable=True
        ),
        ErrorCode.INTERNAL: ErrorMeaning(
            500, "A fault of ours; it is logged.", "Report it with the request id."
        ),
    }
)


class ServiceError(Exception):
    """An error that is sent to the client. `retry_after_seconds` is set for retryable codes only."""

    def __init__(self, code: ErrorCode, message: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        meaning = ERRORS[code]
        self.status = meaning.status
        self.retry_after_seconds = (retry_after_seconds or 1) if meaning.retryable else None
