"""Answers `/commitment-formats` (the legacy texts to sign, from `VERBS`) and `/structure-info` (the folder
layout)."""

from pydantic import Field

from zipcast.protocol.messages.base import WireModel
from zipcast.protocol.messages.legacy import FOLDER_STRUCTURE, StructureInfo, UnderscoredModel
from zipcast.protocol.verbs import VERBS, Asker


class CommitmentFormat(WireModel):
    """A text for legacy clients to sign with sr25519, and the accepted age of its timestamp. The text is
    signed as UTF-8, either raw or as `<Bytes>…</Bytes>`."""

    endpoint: str = Field(description="Method and path.")
    format: str = Field(description="The text, with names of fields in braces.")
    validators_only: bool = Field(description="Whether only validators may send the request.")
    past_seconds: int = Field(description="Maximum age of the timestamp, seconds.", examples=[300])
    future_seconds: int = Field(
        description="Maximum time by which the timestamp may be in the future, seconds."
    )


class CommitmentFormatsReply(WireModel):
    formats: tuple[CommitmentFormat, ...] = Field(description="The texts to sign, by endpoint.")
    signature: str = Field(
        default="hex of the sr25519 signature, with or without 0x", description="Encoding of the signature."
    )
    accepted: tuple[str, str] = Field(
        default=("{text}", "<Bytes>{text}</Bytes>"), description="Forms in which the text may be signed."
    )


class StructureInfoReply(UnderscoredModel):
    """The folders of miners and of validators."""

    miners: StructureInfo = Field(description="Folder of a miner.")
    validators: StructureInfo = Field(description="Folder of a validator.")


def commitment_formats() -> CommitmentFormatsReply:
    return CommitmentFormatsReply(
        formats=tuple(
            CommitmentFormat(
                endpoint=f"{spec.http.method} {spec.http.path}",
                format=text,
                validators_only=spec.who is Asker.VALIDATOR,
                past_seconds=spec.window.past_seconds,
                future_seconds=spec.window.future_seconds,
            )
            for spec in VERBS.values()
            if spec.http is not None
            for text in spec.commitments
        )
    )


def structure_info() -> StructureInfoReply:
    return StructureInfoReply(
        miners=StructureInfo(
            folder_structure=FOLDER_STRUCTURE + "epoch={epoch_id}/{path}",
            description="A miner's own folder; a file holds 1 KB to 5 GB. It counts for the epoch that its "
            "path names; under another path it counts for the epoch in which it was stored.",
            example=FOLDER_STRUCTURE + "epoch=2026-11-22T04-00-00/listings/19103.parquet",
        ),
        validators=StructureInfo(
            folder_structure="validators/{hotkey}/epoch={epoch_id}/{path}",
            description="A validator's results of one epoch.",
            example="validators/{hotkey}/epoch=2026-11-22T04-00-00/results.json",
        ),
    )
