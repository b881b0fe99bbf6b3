"""Wire models of requests for S3 access, and of their replies."""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
)

from zipcast.protocol.messages.base import (
    BucketName,
    EpochId,
    ExpiryTime,
    HotkeyText,
    KeyPrefix,
    Sha256Hex,
    Success,
    WireModel,
    WireTime,
)

MAX_FILE_NAME_BYTES = 512

UploadMethod = Literal["POST", "PUT"]
FormFields = Annotated[
    dict[str, str],
    Field(
        description="Form fields. Post them unchanged, before the file; `key` ends in `${filename}`. If "
        "`method` is PUT, these are the headers of the upload instead."
    ),
]
Method = Annotated[
    UploadMethod,
    Field(
        description="POST: `url` takes the form `fields`. PUT: the object store takes no forms, and `url` "
        "takes only the file that the request named, with the headers `fields`. Left out if it is POST."
    ),
]


def _is_post(method: UploadMethod) -> bool:
    return method == "POST"


def _relative(name: str) -> str:
    """Check that a name is a path below a folder that every store and client reads the same way."""
    if len(name.encode()) > MAX_FILE_NAME_BYTES:
        raise ValueError(f"must have at most {MAX_FILE_NAME_BYTES} bytes")
    if not name.isprintable():
        raise ValueError("must not contain control characters")
    if any(part in {"", ".", ".."} for part in name.split("/")):
        raise ValueError("must be a relative path without empty parts, `.` and `..`")
    return name


class FileToUpload(WireModel):
    """A file for which upload access is requested. An object store that takes forms needs no such
    description, and ignores it."""

    name: Annotated[str, StringConstraints(max_length=MAX_FILE_NAME_BYTES), AfterValidator(_relative)] = (
        Field(description="Name below the folder; may contain folders.", examples=["19103/listings.parquet"])
    )
    size_bytes: StrictInt = Field(ge=0, description="Exact size of the file, bytes.", examples=[4096])
    sha256: Sha256Hex | None = Field(
        default=None, description="SHA-256 of the file, which the store verifies and keeps; for validators."
    )


class MinerUploadRequest(WireModel):
    """Request upload access for one epoch, by default the running one. Name the `file`, in case the object
    store takes no forms. With `with_credentials`, the reply has temporary credentials if the store has STS
    and the deadline is far enough away; with them, a large file can be uploaded in parts."""

    epoch_id: EpochId | None = Field(
        default=None, description="Start of the epoch, UTC, as YYYY-MM-DDTHH-MM-SS; ids sort by time."
    )
    file: FileToUpload | None = Field(
        default=None, description="The file to upload; needed only if the object store takes no forms."
    )
    with_credentials: StrictBool = Field(
        default=False, description="Whether to return credentials with which a file is uploaded in parts."
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


class MinerUploadReply(WireModel):
    """A form that uploads below `prefix` until the epoch's deadline. `fields.key` ends in `${filename}`."""

    success: Success = True
    epoch_id: EpochId
    bucket: BucketName
    prefix: KeyPrefix
    method: Method = Field(default="POST", exclude_if=_is_post)
    url: str = Field(description="URL to post the form to.", examples=["https://s3.example.org/miners"])
    fields: FormFields
    s3_credentials: S3Credentials | None = Field(
        default=None,
        description="Temporary credentials; null if they were not requested, there is no STS, or the "
        "deadline is too near.",
    )
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
    file: FileToUpload | None = Field(
        default=None, description="The file to upload; needed only if the object store takes no forms."
    )


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
    message: str = Field(
        description="The result as one readable sentence.", examples=["Upload access granted."]
    )
    method: Method = Field(default="POST", exclude_if=_is_post)
    upload_url: str = Field(description="URL to post the form to; the store replies 204 on success.")
    fields: FormFields
    s3_credentials: S3Credentials | None = Field(
        description="Temporary credentials; null if the object store has no STS."
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
        description="Temporary credentials; null if they were not requested or there is no STS.",
    )


class MinerUploadsRequest(WireModel):
    """Request one page of the caller's own uploads that count for an ended epoch. `page_token` is the
    `next_page_token` of the previous page."""

    epoch_id: EpochId
    page_token: Annotated[str, StringConstraints(max_length=2048)] | None = Field(
        default=None, description="`nextPageToken` of the previous page."
    )


class CountedUpload(WireModel):
    """One object of the caller in the epoch's manifest."""

    key: str = Field(description="Key of the object.")
    size: int = Field(description="Bytes.", examples=[4096])
    etag: str = Field(description="ETag of the object, without quotes.")
    last_modified: WireTime = Field(description="When it was stored, UTC.")
    version_id: str | None = Field(description="Version of the object; null without bucket versioning.")


class MinerUploadsReply(WireModel):
    """One page of the caller's uploads in the manifest of an ended epoch. Objects that are not in it do not
    count."""

    success: Success = True
    epoch_id: EpochId
    objects: tuple[CountedUpload, ...] = Field(description="Uploads that count, in the manifest's order.")
    next_page_token: str | None = Field(
        description="Pass it as `pageToken` for the next page; null on the last."
    )


ObjectKey = Annotated[str, StringConstraints(max_length=1024)]


class MinerListRequest(WireModel):
    """List one miner's folder of an epoch that has ended, after the key `start_after`."""

    epoch_id: EpochId
    miner_hotkey: str = Field(description="Miner whose folder is listed, SS58.")
    start_after: ObjectKey | None = Field(default=None, description="Key after which the list begins.")


class MinerListReply(WireModel):
    """`url` is a presigned ListObjectsV2 of at most 1,000 keys. If the list is
    truncated (IsTruncated), ask again with its last key as `startAfter`."""

    success: Success = True
    epoch_id: EpochId
    miner_hotkey: str = Field(description="Miner whose folder is listed, SS58.")
    bucket: BucketName
    prefix: KeyPrefix
    url: str = Field(description="Presigned ListObjectsV2 of at most 1,000 keys.")
    expires_at: ExpiryTime
