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
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from zipcast.errors import ErrorCode, ServiceError
from zipcast.selection import Candidate, MarketTier

HEADER_REQUEST_ID = "Zipcast-Request-Id"
HEADER_STORED_AT = "Nats-Time-Stamp"  # nats-server's own, on what a stream passes on
HEADER_ERROR = "Zipcast-Error"
# Headers by which the bridge hands the original HTTP request to the responder.
HEADER_HTTP_METHOD = "Zipcast-Http-Method"
HEADER_HTTP_TARGET = "Zipcast-Http-Target"
HEADER_CLIENT_ADDRESS = "Zipcast-Client-Address"
HEADER_CALLER = "Zipcast-Caller"
"""The hotkey that the bridge verified. The responder queues by it and decides nothing else by it."""

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
FormFields = Annotated[
    dict[str, str],
    Field(description="Form fields, to be posted unchanged before the file; `key` ends in `${filename}`."),
]
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


class AssignedZipcode(WireModel):
    """One zipcode to collect; `expected_listings` is the count its reward is measured against."""

    zipcode: ZipcodeText
    expected_listings: int = Field(
        ge=0, description="Listings that a miner's reward for this zipcode is measured against."
    )
    state: str = Field(description="Two letters of the state.", examples=["NJ"])
    city: str = Field(description="City of the zipcode.", examples=["Hoboken"])
    county: str = Field(description="County of the zipcode.", examples=["Hudson County"])
    market_tier: MarketTier = Field(description="How much the market of the zipcode is worth.")
    geographic_region: str = Field(description="Region of the country.", examples=["Northeast"])

    @classmethod
    def all_of(cls, chosen: Iterable[Candidate]) -> "tuple[AssignedZipcode, ...]":
        """Return the candidates as they are published, in the order given."""
        return tuple(cls.model_validate(one, from_attributes=True) for one in chosen)


class EpochMetadata(WireModel):
    total_expected_listings: int = Field(ge=0, description="Sum of the published counts.", examples=[1960])
    zipcode_count: int = Field(ge=0, description="How many zipcodes the epoch has.", examples=[2])
    algorithm_version: str = Field(description="Rules of selection that chose them.")
    seed_commitment: Sha256Hex = Field(
        description="SHA-256 of the epoch's seed, published before anybody could know it; hex."
    )


class EpochMessage(WireModel):
    """The message that is signed and published at an epoch's start.

    Times are UTC; `submission_deadline` is the epoch's end. The seed behind `nonce` was committed to in the
    previous message (`seed_commitment`) and is revealed in the next (`revealed_seed`)."""

    version: Literal[1] = Field(default=1, description="Version of this message's form.")
    network: str = Field(description="Bittensor network.", examples=["test"])
    netuid: int = Field(ge=0, description="Number of the subnet.", examples=[46])
    epoch_id: EpochId
    epoch_start: WireTime = Field(description="First instant of the epoch, UTC.")
    epoch_end: WireTime = Field(description="First instant after the epoch, UTC.")
    nonce: Sha256Hex = Field(
        description="Proves that the epoch was received: lower-case hex, made from the epoch's seed."
    )
    target_listings: int = Field(gt=0, description="Listings the zipcodes of the epoch should hold together.")
    tolerance_percent: int = Field(
        ge=0, lt=100, description="How far the sum may lie from the target, percent."
    )
    submission_deadline: WireTime = Field(
        description="Until when uploads of the epoch are taken: its end, UTC."
    )
    zipcodes: tuple[AssignedZipcode, ...] = Field(description="What to collect in this epoch.")
    assignments: tuple[()] = Field(default=(), description="Always empty; older clients look for it.")
    metadata: EpochMetadata = Field(description="Sums and commitments of the epoch.")
    previous_epoch_id: EpochId | None = Field(description="The epoch before this one; null for the first.")
    seed_commitment: Sha256Hex = Field(
        description="SHA-256 of the epoch's seed, published before anybody could know it; hex."
    )
    next_seed_commitment: Sha256Hex = Field(description="SHA-256 of the next epoch's seed, hex.")
    next_inputs_hash: Sha256Hex = Field(description="SHA-256 of what the next epoch is chosen by, hex.")
    revealed_seed: Sha256Hex | None = Field(
        description="Seed of the epoch before, hex; null for the first epoch."
    )
    candidate_pool_hash: Sha256Hex = Field(
        description="SHA-256 of the pool that the zipcodes were drawn from, hex."
    )
    next_signer: str | None = Field(
        default=None,
        description="Hotkey that will sign instead, announced at least 7 days ahead; null: no change.",
    )
    issued_at: WireTime = Field(description="When the message was signed, UTC.")


class Proof(WireModel):
    """The signed text exactly as it travelled on NATS, its signer, and the lower-case hex signature."""

    payload: str = Field(description="The exact text that was signed: the epoch message as JSON.")
    signer: str = Field(description="Hotkey that signed, SS58.")
    signature: str = Field(description="sr25519 signature over `payload`, lower-case hex.")


class EmptyRequest(WireModel):
    """A request that names nothing but its sender."""


class MinerUploadRequest(WireModel):
    """Ask for upload access. Without an epoch id, it is for the running epoch."""

    epoch_id: EpochId | None = Field(
        default=None, description="Start of the epoch, UTC, as YYYY-MM-DDTHH-MM-SS; ids sort by time."
    )


class MinerUploadReply(WireModel):
    """Access to `prefix` until the epoch's deadline; `fields.key` ends in `${filename}`."""

    success: Success = True
    epoch_id: EpochId
    bucket: BucketName
    prefix: KeyPrefix
    url: str = Field(description="Address to post the form to.", examples=["https://s3.example.org/miners"])
    fields: FormFields
    expires_at: ExpiryTime
    min_bytes: int = Field(description="Least size of a file, bytes.", examples=[1024])
    max_bytes: int = Field(description="Greatest size of a file, bytes.", examples=[5368709120])
    list_url: str = Field(description="Presigned ListObjectsV2 of the folder.")


class ValidatorUploadRequest(WireModel):
    """Ask for a validator's upload access. `with_checksum`: the form requires `x-amz-checksum-sha256`, the
    file's SHA-256 in base64, which the client fills in and the store verifies and keeps. Without it, the form
    is posted as it is."""

    epoch_id: EpochId
    with_checksum: StrictBool = Field(
        default=False, description="Whether the form takes a SHA-256 of the file, which the store then keeps."
    )


class S3Credentials(WireModel):
    """Temporary credentials that open `prefix` of `bucket` until `expiry`, and nothing else."""

    access_key: str = Field(description="Access key id.")
    secret_key: str = Field(description="Secret key.", examples=["secret"])
    session_token: str = Field(description="Session token, to be sent with every request.")
    bucket: BucketName
    region: str = Field(description="Region of the bucket.", examples=["us-east-1"])
    endpoint: str | None = Field(description="Address of the object store; null for AWS.")
    prefix: KeyPrefix
    expiry: ExpiryTime


class UploadGuidelines(WireModel):
    max_file_size_mb: int = Field(description="Greatest size of a file, MB.", examples=[5120])
    allowed_file_types: tuple[str, ...] = Field(description="Endings that a file may have.")
    required_metadata: tuple[str, ...] = Field(
        description="Metadata that a file must carry; `fields` holds all of it."
    )
    folder_structure: str = Field(description="Pattern of a key.")
    example_files: tuple[str, ...] = Field(description="Names of files.")


class ValidatorUploadMetadata(WireModel):
    folder_path: str = Field(description="Folder that the form opens.")
    expires_at: ExpiryTime
    max_file_size: int = Field(description="Greatest size of a file, bytes.", examples=[5368709120])
    supported_formats: tuple[str, ...] = Field(description="Formats that are read.")


class ValidatorUploadReply(WireModel):
    """`fields` holds every required metadata value: posting it unchanged passes."""

    success: Success = True
    message: str = Field(description="One sentence for a person.", examples=["Upload access granted."])
    upload_url: str = Field(description="Address to post the form to; a success is 204.")
    fields: FormFields
    s3_credentials: S3Credentials | None = Field(
        description="Temporary credentials; null where the provider has no STS or none were asked for."
    )
    upload_guidelines: UploadGuidelines = Field(description="What an upload must be like.")
    metadata: ValidatorUploadMetadata = Field(description="What the form opens.")


class LegacyChoiceRequest(WireModel):
    """Accept or refuse legacy commitments for the sender's hotkey from now on. Refusing them closes the
    weaker way to act in its name."""

    accepted: StrictBool = Field(description="Whether legacy commitments count for the hotkey.")


class LegacyChoiceReply(WireModel):
    success: Success = True
    hotkey: HotkeyText
    accepted: bool = Field(description="Whether legacy commitments count for the hotkey.")


class ValidatorReadRequest(WireModel):
    """Objects of an ended epoch, of one miner or, without one, of all; `page_token` continues an earlier
    reply. With `with_credentials`, credentials come along that read all of that epoch's uploads."""

    epoch_id: EpochId
    miner_hotkey: str | None = Field(
        default=None, description="Miner whose uploads are meant, SS58; null: all."
    )
    page_token: Annotated[str, StringConstraints(max_length=2048)] | None = Field(
        default=None, description="`nextPageToken` of the page before."
    )
    with_credentials: StrictBool = Field(
        default=False, description="Whether to send credentials that read all of the epoch's uploads."
    )


class ReadableObject(WireModel):
    """One object as the epoch's manifest names it; `url` is a presigned GET of exactly that version."""

    key: str = Field(description="Key of the object.")
    size: int = Field(description="Bytes.", examples=[4096])
    etag: str = Field(description="ETag of the object, without quotes.")
    last_modified: WireTime = Field(description="When it was stored, UTC.")
    version_id: str | None = Field(description="Version of the object; null where the bucket has none.")
    url: str = Field(description="Presigned GET of exactly that version.")


class ValidatorReadReply(WireModel):
    """`s3_credentials`, where asked for and the provider has STS, read every miner's uploads of the epoch,
    in every version; what counts is what `objects` list."""

    success: Success = True
    epoch_id: EpochId
    miner_hotkey: str | None = Field(description="Miner whose uploads are meant, SS58; null: all.")
    objects: tuple[ReadableObject, ...] = Field(description="Uploaded objects, in the manifest's order.")
    next_page_token: str | None = Field(
        description="Pass it as `pageToken` for the next page; null on the last."
    )
    expires_at: ExpiryTime
    s3_credentials: S3Credentials | None = Field(
        default=None,
        description="Temporary credentials; null where the provider has no STS or none were asked for.",
    )


ObjectKey = Annotated[str, StringConstraints(max_length=1024)]


class MinerListRequest(WireModel):
    """List one miner's folder of an epoch that has ended, after the key `start_after`."""

    epoch_id: EpochId
    miner_hotkey: str = Field(description="Miner whose uploads are meant, SS58; null: all.")
    start_after: ObjectKey | None = Field(default=None, description="Key after which the list begins.")


class MinerListReply(WireModel):
    """`url` is a presigned ListObjectsV2 of at most 1,000 keys. If it says IsTruncated, ask again with its
    last key as `startAfter`."""

    success: Success = True
    epoch_id: EpochId
    miner_hotkey: str = Field(description="Miner whose uploads are meant, SS58; null: all.")
    bucket: BucketName
    prefix: KeyPrefix
    url: str = Field(description="Presigned ListObjectsV2 of at most 1,000 keys.")
    expires_at: ExpiryTime


MAX_UID = 2**16 - 1  # the chain's own type
MAX_STAKE_RAO = 2**63 - 1  # a bigint of PostgreSQL; all alpha of a subnet is 21 million, 2.1e16 rao


class RegisteredNeuron(WireModel):
    """One line of the metagraph; stake in rao (1e-9 alpha)."""

    uid: int = Field(ge=0, le=MAX_UID, description="Number of the neuron.")
    hotkey: HotkeyText
    coldkey: str = Field(
        description="Coldkey that the hotkey is registered under on chain, SS58 with prefix 42."
    )
    validator_permit: bool = Field(description="Whether the neuron may validate.")
    alpha_stake_rao: int = Field(ge=0, le=MAX_STAKE_RAO, description="Stake in rao, 1e-9 alpha.")


class RegistrySnapshot(WireModel):
    """The metagraph at one block, as the scheduler read it and KV distributes it."""

    network: str = Field(description="Bittensor network.")
    netuid: int = Field(description="Number of the subnet.")
    block_number: int = Field(description="Block of the chain that was read.")
    taken_at: WireTime = Field(description="When the chain was read, UTC.")
    neurons: tuple[RegisteredNeuron, ...] = Field(description="All neurons of the subnet.")


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
