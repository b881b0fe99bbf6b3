"""Lists every error that a client can get; replies over NATS and HTTP share this table.

Each code has an HTTP status, a meaning and a remedy. An error's message is one sentence that tells a person
what to do. It never contains a stack trace, a driver's message, a secret or a signature.
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class ErrorCode(StrEnum):
    """The codes; replies carry the value as `error`."""

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
    NO_SEALED_EPOCH = "no_sealed_epoch"
    EPOCH_NOT_FOUND = "epoch_not_found"
    ARCHIVED = "archived"
    NONCE_MISMATCH = "nonce_mismatch"
    EPOCH_NOT_OPEN = "epoch_not_open"
    EPOCH_SEALED = "epoch_sealed"
    ROUND_NOT_PUBLISHED = "round_not_published"
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
    """The meaning of a code, and the remedy. `status` is the HTTP status, also sent as `code`; replies with
    `retryable` errors carry `retryAfter`."""

    status: int
    meaning: str
    remedy: str
    retryable: bool = False


_RESIGN = "Sign the documented text with the hotkey that you name. Send the signature in lower-case hex."

ERRORS = MappingProxyType(
    {
        ErrorCode.MALFORMED_REQUEST: ErrorMeaning(
            400,
            "The body, a field or a parameter breaks a rule.",
            "Correct the field that `message` names.",
        ),
        ErrorCode.MALFORMED_EPOCH_ID: ErrorMeaning(
            400,
            "The epoch id does not have the form YYYY-MM-DDTHH-MM-SS.",
            "Send the id as it was published.",
        ),
        ErrorCode.MALFORMED_HOTKEY: ErrorMeaning(
            400,
            "The hotkey is not an SS58 address with prefix 42.",
            "Send the address that your wallet shows.",
        ),
        ErrorCode.MALFORMED_AUTH: ErrorMeaning(
            401, "Headers or fields of the signature are missing or malformed.", _RESIGN
        ),
        ErrorCode.BAD_SIGNATURE: ErrorMeaning(401, "The hotkey did not sign this request.", _RESIGN),
        ErrorCode.STALE_REQUEST: ErrorMeaning(
            401,
            "The request was signed too long ago, or in the future.",
            "Set your clock by `serverTime`, then sign again.",
        ),
        ErrorCode.WRONG_RECEIVER: ErrorMeaning(
            401,
            "The request was signed for another service.",
            "Name one of this service's signers as the receiver.",
        ),
        ErrorCode.NOT_REGISTERED: ErrorMeaning(
            403, "The hotkey is not registered on this subnet.", "Register it, or use a registered hotkey."
        ),
        ErrorCode.VALIDATOR_REQUIRED: ErrorMeaning(
            403,
            "Only validators with a permit and enough stake may send this request.",
            "Use the hotkey of such a validator.",
        ),
        ErrorCode.ADMIN_REQUIRED: ErrorMeaning(
            403,
            "Only the operator's admins may send this request.",
            "Use a hotkey that is listed in `ADMIN_HOTKEYS`.",
        ),
        ErrorCode.COLDKEY_MISMATCH: ErrorMeaning(
            403,
            "The hotkey is registered under another coldkey.",
            "Use the coldkey that the metagraph shows for the hotkey, in the request and in the signed text.",
        ),
        ErrorCode.NOT_FOUND: ErrorMeaning(
            404, "There is nothing at this path.", "Check the path against `/docs`."
        ),
        ErrorCode.COMMAND_NOT_FOUND: ErrorMeaning(
            404, "No admin command has that id.", "List the newest commands with `commands.list`."
        ),
        ErrorCode.METHOD_NOT_ALLOWED: ErrorMeaning(
            405, "This path does not accept that HTTP method.", "Check the method against `/docs`."
        ),
        ErrorCode.LENGTH_REQUIRED: ErrorMeaning(
            411, "The body has no stated length.", "Send `Content-Length`, not `Transfer-Encoding`."
        ),
        ErrorCode.NO_CURRENT_EPOCH: ErrorMeaning(
            404, "No epoch is running now.", "Wait for the next epoch, which is pushed to connected clients."
        ),
        ErrorCode.NO_SEALED_EPOCH: ErrorMeaning(
            404,
            "No epoch is sealed now.",
            "Ask again in the last minute before the next epoch, or wait for its start.",
        ),
        ErrorCode.EPOCH_NOT_FOUND: ErrorMeaning(
            404, "No epoch with that id has started.", "Use the id of an epoch that you received."
        ),
        ErrorCode.ARCHIVED: ErrorMeaning(
            410,
            "The epoch is so old that its details were deleted.",
            "Use your own copy of the signed message.",
        ),
        ErrorCode.NONCE_MISMATCH: ErrorMeaning(
            400,
            "The nonce is not the nonce of that epoch.",
            "Send the nonce of the epoch that you report on.",
        ),
        ErrorCode.EPOCH_NOT_OPEN: ErrorMeaning(
            409, "The epoch's submission deadline has passed.", "Upload for the running epoch."
        ),
        ErrorCode.EPOCH_SEALED: ErrorMeaning(
            409,
            "The epoch is drawn and sealed, so it cannot be changed.",
            "Change a later epoch.",
        ),
        ErrorCode.ROUND_NOT_PUBLISHED: ErrorMeaning(
            404,
            "The round is not published yet, or no relay has it.",
            "Ask again after the round's instant.",
        ),
        ErrorCode.EPOCH_NOT_ENDED: ErrorMeaning(
            409,
            "The epoch is still running, or its uploads are being listed.",
            "Try again later: report after the epoch's end, and read uploads about a minute after it.",
        ),
        ErrorCode.NOT_YET_REVEALED: ErrorMeaning(
            409, "An epoch's pool is shown one epoch after its end.", "Try again at that time."
        ),
        ErrorCode.FILE_MISMATCH: ErrorMeaning(
            422,
            "A reported file is missing, is outside the validator's folder, or differs from the report.",
            "Upload the file that `message` names again, or correct the report.",
        ),
        ErrorCode.CHECKSUM_REQUIRED: ErrorMeaning(
            422,
            "The reported files without a stored SHA-256 are too large to be checked.",
            "Upload each file in one piece with `x-amz-checksum-sha256`, then report again.",
        ),
        ErrorCode.PAYLOAD_TOO_LARGE: ErrorMeaning(
            413, "The request is too large.", "Send a smaller request; `message` states the limit."
        ),
        ErrorCode.RATE_LIMITED: ErrorMeaning(
            429,
            "Too many requests were sent within the time of the limit.",
            "Wait `retryAfter` seconds. Only requests with a valid signature count against a hotkey.",
            retryable=True,
        ),
        ErrorCode.REQUEST_REUSED: ErrorMeaning(
            409,
            "An earlier request with another body had the same signed text.",
            "Sign again with a new time.",
        ),
        ErrorCode.REQUEST_UNDER_WAY: ErrorMeaning(
            503,
            "The same request is already being processed.",
            "Try again after `retryAfter` seconds.",
            retryable=True,
        ),
        ErrorCode.LEGACY_REFUSED: ErrorMeaning(
            403,
            "This hotkey has chosen to refuse legacy signatures.",
            "Sign the request with `btauth/1`.",
        ),
        ErrorCode.REGISTRY_UNAVAILABLE: ErrorMeaning(
            503,
            "The list of registered hotkeys is missing or too old.",
            "Try again after `retryAfter` seconds.",
            retryable=True,
        ),
        ErrorCode.CREDENTIALS_UNAVAILABLE: ErrorMeaning(
            503, "The object store does not respond.", "Try again after `retryAfter` seconds.", retryable=True
        ),
        ErrorCode.SERVICE_UNAVAILABLE: ErrorMeaning(
            503,
            "A part of the service that this request needs is down.",
            "Try again after `retryAfter` seconds.",
            retryable=True,
        ),
        ErrorCode.INTERNAL: ErrorMeaning(
            500, "The service has a fault, which it logged.", "Report the fault with the request id."
        ),
    }
)


class ZipcastError(Exception):
    """The root of all errors that the SDK raises; `zipcast.errors` draws the whole tree.

    `code` is for programs, `message` says what happened, and `remedy` says what to do. `request_id` is the id
    under which the service logged the request, or None. `retry_after` is the number of seconds after which
    another attempt may succeed, or None if it would fail again."""

    code: str = "error"
    remedy: str = "Read the message."

    def __init__(
        self, message: str, *, request_id: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        self.retry_after = retry_after


class ServiceError(ZipcastError):
    """An error reply to a client. `retry_after_seconds` is set only for retryable codes."""

    code: ErrorCode

    def __init__(self, code: ErrorCode, message: str, *, retry_after_seconds: int | None = None) -> None:
        meaning = ERRORS[code]
        self.retry_after_seconds = (retry_after_seconds or 1) if meaning.retryable else None
        super().__init__(message, retry_after=self.retry_after_seconds)
        self.code = code
        self.remedy = meaning.remedy
        self.status = meaning.status
