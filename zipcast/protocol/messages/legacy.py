"""Wire models of the legacy endpoints whose names are written with underscores.

Owns those spellings: clients in the field read `list_url`, not `listUrl`. All else is in `messages`.
"""

from pydantic import AliasChoices, ConfigDict, Field

from zipcast.protocol.messages.access import FormFields, ObjectKey
from zipcast.protocol.messages.base import BucketName, ExpiryTime, KeyPrefix, Success, WireModel

FOLDER_STRUCTURE = "data/hotkey={hotkey}/"


class UnderscoredModel(WireModel):
    """Field names travel as they stand."""

    model_config = ConfigDict(alias_generator=None)


class FolderAccessRequest(UnderscoredModel):
    """The signed identity is checked apart. The `expiry` that some clients send is not read: access
    always lasts the 24 h that clients count on."""

    coldkey: str = Field(
        description="Coldkey that the hotkey is registered under on chain, SS58 with prefix 42."
    )


class StructureInfo(UnderscoredModel):
    """The layout of a folder: `folder_structure` is the pattern of a key, `example` one key."""

    folder_structure: str = Field(description="Pattern of a key.")
    description: str = Field(description="What the folder is for.")
    example: str = Field(description="One key.")


class ValidatorAccessRequest(UnderscoredModel):
    """`start_after`: the last key or folder of the page before. A presigned list is one page of 1,000 entries
    and takes no further parameter, so each page is asked for with a signature of its own."""

    start_after: ObjectKey | None = Field(
        default=None,
        validation_alias=AliasChoices("start_after", "startAfter"),
        description="The last key or folder of the page before; the list begins after it.",
    )


class GlobalLists(UnderscoredModel):
    list_all_data: str = Field(description="Presigned ListObjectsV2 of every key, one page of at most 1,000.")


class MinerLists(UnderscoredModel):
    list_all_miners: str = Field(
        description="Presigned ListObjectsV2 of the miners' folders, one page of at most 1,000."
    )


class ValidatorLists(UnderscoredModel):
    """Presigned ListObjectsV2 addresses, each one page of at most 1,000 entries. `global` shows every key,
    `miners` their folders."""

    global_: GlobalLists = Field(alias="global", description="Lists of all that was uploaded.")
    miners: MinerLists = Field(description="Lists of the miners.")


class ValidatorAccessReply(UnderscoredModel):
    bucket: BucketName
    region: str = Field(description="Region of the bucket.", examples=["us-east-1"])
    validator_hotkey: str = Field(description="Validator that asked, SS58.")
    expiry: ExpiryTime
    expiry_seconds: int = Field(description="How long it is valid, seconds.", examples=[86400])
    urls: ValidatorLists = Field(description="The lists.")
    structure_info: StructureInfo = Field(description="Where files go.")


class MinerAccessRequest(UnderscoredModel):
    """`start_after`: as in `ValidatorAccessRequest`."""

    miner_hotkey: str = Field(
        validation_alias=AliasChoices("miner_hotkey", "minerHotkey"),
        description="Miner whose uploads are listed, SS58.",
    )
    start_after: ObjectKey | None = Field(
        default=None,
        validation_alias=AliasChoices("start_after", "startAfter"),
        description="The last key or folder of the page before; the list begins after it.",
    )


class MinerAccessReply(UnderscoredModel):
    """`miner_url` lists what is below `prefix`."""

    bucket: BucketName
    region: str = Field(description="Region of the bucket.", examples=["us-east-1"])
    miner_hotkey: str = Field(description="Miner whose uploads are listed, SS58.")
    miner_url: str = Field(description="Presigned ListObjectsV2 of the miner's folder.")
    prefix: KeyPrefix
    expiry: ExpiryTime


class FolderAccessReply(UnderscoredModel):
    """A form for any key below `folder` until `expiry`; `fields["key"]` ends in `${filename}`."""

    success: Success = True
    folder: str = Field(description="Folder that the form opens: `data/hotkey={hotkey}/`.")
    url: str = Field(description="Address to post the form to.", examples=["https://s3.example.org/miners"])
    fields: FormFields
    expiry: ExpiryTime
    list_url: str = Field(description="Presigned ListObjectsV2 of the folder.")
    structure_info: StructureInfo = Field(description="Where files go.")
