"""Wire models of the legacy endpoints whose field names have underscores.

Existing clients read `list_url`, not `listUrl`. All other models are in `messages`.
"""

from pydantic import AliasChoices, ConfigDict, Field

from zipcast.protocol.messages.access import FormFields, ObjectKey
from zipcast.protocol.messages.base import BucketName, ExpiryTime, KeyPrefix, Success, WireModel

FOLDER_STRUCTURE = "data/hotkey={hotkey}/"


class UnderscoredModel(WireModel):
    """A model whose field names are sent unchanged, not in camelCase."""

    model_config = ConfigDict(alias_generator=None)


class FolderAccessRequest(UnderscoredModel):
    """Request access to the miner's whole folder. The identity is verified separately. The field `expiry`,
    which some clients send, is ignored: access always lasts 24 h."""

    coldkey: str = Field(
        description="Coldkey that the hotkey is registered under on chain, SS58 with prefix 42."
    )


class StructureInfo(UnderscoredModel):
    """The layout of a folder: `folder_structure` is the pattern of its keys, and `example` is one of them."""

    folder_structure: str = Field(description="Pattern of a key.")
    description: str = Field(description="Purpose of the folder.")
    example: str = Field(description="One key.")


class ValidatorAccessRequest(UnderscoredModel):
    """Request lists of all uploads. `start_after` is the last key or folder of the previous page. A presigned
    list is one page of 1,000 entries and accepts no other parameter, so each page needs its own request."""

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
    """Presigned ListObjectsV2 URLs, each for one page of at most 1,000 entries. `global` lists every key,
    `miners` lists the miners' folders."""

    global_: GlobalLists = Field(alias="global", description="Lists of all uploads.")
    miners: MinerLists = Field(description="Lists of the miners' folders.")


class ValidatorAccessReply(UnderscoredModel):
    bucket: BucketName
    region: str = Field(description="Region of the bucket.", examples=["us-east-1"])
    validator_hotkey: str = Field(description="Hotkey of the validator that sent the request, SS58.")
    expiry: ExpiryTime
    expiry_seconds: int = Field(description="Seconds for which the lists are valid.", examples=[86400])
    urls: ValidatorLists = Field(description="The lists.")
    structure_info: StructureInfo = Field(description="Where files go.")


class MinerAccessRequest(UnderscoredModel):
    """Request a list of one miner's uploads. `start_after` is the last key or folder of the previous page."""

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
    """A presigned list of one miner's uploads. `miner_url` lists the keys below `prefix`."""

    bucket: BucketName
    region: str = Field(description="Region of the bucket.", examples=["us-east-1"])
    miner_hotkey: str = Field(description="Miner whose uploads are listed, SS58.")
    miner_url: str = Field(description="Presigned ListObjectsV2 URL that lists the miner's folder.")
    prefix: KeyPrefix
    expiry: ExpiryTime


class FolderAccessReply(UnderscoredModel):
    """A form that uploads to any key below `folder` until `expiry`. `fields["key"]` ends in `${filename}`."""

    success: Success = True
    folder: str = Field(description="Folder to which the form uploads: `data/hotkey={hotkey}/`.")
    url: str = Field(description="URL to post the form to.", examples=["https://s3.example.org/miners"])
    fields: FormFields
    expiry: ExpiryTime
    list_url: str = Field(description="Presigned ListObjectsV2 of the folder.")
    structure_info: StructureInfo = Field(description="Where files go.")
