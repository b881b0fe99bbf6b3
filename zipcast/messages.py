"""Wire models: the epoch message, requests and replies. JSON is camelCase; both spellings come in.

Owns field names, types and ranges of everything that travels. Fields are those of the HTTP
contract; unknown fields are ignored, so that old clients read new messages.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from zipcast.errors import ErrorCode, ServiceError
from zipcast.selection import Candidate, MarketTier

HEADER_REQUEST_ID = "Zipcast-Request-Id"
HEADER_STORED_AT = "Nats-Time-Stamp"  # nats-server's own, on what a stream passes on
HEADER_ERROR = "Zipcast-Error"
# How the bridge hands the original HTTP request to the responder.
HEADER_HTTP_METHOD = "Zipcast-Http-Method"
HEADER_HTTP_TARGET = "Zipcast-Http-Target"
HEADER_CLIENT_ADDRESS = "Zipcast-Client-Address"
HEADER_CALLER = "Zipcast-Caller"
"""The hotkey that the bridge verified. The responder queues by it and decides nothing else by it."""

EpochId = Annotated[str, StringConstraints(max_length=64)]
# RFC 3339 UTC in whole seconds, rounded down: an expiry is never stated later than it is.
WireTime = Annotated[
    AwareDatetime,
    PlainSerializer(lambda at: at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), str, when_used="json"),
]
ZipcodeText = Annotated[str, StringConstraints(pattern=r"^[0-9]{5}$")]
Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class WireModel(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
    )

    def to_bytes(self) -> bytes:
        return self.model_dump_json(by_alias=True).encode()


class AssignedZipcode(WireModel):
    """One zipcode to collect; `expected_listings` is the count its reward is measured against."""

    zipcode: ZipcodeText
    expected_listings: int = Field(ge=0)
    state: str
    city: str
    county: str
    market_tier: MarketTier
    geographic_region: str

    @classmethod
    def all_of(cls, chosen: Iterable[Candidate]) -> "tuple[AssignedZipcode, ...]":
        """As they are published, in the order given."""
        return tuple(cls.model_validate(one, from_attributes=True) for one in chosen)


class EpochMetadata(WireModel):
    total_expected_listings: int = Field(ge=0)
    zipcode_count: int = Field(ge=0)
    algorithm_version: str
    seed_commitment: Sha256Hex


class EpochMessage(WireModel):
    """What is signed and published at an epoch's start (design: the message).

    Times are UTC; `submission_deadline` is the epoch's end. The seed behind `nonce` was committed
    to in the previous message (`seed_commitment`) and is revealed in the next (`revealed_seed`).
    """

    version: Literal[1] = 1
    network: str
    netuid: int = Field(ge=0)
    epoch_id: EpochId
    epoch_start: WireTime
    epoch_end: WireTime
    nonce: Sha256Hex
    target_listings: int = Field(gt=0)
    tolerance_percent: int = Field(ge=0, lt=100)
    submission_deadline: WireTime
    zipcodes: tuple[AssignedZipcode, ...]
    assignments: tuple[()] = ()
    metadata: EpochMetadata
    previous_epoch_id: EpochId | None
    seed_commitment: Sha256Hex
    next_seed_commitment: Sha256Hex
    next_inputs_hash: Sha256Hex
    revealed_seed: Sha256Hex | None
    candidate_pool_hash: Sha256Hex
    next_signer: str | None = None
    issued_at: WireTime


class Proof(WireModel):
    """The signed text exactly as it travelled on NATS, its signer, and the lower-case hex signature."""

    payload: str
    signer: str
    signature: str


class MinerUploadRequest(WireModel):
    """Without an epoch id: for the running epoch."""

    epoch_id: EpochId | None = None


class MinerUploadReply(WireModel):
    """Access to `prefix` until the epoch's deadline; `fields.key` ends in `${filename}`."""

    success: Literal[True] = True
    epoch_id: EpochId
    bucket: str
    prefix: str
    url: str
    fields: dict[str, str]
    expires_at: WireTime
    min_bytes: int
    max_bytes: int
    list_url: str


class ValidatorUploadRequest(WireModel):
    """With `with_checksum` the form takes, and wants, `x-amz-checksum-sha256`: the file's SHA-256 in base64,
    which the client fills in and the store verifies and keeps. Without it the form passes as it is."""

    epoch_id: EpochId
    with_checksum: StrictBool = False


class S3Credentials(WireModel):
    """Temporary credentials that open `prefix` of `bucket` until `expiry`, and nothing else."""

    access_key: str
    secret_key: str
    session_token: str
    bucket: str
    region: str
    endpoint: str | None
    prefix: str
    expiry: WireTime


class UploadGuidelines(WireModel):
    max_file_size_mb: int
    allowed_file_types: tuple[str, ...]
    required_metadata: tuple[str, ...]
    folder_structure: str
    example_files: tuple[str, ...]


class ValidatorUploadMetadata(WireModel):
    folder_path: str
    expires_at: WireTime
    max_file_size: int
    supported_formats: tuple[str, ...]


class ValidatorUploadReply(WireModel):
    """`fields` holds every required metadata value: posting it unchanged passes."""

    success: Literal[True] = True
    message: str
    upload_url: str
    fields: dict[str, str]
    s3_credentials: S3Credentials | None
    upload_guidelines: UploadGuidelines
    metadata: ValidatorUploadMetadata


class LegacyChoiceRequest(WireModel):
    """Whether legacy commitments count for the sender's hotkey from now on. Who signs with `btauth/1` alone
    closes the older and weaker way in that others may try in its name."""

    accepted: StrictBool


class LegacyChoiceReply(WireModel):
    success: Literal[True] = True
    hotkey: str
    accepted: bool


class ValidatorReadRequest(WireModel):
    """Objects of an ended epoch, of one miner or, without one, of all; `page_token` continues an earlier
    reply. With `with_credentials`, credentials come along that read all of that epoch's uploads."""

    epoch_id: EpochId
    miner_hotkey: str | None = None
    page_token: Annotated[str, StringConstraints(max_length=2048)] | None = None
    with_credentials: StrictBool = False


class ReadableObject(WireModel):
    """One object as the epoch's manifest names it; `url` is a presigned GET of exactly that version."""

    key: str
    size: int
    etag: str
    last_modified: WireTime
    version_id: str | None
    url: str


class ValidatorReadReply(WireModel):
    """`s3_credentials`, where asked for and the provider has STS, read every miner's uploads of the epoch,
    in every version; what counts is what `objects` list."""

    success: Literal[True] = True
    epoch_id: EpochId
    miner_hotkey: str | None
    objects: tuple[ReadableObject, ...]
    next_page_token: str | None
    expires_at: WireTime
    s3_credentials: S3Credentials | None = None


ObjectKey = Annotated[str, StringConstraints(max_length=1024)]


class MinerListRequest(WireModel):
    """What is in one miner's folder of an epoch that has ended; after the key `start_after`."""

    epoch_id: EpochId
    miner_hotkey: str
    start_after: ObjectKey | None = None


class MinerListReply(WireModel):
    """`url` is a presigned ListObjectsV2 of at most 1,000 keys. If it says IsTruncated, ask again with its
    last key as `startAfter`."""

    success: Literal[True] = True
    epoch_id: EpochId
    miner_hotkey: str
    bucket: str
    prefix: str
    url: str
    expires_at: WireTime


class RegisteredNeuron(WireModel):
    """One line of the metagraph; stake in rao (1e-9 alpha)."""

    uid: int
    hotkey: str
    coldkey: str
    validator_permit: bool
    alpha_stake_rao: int


class RegistrySnapshot(WireModel):
    """The metagraph at one block, as the scheduler read it and KV distributes it."""

    network: str
    netuid: int
    block_number: int
    taken_at: WireTime
    neurons: tuple[RegisteredNeuron, ...]


class LegacyIdentity(WireModel):
    """The identity fields of a legacy body; integers and digit strings are both sent in practice."""

    hotkey: str
    timestamp: StrictInt | str  # neither a float nor true
    signature: str


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
    """What a client is told of a body that breaks a model: the first field and its rule."""
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
