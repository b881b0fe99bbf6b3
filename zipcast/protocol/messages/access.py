"""Wire models of requests for S3 access, and of their replies."""

from typing import Annotated

from pydantic import (
    Field,
    StrictBool,
    StringConstraints,
)

from zipcast.protocol.messages.base import (
    BucketName,
    EpochId,
    ExpiryTime,
    HotkeyText,
    KeyPrefix,
    Success,
    WireModel,
    WireTime,
)

FormFields = Annotated[
    dict[str, str],
    Field(description="Form fields, to be posted unchanged before the file; `key` ends in `${filename}`."),
]


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
