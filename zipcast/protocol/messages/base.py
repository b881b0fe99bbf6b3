"""Defines the base of all wire models, their shared field types, and the names of headers.

Replies are written in camelCase; requests are read in camelCase and in snake_case. Names, types and ranges of
legacy fields are those of docs/http-contract.md. Unknown fields are ignored, so that old clients can read new
messages.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictInt,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from zipcast.protocol.errors import ErrorCode, ServiceError

MAX_RETRY_AFTER_SECONDS = 86_400
"""The longest pause in seconds that an error may ask for: a day, which is the longest window of a limit."""
HEADER_REQUEST_ID = "Zipcast-Request-Id"
HEADER_STORED_AT = "Nats-Time-Stamp"  # set by nats-server on messages that a stream republishes
HEADER_ERROR = "Zipcast-Error"
# Headers with which the bridge forwards an HTTP request to the responder.
HEADER_HTTP_METHOD = "Zipcast-Http-Method"
HEADER_HTTP_TARGET = "Zipcast-Http-Target"
HEADER_CLIENT_ADDRESS = "Zipcast-Client-Address"
HEADER_CALLER = "Zipcast-Caller"
"""The hotkey that the bridge verified. The responder uses it only to share its queue fairly, not for
rights."""
CALLER_OF_COPY = " copy"
"""The end of the value of `HEADER_CALLER` if the bridge has forwarded the same request before."""

EpochId = Annotated[
    str,
    StringConstraints(max_length=64),
    Field(
        description="Start of the epoch, UTC, as YYYY-MM-DDTHH-MM-SS; ids sort by time.",
        examples=["2026-11-22T04-00-00"],
    ),
]
# RFC 3339 in UTC, rounded down to whole seconds, so that a stated expiry is never too late.
WireTime = Annotated[
    AwareDatetime,
    PlainSerializer(lambda at: at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), str, when_used="json"),
    Field(examples=["2026-11-22T04:00:00Z"]),
]
ExpiryTime = Annotated[WireTime, Field(description="When it expires, UTC.")]
ZipcodeText = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{5}$"), Field(description="Five digits.", examples=["19103"])
]
Sha256Hex = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]),
]
HotkeyText = Annotated[
    str,
    Field(
        description="Hotkey, SS58 with prefix 42.",
        examples=["5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"],
    ),
]
BucketName = Annotated[str, Field(description="Name of the bucket.", examples=["miners"])]
KeyPrefix = Annotated[str, Field(description="Prefix of every key.")]
_TIMESTAMP = {
    "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]{0,10}$"}]
}
Success = Annotated[Literal[True], Field(description="Always true; false in errors.")]


class WireModel(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        json_schema_serialization_defaults_required=True,
    )

    def to_bytes(self) -> bytes:
        return self.model_dump_json(by_alias=True).encode()


class EmptyRequest(WireModel):
    """A request without fields of its own."""


MAX_UID = 2**16 - 1  # the chain's own type
MAX_STAKE_RAO = 2**63 - 1  # a bigint of PostgreSQL; all alpha of a subnet is 21 million, 2.1e16 rao


class LegacyIdentity(WireModel):
    """The identity fields of a legacy body; integers and digit strings are both sent in practice."""

    hotkey: HotkeyText
    timestamp: Annotated[StrictInt | str, WithJsonSchema(_TIMESTAMP)] = Field(
        description="When the text is signed, Unix seconds.", examples=["1795320000"]
    )  # strict, so neither a float nor `true` is accepted
    signature: str = Field(
        description="sr25519 signature, lower-case hex, with or without 0x.",
        json_schema_extra={"pattern": "^(0x)?[0-9a-f]{128}$"},
    )


class ErrorReply(WireModel):
    """The body of every error, over HTTP and over NATS."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    success: Literal[False] = Field(description="Always false.")
    error: ErrorCode = Field(description="The code, for programs.", examples=["stale_request"])
    message: str = Field(description="The error in readable sentences.")
    code: int = Field(description="The HTTP status.", examples=[401])
    detail: str = Field(description="The same as `message`; legacy clients print it.")
    retry_after: int | None = Field(
        default=None,
        description="Seconds to wait before a retry, with 429 and 503; also in the header Retry-After.",
    )
    server_time: float | None = Field(
        default=None, description="Time of the service, Unix seconds, with `stale_request`."
    )


def error_body(error: ServiceError, *, server_time: datetime | None = None) -> dict[str, Any]:
    """Return the error body for HTTP and NATS. `detail` repeats `message` for legacy clients. The request id
    is sent in a header instead, so that requests for a future epoch and for one that never existed get the
    same bytes."""
    body: dict[str, Any] = {
        "success": False,
        "error": str(error.code),
        "message": error.message,
        "code": error.status,
        "detail": error.message,
    }
    if error.retry_after_seconds is not None:
        body["retryAfter"] = error.retry_after_seconds
    if error.code is ErrorCode.STALE_REQUEST and server_time is not None:
        body["serverTime"] = server_time.timestamp()
    return body


def first_fault(error: ValidationError) -> ServiceError:
    """Return an error that names the first invalid field and its rule."""
    fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in fault["loc"]) or "body"
    return ServiceError(ErrorCode.MALFORMED_REQUEST, f"{field}: {fault['msg']}.")


def parse_error(body: bytes) -> ServiceError:
    """Return the error in a reply's body; INTERNAL if its code is unknown. Raises ValueError,
    AttributeError and RecursionError if the body is not that of an error."""
    stated = json.loads(body)
    code = stated.get("error")
    known = code in list(ErrorCode)  # `in` on a list, because the code may be an unhashable value
    pause = stated.get("retryAfter")
    if pause is not None and not (isinstance(pause, int) and 0 <= pause <= MAX_RETRY_AFTER_SECONDS):
        raise ValueError("retryAfter is not a number of seconds")
    return ServiceError(
        ErrorCode(code) if known else ErrorCode.INTERNAL,
        str(stated.get("message", "")),
        retry_after_seconds=pause,
    )


def stated_server_time(body: bytes) -> datetime | None:
    """Return `serverTime` of an error body (Unix seconds), which replies to stale requests have, or None."""
    stated = json.loads(body).get("serverTime")
    return None if stated is None else datetime.fromtimestamp(float(stated), UTC)
