"""Wire models: the epoch message, requests and replies.

Sent JSON is camelCase; received JSON may also use underscores. Names, types and ranges of legacy fields are
those of docs/http-contract.md. Unknown fields are ignored, so that old clients can read new messages.
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
HEADER_STORED_AT = "Nats-Time-Stamp"  # set by nats-server on messages that a stream republishes
HEADER_ERROR = "Zipcast-Error"
# Headers with which the bridge forwards an HTTP request to the responder.
HEADER_HTTP_METHOD = "Zipcast-Http-Method"
HEADER_HTTP_TARGET = "Zipcast-Http-Target"
HEADER_CLIENT_ADDRESS = "Zipcast-Client-Address"
HEADER_CALLER = "Zipcast-Caller"
"""The hotkey that the bridge verified. The responder uses it only to share its queue fairly, not for
rights."""

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
FormFields = Annotated[
    dict[str, str],
    Field(description="Form fields. Post them unchanged, before the file; `key` ends in `${filename}`."),
]
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


class AssignedZipcode(WireModel):
    """One zipcode to collect. Rewards for it are measured against `expected_listings`."""

    zipcode: ZipcodeText
    expected_listings: int = Field(
        ge=0, description="Listings against which rewards for this zipcode are measured."
    )
    state: str = Field(description="Two letters of the state.", examples=["NJ"])
    city: str = Field(description="City of the zipcode.", examples=["Hoboken"])
    county: str = Field(description="County of the zipcode.", examples=["Hudson County"])
    market_tier: MarketTier = Field(
        description="Activity of the housing market: PREMIUM, STANDARD or EMERGING."
    )
    geographic_region: str = Field(description="Region of the country.", examples=["Northeast"])

    @classmethod
    def all_of(cls, chosen: Iterable[Candidate]) -> "tuple[AssignedZipcode, ...]":
        """Return the candidates as published zipcodes, in the same order."""
        return tuple(cls.model_validate(one, from_attributes=True) for one in chosen)


class EpochMetadata(WireModel):
    total_expected_listings: int = Field(ge=0, description="Sum of the published counts.", examples=[1960])
    zipcode_count: int = Field(ge=0, description="Number of zipcodes.", examples=[2])
    algorithm_version: str = Field(description="Version of the selection rules.")
    seed_commitment: Sha256Hex = Field(
        description="SHA-256 of the epoch's seed, published before anybody could know it; hex."
    )


class EpochMessage(WireModel):
    """The message that is signed and published at an epoch's start.

    Times are UTC; `submission_deadline` is the epoch's end. `nonce` is derived from the epoch's seed. The
    previous message contains the commitment to this seed (`next_seed_commitment`); the next message reveals
    the seed (`revealed_seed`)."""

    version: Literal[1] = Field(default=1, description="Version of the message format.")
    network: str = Field(description="Bittensor network.", examples=["test"])
    netuid: int = Field(ge=0, description="Number of the subnet.", examples=[46])
    epoch_id: EpochId
    epoch_start: WireTime = Field(description="First instant of the epoch, UTC.")
    epoch_end: WireTime = Field(description="First instant after the epoch, UTC.")
    nonce: Sha256Hex = Field(
        description="Lower-case hex, derived from the epoch's seed. Reports repeat it to prove that the "
        "epoch was received."
    )
    target_listings: int = Field(gt=0, description="Target for the sum of the zipcodes' listings.")
    tolerance_percent: int = Field(
        ge=0, lt=100, description="How far the sum may be from the target, percent."
    )
    submission_deadline: WireTime = Field(description="Deadline of uploads for the epoch: its end, UTC.")
    zipcodes: tuple[AssignedZipcode, ...] = Field(description="Zipcodes to collect in this epoch.")
    assignments: tuple[()] = Field(default=(), description="Always empty; older clients expect it.")
    metadata: EpochMetadata = Field(description="Sums and commitments of the epoch.")
    previous_epoch_id: EpochId | None = Field(description="Id of the previous epoch; null for the first.")
    seed_commitment: Sha256Hex = Field(
        description="SHA-256 of the epoch's seed, published before anybody could know it; hex."
    )
    next_seed_commitment: Sha256Hex = Field(description="SHA-256 of the next epoch's seed, hex.")
    next_inputs_hash: Sha256Hex = Field(description="SHA-256 of the next epoch's inputs, hex.")
    revealed_seed: Sha256Hex | None = Field(
        description="Seed of the previous epoch, hex; null for the first epoch."
    )
    candidate_pool_hash: Sha256Hex = Field(
        description="SHA-256 of the pool from which the zipcodes were drawn, hex."
    )
    next_signer: str | None = Field(
        default=None,
        description="Hotkey that will sign later epochs, announced at least 7 days ahead; null if no "
        "change is planned.",
    )
    issued_at: WireTime = Field(description="When the message was signed, UTC.")


class Proof(WireModel):
    """The exact signed text that was published on NATS, its signer, and the signature in lower-case hex."""

    payload: str = Field(description="The exact text that was signed: the epoch message as JSON.")
    signer: str = Field(description="Hotkey that signed, SS58.")
    signature: str = Field(description="sr25519 signature over `payload`, lower-case hex.")


class EmptyRequest(WireModel):
    """A request without fields of its own."""


class MinerUploadRequest(WireModel):
    """Request upload access for one epoch, by default the running one."""

    epoch_id: EpochId | None = Field(
        default=None, description="Start of the epoch, UTC, as YYYY-MM-DDTHH-MM-SS; ids sort by time."
    )


class MinerUploadReply(WireModel):
    """A form that uploads below `prefix` until the epoch's deadline. `fields.key` ends in `${filename}`."""

    success: Success = True
    epoch_id: EpochId
    bucket: BucketName
    prefix: KeyPrefix
    url: str = Field(description="URL to post the form to.", examples=["https://s3.example.org/miners"])
    fields: FormFields
    expires_at: ExpiryTime
    min_bytes: int = Field(description="Minimum size of a file, bytes.", examples=[1024])
    max_bytes: int = Field(description="Maximum size of a file, bytes.", examples=[5368709120])
    list_url: str = Field(description="Presigned ListObjectsV2 of the folder.")


class ValidatorUploadRequest(WireModel):
    """Request a validator's upload access for one epoch. With `with_checksum`, the form requires the field
    `x-amz-checksum-sha256`, into which the client puts the file's SHA-256 in base64; the store verifies and
    keeps it. Without it, the form is posted unchanged."""

    epoch_id: EpochId
    with_checksum: StrictBool = Field(
        default=False,
        description="Whether the form requires the file's SHA-256, which the store verifies and keeps.",
    )


class S3Credentials(WireModel):
    """Temporary credentials that give access only to `prefix` in `bucket`, until `expiry`."""

    access_key: str = Field(description="Access key id.")
    secret_key: str = Field(description="Secret key.", examples=["secret"])
    session_token: str = Field(description="Session token, to be sent with every request.")
    bucket: BucketName
    region: str = Field(description="Region of the bucket.", examples=["us-east-1"])
    endpoint: str | None = Field(description="URL of the object store; null for AWS.")
    prefix: KeyPrefix
    expiry: ExpiryTime


class UploadGuidelines(WireModel):
    max_file_size_mb: int = Field(description="Maximum size of a file, MB.", examples=[5120])
    allowed_file_types: tuple[str, ...] = Field(description="Allowed file name extensions.")
    required_metadata: tuple[str, ...] = Field(
        description="Metadata that each upload must have; `fields` contains all of it."
    )
    folder_structure: str = Field(description="Pattern of a key.")
    example_files: tuple[str, ...] = Field(description="Examples of file names.")


class ValidatorUploadMetadata(WireModel):
    folder_path: str = Field(description="Folder to which the form uploads.")
    expires_at: ExpiryTime
    max_file_size: int = Field(description="Maximum size of a file, bytes.", examples=[5368709120])
    supported_formats: tuple[str, ...] = Field(description="Supported file formats.")


class ValidatorUploadReply(WireModel):
    """A form for a validator's folder. `fields` contains every required value and can be posted unchanged."""

    success: Success = True
    message: str = Field(description="One sentence for a person.", examples=["Upload access granted."])
    upload_url: str = Field(description="URL to post the form to; the store replies 204 on success.")
    fields: FormFields
    s3_credentials: S3Credentials | None = Field(
        description="Temporary credentials; null if they were not requested or the provider has no STS."
    )
    upload_guidelines: UploadGuidelines = Field(description="Rules for uploads.")
    metadata: ValidatorUploadMetadata = Field(description="Folder, expiry and limits of the form.")


class LegacyChoiceRequest(WireModel):
    """Accept or refuse legacy signatures for the sender's hotkey from now on. Refusing them is safer, because
    legacy signatures do not cover the whole request."""

    accepted: StrictBool = Field(description="Whether legacy signatures of the hotkey are accepted.")


class LegacyChoiceReply(WireModel):
    success: Success = True
    hotkey: HotkeyText
    accepted: bool = Field(description="Whether legacy signatures of the hotkey are accepted.")


class ValidatorReadRequest(WireModel):
    """Request one page of the uploads of an ended epoch, of one miner or of all. `page_token` is the
    `next_page_token` of the previous page. With `with_credentials`, the reply has credentials that can read
    all uploads of the epoch."""

    epoch_id: EpochId
    miner_hotkey: str | None = Field(
        default=None, description="Miner whose uploads to list, SS58; null for all miners."
    )
    page_token: Annotated[str, StringConstraints(max_length=2048)] | None = Field(
        default=None, description="`nextPageToken` of the previous page."
    )
    with_credentials: StrictBool = Field(
        default=False, description="Whether to return credentials that can read all uploads of the epoch."
    )


class ReadableObject(WireModel):
    """One object of the epoch's manifest. `url` is a presigned GET of exactly this version."""

    key: str = Field(description="Key of the object.")
    size: int = Field(description="Bytes.", examples=[4096])
    etag: str = Field(description="ETag of the object, without quotes.")
    last_modified: WireTime = Field(description="When it was stored, UTC.")
    version_id: str | None = Field(description="Version of the object; null without bucket versioning.")
    url: str = Field(description="Presigned GET of exactly this version.")


class ValidatorReadReply(WireModel):
    """One page of the uploads of an ended epoch. `s3_credentials` are set if they were requested and the
    provider has STS; they can read every version of all uploads of the epoch, but only the versions in
    `objects` count."""

    success: Success = True
    epoch_id: EpochId
    miner_hotkey: str | None = Field(description="Miner whose uploads are listed, SS58; null for all miners.")
    objects: tuple[ReadableObject, ...] = Field(description="Uploaded objects, in the manifest's order.")
    next_page_token: str | None = Field(
        description="Pass it as `pageToken` for the next page; null on the last."
    )
    expires_at: ExpiryTime
    s3_credentials: S3Credentials | None = Field(
        default=None,
        description="Temporary credentials; null if they were not requested or the provider has no STS.",
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
    """The body of every error, over HTTP and over NATS."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    success: Literal[False] = Field(description="Always false.")
    error: ErrorCode = Field(description="The code, for programs.", examples=["stale_request"])
    message: str = Field(description="One sentence for a person.")
    code: int = Field(description="The HTTP status.", examples=[401])
    detail: str = Field(description="The same as `message`; legacy clients print it.")
    retry_after: int | None = Field(
        default=None, description="Seconds to wait, with 429 and 503; also in the header Retry-After."
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
    """Return the error in a reply's body; INTERNAL if its code is unknown."""
    stated = json.loads(body)
    code = stated.get("error")
    known = code in list(ErrorCode)  # a list, since the code may be an unhashable value
    return ServiceError(
        ErrorCode(code) if known else ErrorCode.INTERNAL,
        str(stated.get("message", "")),
        retry_after_seconds=stated.get("retryAfter"),
    )


def stated_server_time(body: bytes) -> datetime | None:
    """Return `serverTime` of an error body (Unix seconds), which replies to stale requests have, or None."""
    stated = json.loads(body).get("serverTime")
    return None if stated is None else datetime.fromtimestamp(float(stated), UTC)
