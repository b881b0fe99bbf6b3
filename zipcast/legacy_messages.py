"""Wire models of the legacy endpoints whose names are written with underscores.

Owns those spellings: clients in the field read `list_url`, not `listUrl`. All else is in `messages`.
"""

from typing import Literal

from pydantic import AliasChoices, ConfigDict, Field

from zipcast.messages import ObjectKey, WireModel, WireTime

FOLDER_STRUCTURE = "data/hotkey={hotkey}/"


class UnderscoredModel(WireModel):
    """Field names travel as they stand."""

    model_config = ConfigDict(alias_generator=None)


class FolderAccessRequest(UnderscoredModel):
    """The signed identity is checked apart. The `expiry` that some clients send is not read: access
    always lasts the 24 h that clients count on."""

    coldkey: str


class StructureInfo(UnderscoredModel):
    """Where files go: `folder_structure` is the pattern of a key, `example` one key."""

    folder_structure: str
    description: str
    example: str


class ValidatorAccessRequest(UnderscoredModel):
    """`start_after`: the last key or folder of the page before. A presigned list is one page of 1,000 entries
    and takes no further parameter, so each page is asked for with a signature of its own."""

    start_after: ObjectKey | None = Field(
        default=None, validation_alias=AliasChoices("start_after", "startAfter")
    )


class GlobalLists(UnderscoredModel):
    list_all_data: str


class MinerLists(UnderscoredModel):
    list_all_miners: str


class ValidatorLists(UnderscoredModel):
    """Presigned ListObjectsV2 addresses, each one page of at most 1,000 entries. `global` shows every key,
    `miners` their folders."""

    global_: GlobalLists = Field(alias="global")
    miners: MinerLists


class ValidatorAccessReply(UnderscoredModel):
    bucket: str
    region: str
    validator_hotkey: str
    expiry: WireTime
    expiry_seconds: int
    urls: ValidatorLists
    structure_info: StructureInfo


class MinerAccessRequest(UnderscoredModel):
    """`start_after`: as in `ValidatorAccessRequest`."""

    miner_hotkey: str = Field(validation_alias=AliasChoices("miner_hotkey", "minerHotkey"))
    start_after: ObjectKey | None = Field(
        default=None, validation_alias=AliasChoices("start_after", "startAfter")
    )


class MinerAccessReply(UnderscoredModel):
    """`miner_url` lists what is below `prefix`."""

    bucket: str
    region: str
    miner_hotkey: str
    miner_url: str
    prefix: str
    expiry: WireTime


class FolderAccessReply(UnderscoredModel):
    """A form for any key below `folder` until `expiry`; `fields["key"]` ends in `${filename}`."""

    success: Literal[True] = True
    folder: str
    url: str
    fields: dict[str, str]
    expiry: WireTime
    list_url: str
    structure_info: StructureInfo
