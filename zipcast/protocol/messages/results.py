"""Wire models of a validator's report on an epoch, and of the consensus of all reports.

The responder checks whether the reported files exist; `consensus` computes the consensus.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.messages.base import (
    EpochId,
    HotkeyText,
    Sha256Hex,
    Success,
    WireModel,
    WireTime,
    ZipcodeText,
)
from zipcast.protocol.messages.pools import ShownSignal
from zipcast.protocol.messages.status import Listings, StatedTime

MAX_TOP = 3
MAX_FILES = 100
MAX_ISSUES = 20
MAX_AUDIT_ROWS = 2_000
MAX_DURATION_SECONDS = 31 * 24 * 3600
# The limits of S3: an object has at most 5 TB, and its key at most 1,024 bytes.
MAX_FILE_BYTES = 5 * 1024**4
MAX_KEY_BYTES = 1024
MAX_MINERS = 1_000_000
HIGHEST_SCORE = 1e9

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _plain(value: str) -> str:
    """Refuse control characters, because PostgreSQL cannot store NUL and others would garble logs."""
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters")
    return value


def _key(value: str) -> str:
    if len(value.encode()) > MAX_KEY_BYTES:
        raise ValueError(f"must have at most {MAX_KEY_BYTES} bytes")
    return value


SaidHotkey = Annotated[str, StringConstraints(max_length=64), AfterValidator(parse_hotkey)]
Score = Annotated[float, Field(ge=0, le=HIGHEST_SCORE, allow_inf_nan=False)]
Issue = Annotated[str, StringConstraints(max_length=500), AfterValidator(_plain)]
ObjectKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_KEY_BYTES),
    AfterValidator(_plain),
    AfterValidator(_key),
]
AuditType = Annotated[Literal["basic", "spot_check", "full"], BeforeValidator(_lower)]
AuditResult = Annotated[Literal["pass", "fail", "partial"], BeforeValidator(_lower)]


class TopMiner(WireModel):
    """One of the best miners. `score` is on the validator's own scale; validators are compared by order
    only."""

    hotkey: SaidHotkey = Field(description="Hotkey of the miner, SS58 with prefix 42.")
    score: Score = Field(
        description="On the validator's own scale; only the order is compared between validators."
    )


class ReportedFile(WireModel):
    """One object that the validator uploaded for the epoch, below the validator's prefix."""

    key: ObjectKey = Field(description="Key of the object.")
    size_bytes: int = Field(ge=0, le=MAX_FILE_BYTES, description="Bytes.", examples=[4096])
    sha256: Sha256Hex = Field(description="SHA-256 of the file, lower-case hex.")


class AuditRow(WireModel):
    """The result of checking one zipcode of one miner."""

    miner_hotkey: SaidHotkey = Field(description="Miner whose zipcode was checked, SS58.")
    zipcode: ZipcodeText
    type: AuditType = Field(description="How it was checked: basic, spot_check or full.")
    result: AuditResult = Field(description="The result: pass, fail or partial.", examples=["partial"])
    score: Score = Field(
        description="On the validator's own scale; only the order is compared between validators."
    )
    listings_checked: Listings = Field(
        default=0, description="Number of listings that were checked.", examples=[20]
    )
    issues: Annotated[tuple[Issue, ...], Field(max_length=MAX_ISSUES, fail_fast=True)] = Field(
        default=(), description="Problems that were found, in words."
    )


class ResultsRequest(WireModel):
    """A validator's report on an ended epoch. `top_miners` is ranked, best first. `audit` can have as many
    rows as fit into the message."""

    epoch_id: EpochId
    started_at: StatedTime | None = Field(
        default=None, description="When the validation began. A time without a time zone is read as UTC."
    )
    duration_seconds: Annotated[float, Field(ge=0, le=MAX_DURATION_SECONDS, allow_inf_nan=False)] = Field(
        description="Duration of the validation, seconds."
    )
    miners_evaluated: int = Field(
        ge=0, le=MAX_MINERS, description="Number of miners that were evaluated.", examples=[12]
    )
    top_miners: Annotated[tuple[TopMiner, ...], Field(max_length=MAX_TOP, fail_fast=True)] = Field(
        description="At most three miners, best first."
    )
    listings_validated: Listings = Field(
        description="Number of listings that were validated.", examples=[640]
    )
    files: Annotated[tuple[ReportedFile, ...], Field(max_length=MAX_FILES, fail_fast=True)] = Field(
        default=(), description="Files that the validator uploaded to its folder for the epoch."
    )
    audit: Annotated[tuple[AuditRow, ...], Field(fail_fast=True)] = Field(
        default=(), max_length=MAX_AUDIT_ROWS, description="Checks, one row per miner and zipcode."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        hotkeys = [one.hotkey for one in self.top_miners]
        if len(set(hotkeys)) < len(hotkeys):
            raise ValueError("topMiners must name each miner once")
        scores = [one.score for one in self.top_miners]
        if scores != sorted(scores, reverse=True):
            raise ValueError("topMiners must be sorted by score, best first")
        keys = [one.key for one in self.files]
        if len(set(keys)) < len(keys):
            raise ValueError("files must name each key once")
        return self


class CheckedFile(WireModel):
    """A file as it was found. `version_id` is set if the bucket keeps versions. `checked_by` names the way in
    which the SHA-256 was checked: by comparing it with the one that the store kept at the upload, or by
    reading and hashing the content."""

    key: str = Field(description="Key of the object.")
    version_id: str | None = Field(description="Version of the object; null without bucket versioning.")
    checked_by: Literal["checksum", "content"] = Field(
        description="How its SHA-256 was checked: by the checksum that the store kept, or by the content."
    )


class ResultsReply(WireModel):
    """The receipt of a report. `in_force` is true unless a report that the validator signed later arrived
    first. `superseded_reports` is the number of earlier reports, which are kept. A `late` report arrived
    after the epoch was revealed; it is kept but does not count."""

    success: Success = True
    message: str = Field(description="The result as one readable sentence.", examples=["Recorded."])
    result_id: str = Field(description="UUID of the report.")
    epoch_id: EpochId
    received_at: WireTime = Field(description="When the report was received, UTC.")
    in_force: bool = Field(description="Whether it is the validator's newest report.")
    late: bool = Field(
        description="Whether it arrived after the epoch was revealed. A late report does not count."
    )
    superseded_reports: int = Field(description="Number of earlier reports that it replaces.", examples=[1])
    audit_rows: int = Field(description="Number of audit rows.", examples=[1])
    files: tuple[CheckedFile, ...] = Field(description="The reported files with the result of the check.")


class ConsensusRequest(WireModel):
    """Request one page of an epoch's results. `offset` is the `next_offset` of the previous page."""

    epoch_id: EpochId
    offset: int = Field(default=0, ge=0, le=MAX_MINERS, description="Number of reports to skip.")


class ShownReport(WireModel):
    """A validator's report. It is `in_force` if it is the validator's newest, and `counted` in the consensus
    if it is the newest that arrived in time. `agreement` with the other counted reports is from 0 to 1, or
    null if there are none."""

    hotkey: HotkeyText
    result_id: str = Field(description="UUID of the report.")
    alpha_stake_rao: int = Field(description="Stake in rao, 1e-9 alpha.", examples=[1000000000000])
    reported_at: WireTime = Field(description="When it was signed, UTC.")
    received_at: WireTime = Field(description="When the report was received, UTC.")
    in_force: bool = Field(description="Whether it is the validator's newest report.")
    counted: bool = Field(
        description="Whether the consensus counts it: it is the validator's newest that arrived in time."
    )
    late: bool = Field(
        description="Whether it arrived after the epoch was revealed. A late report does not count."
    )
    superseded_reports: int = Field(description="Number of earlier reports that it replaces.", examples=[0])
    duration_seconds: float = Field(description="Duration of the validation, seconds.", examples=[1800.5])
    miners_evaluated: int = Field(description="Number of miners that were evaluated.", examples=[12])
    listings_validated: int = Field(description="Number of listings that were validated.", examples=[640])
    top_miners: tuple[TopMiner, ...] = Field(description="At most three miners, best first.")
    files: int = Field(description="Number of files that the report names.", examples=[0])
    audit_rows: int = Field(description="Number of audit rows.", examples=[1])
    agreement: float | None = Field(
        default=None,
        description="Overlap of rankings weighted by stake, 0 to 1; null if there is nothing to compare.",
    )
    outlier: bool = Field(default=False, description="Whether it differs from the others, while these agree.")


class ConsensusMiner(WireModel):
    """A miner of the consensus. `support` is 1 if every validator ranks the miner first, 0 if none names it,
    weighted by stake."""

    hotkey: HotkeyText
    support: float = Field(
        description="1 if every validator ranks this miner first, 0 if none names it; weighted by stake."
    )


class Coverage(WireModel):
    """The part of the epoch that the counted reports cover. `stake_share` is the share of all validators'
    stake, 0 to 1. The miners of an epoch are those that reported or uploaded."""

    validators_reported: int = Field(description="Number of validators whose reports count.", examples=[2])
    validators: int = Field(description="Number of all validators.", examples=[3])
    stake_share: float = Field(
        description="Stake of the validators whose reports count, as a share of all validators' stake, 0 to "
        "1."
    )
    miners_audited: int = Field(description="Number of miners that were checked.", examples=[1])
    miners: int = Field(description="Number of miners that reported or uploaded.", examples=[4])
    zipcodes_audited: int = Field(
        description="Number of the epoch's zipcodes that were checked.", examples=[1]
    )
    zipcodes: int = Field(description="Number of the epoch's zipcodes.", examples=[2])


class Consensus(WireModel):
    """The consensus of the counted reports. `agreement` among them is from 0 to 1, or null if there are fewer
    than two."""

    top_miners: tuple[ConsensusMiner, ...] = Field(description="At most three miners, best first.")
    agreement: float | None = Field(
        description="Overlap of rankings weighted by stake, 0 to 1; null if there is nothing to compare."
    )
    outliers: tuple[str, ...] = Field(
        description="Validators whose reports differ from the others, while these agree."
    )
    coverage: Coverage = Field(description="The part of the epoch that the counted reports cover.")


class ConsensusReply(WireModel):
    """One page of an epoch's results. Until the epoch is revealed, the caller sees only its own reports,
    without `consensus` and `signals`. Only the first page has `consensus`. If there are more pages,
    `next_offset` is the `offset` of the next page."""

    success: Success = True
    epoch_id: EpochId
    revealed: bool = Field(
        description="Whether the epoch is revealed; before that, a validator sees only its own reports."
    )
    consensus: Consensus | None = Field(
        description="Consensus of the counted reports; only on the first page of a revealed epoch."
    )
    reports: tuple[ShownReport, ...] = Field(description="Validators' reports.")
    signals: tuple[ShownSignal, ...] = Field(description="Signals about miners that a validator may examine.")
    next_offset: int | None = Field(description="Pass it as `offset` for the next page; null on the last.")

    def following(self, offset: int) -> int | None:
        """Return the `offset` of the next page, or None if this page is the last. `offset` is that of this
        page.

        Raises ValueError unless the next offset is larger, so that a loop over pages ends."""
        if self.next_offset is not None and self.next_offset <= offset:
            raise ValueError(f"nextOffset {self.next_offset} does not lead to further reports")
        return self.next_offset


class EpochResults(WireModel):
    """The results of one epoch, put together from all pages."""

    epoch_id: EpochId
    revealed: bool = Field(
        description="Whether the epoch is revealed; before that, a validator sees only its own reports."
    )
    consensus: Consensus | None = Field(
        description="Consensus of the counted reports; null until the epoch is revealed."
    )
    reports: tuple[ShownReport, ...] = Field(description="Validators' reports.")
    signals: tuple[ShownSignal, ...] = Field(description="Signals about miners that a validator may examine.")

    @classmethod
    def of(cls, pages: list[ConsensusReply]) -> "EpochResults":
        """Put the pages together; they must start with the first page."""
        first = pages[0]
        return cls(
            epoch_id=first.epoch_id,
            revealed=first.revealed,
            consensus=first.consensus,
            reports=tuple(one for page in pages for one in page.reports),
            signals=tuple(one for page in pages for one in page.signals),
        )
