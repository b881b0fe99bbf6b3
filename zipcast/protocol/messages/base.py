"""The base of all wire models, their shared field types, and the names of headers.

Replies are written in camelCase; requests are read in camelCase and in snake_case.

Owns field names, types and ranges of everything that travels. Fields are those of the HTTP
contract; unknown fields are ignored, so that old clients read new messages.
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

HEADER_REQUEST_ID = "Zipcast-Request-Id"
HEADER_STORED_AT = "Nats-Time-Stamp"  # nats-server's own, on what a stream passes on
HEADER_ERROR = "Zipcast-Error"
# Headers by which the bridge hands the original HTTP request to the responder.
HEADER_HTTP_METHOD = "Zipcast-Http-Method"
HEADER_HTTP_TARGET = "Zipcast-Http-Target"
HEADER_CLIENT_ADDRESS = "Zipcast-Client-Address"
HEADER_CALLER = "Zipcast-Caller"
"""The hotkey that the bridge verified. The responder queues by it and decides nothing else by it."""
CALLER_OF_COPY = " copy"
"""The end of that header if the bridge has forwarded the same request before."""

EpochId = Annotated[
    str,
    StringConstraints(max_length=64),
    Field(
        description="Start of the epoch, UTC, as YYYY-MM-DDTHH-MM-SS; ids sort by time.",
        examples=["2026-11-22T04-00-00"],
    ),
]
# RFC 3339 UTC in whole seconds, rounded down: an expiry is never stated later than it is.
WireTime = Annotated[
    AwareDatetime,
    PlainSerializer(lambda at: at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), str, when_used="json"),
    Field(examples=["2026-11-22T04:00:00Z"]),
]
ExpiryTime = Annotated[WireTime, Field(description="Until when it is valid, UTC.")]
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
KeyPrefix = Annotated[str, Field(description="What every key begins with.")]
_TIMESTAMP = {
    "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]{0,10}$"}]
}
Success = Annotated[Literal[True], Field(description="Always true; an error says false.")]


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
    """A request that names nothing but its sender."""


MAX_UID = 2**16 - 1  # the chain's own type
MAX_STAKE_RAO = 2**63 - 1  # a bigint of PostgreSQL; all alpha of a subnet is 21 million, 2.1e16 rao


class LegacyIdentity(WireModel):
    """The identity fields of a legacy body; integers and digit strings are both sent in practice."""

    hotkey: HotkeyText
    timestamp: Annotated[StrictInt | str, WithJsonSchema(_TIMESTAMP)] = Field(
        description="When it is signed, Unix seconds.", examples=["1795320000"]
    )  # neither a float nor true
    signature: str = Field(
        description="sr25519 signature, lower-case hex, with or without 0x.",
        json_schema_extra={"pattern": "^(0x)?[0-9a-f]{128}$"},
    )


class ErrorReply(WireModel):
    """Every error, over HTTP and over NATS."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    success: Literal[False] = Field(description="Always false.")
    error: ErrorCode = Field(description="The code, for programs.", examples=["stale_request"])
    message: str = Field(description="What a person can act on.")
    code: int = Field(description="The HTTP status.", examples=[401])
    detail: str = Field(description="The same as `message`; legacy clients print it.")
    retry_after: int | None = Field(
        default=None, description="Seconds to wait, also in the header Retry-After; with 429 and 503."
    )
    server_time: float | None = Field(
        default=None, description="Our clock, Unix seconds; with `stale_request`."
    )


def error_body(error: ServiceError, *, server_time: datetime | None = None) -> dict[str, Any]:
    """The one error shape of both doors. `detail` repeats `message` for legacy clients. The request's id
    travels in a header: an epoch to come and one that never was are refused in the very same bytes."""
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
    """Return the error for a body that breaks a model: it names the first field and its rule."""
    fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in fault["loc"]) or "body"
    return ServiceError(ErrorCode.MALFORMED_REQUEST, f"{field}: {fault['msg']}.")


def parse_error(body: bytes) -> ServiceError:
    """The error a reply body states; INTERNAL when it states none we know."""
    stated = json.loads(body)
    code = stated.get("error")
    known = code in list(ErrorCode)  # compared, not hashed: it may be anything
    return ServiceError(
        ErrorCode(code) if known else ErrorCode.INTERNAL,
        str(stated.get("message", "")),
        retry_after_seconds=stated.get("retryAfter"),
    )


def stated_server_time(body: bytes) -> datetime | None:
    """`serverTime` of an error body (Unix seconds), sent with a stale request."""
    stated = json.loads(body).get("serverTime")
    return None if stated is None else datetime.fromtimestamp(float(stated), UTC)
