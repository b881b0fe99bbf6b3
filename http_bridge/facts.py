"""What the code itself knows and clients ask: what to sign for what, and where files go.

Owns the shape of `/commitment-formats` and `/structure-info`; the texts are `zipcast.auth`'s.
"""

from zipcast import auth
from zipcast.auth import API_WINDOW, GET_WINDOW, Window
from zipcast.legacy_messages import FOLDER_STRUCTURE, StructureInfo, UnderscoredModel
from zipcast.messages import WireModel


class CommitmentFormat(WireModel):
    """Sign the UTF-8 text of `format` with sr25519, raw or as `<Bytes>…</Bytes>`; seconds accepted."""

    endpoint: str
    format: str
    validators_only: bool
    past_seconds: int
    future_seconds: int


class CommitmentFormatsReply(WireModel):
    formats: tuple[CommitmentFormat, ...]
    signature: str = "hex of the sr25519 signature, with or without 0x"
    accepted: tuple[str, str] = ("{text}", "<Bytes>{text}</Bytes>")


class StructureInfoReply(UnderscoredModel):
    """The folders of miners and of validators."""

    miners: StructureInfo
    validators: StructureInfo


def commitment_formats() -> CommitmentFormatsReply:
    return CommitmentFormatsReply(
        formats=(
            _format("GET /api/v1/zipcode-assignments/current", auth.CURRENT_COMMITMENT, API_WINDOW),
            _format("GET /api/v1/epochs/stream", auth.STREAM_COMMITMENT, API_WINDOW),
            _format(
                "POST /api/v1/s3-access/validator-upload",
                auth.VALIDATOR_UPLOAD_COMMITMENT,
                API_WINDOW,
                validators_only=True,
            ),
            _format(
                "GET /api/v1/zipcode-assignments/epoch/{epoch_id}",
                auth.VALIDATION_COMMITMENT,
                API_WINDOW,
                validators_only=True,
            ),
            _format("POST /api/v1/zipcode-assignments/status", auth.STATUS_COMMITMENT, API_WINDOW),
            _format("POST /api/v1/zipcode-assignments/status", auth.MINER_STATUS_COMMITMENT, API_WINDOW),
            _format("POST /get-folder-access", auth.FOLDER_ACCESS_COMMITMENT, GET_WINDOW),
            _format(
                "POST /get-validator-access",
                auth.VALIDATOR_ACCESS_COMMITMENT,
                GET_WINDOW,
                validators_only=True,
            ),
            _format(
                "POST /get-miner-specific-access",
                auth.MINER_ACCESS_COMMITMENT,
                GET_WINDOW,
                validators_only=True,
            ),
        )
    )


def _format(endpoint: str, text: str, window: Window, *, validators_only: bool = False) -> CommitmentFormat:
    return CommitmentFormat(
        endpoint=endpoint,
        format=text,
        validators_only=validators_only,
        past_seconds=window.past_seconds,
        future_seconds=window.future_seconds,
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
