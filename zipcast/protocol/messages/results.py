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
from zipcast.protocol.messages.pools import ToldSignal
from zipcast.protocol.messages.status import Listings, StatedTime

MOST_TOP = 3
MOST_FILES = 100
MOST_ISSUES = 20
MAX_AUDIT_ROWS = 2_000
LONGEST_DURATION_SECONDS = 31 * 24 * 3600
# One object of S3 holds 5 TB at most, its key 1,024 bytes.
MOST_FILE_BYTES = 5 * 1024**4
MOST_KEY_BYTES = 1024
MOST_MINERS = 1_000_000
HIGHEST_SCORE = 1e9

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _plain(value: str) -> str:
    """Refuse control characters: PostgreSQL takes no NUL, and the others would disturb logs."""
    if _CONTROL.search(value):
        raise ValueError("must hold no control characters")
    return value


def _key(value: str) -> str:
    if len(value.encode()) > MOST_KEY_BYTES:
        raise ValueError(f"must hold at most {MOST_KEY_BYTES} bytes")
    return value


SaidHotkey = Annotated[str, StringConstraints(max_length=64), AfterValidator(parse_hotkey)]
Score = Annotated[float, Field(ge=0, le=HIGHEST_SCORE, allow_inf_nan=False)]
Issue = Annotated[str, StringConstraints(max_length=500), AfterValidator(_plain)]
ObjectKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MOST_KEY_BYTES),
    AfterValidator(_plain),
    AfterValidator(_key),
]
AuditType = Annotated[Literal["basic", "spot_check", "full"], BeforeValidator(_lower)]
AuditResult = Annotated[Literal["pass", "fail", "partial"], BeforeValidator(_lower)]


class TopMiner(WireModel):
    """`score` on the validator's own scale; only the order is compared between validators."""

    hotkey: SaidHotkey = Field(description="Hotkey, SS58 with prefix 42.")
    score: Score = Field(
        description="On the validator's own scale; only the order is compared between validators."
    )


class ReportedFile(WireModel):
    """One object that the validator uploaded for the epoch, below its own prefix."""

    key: ObjectKey = Field(description="Key of the object.")
    size_bytes: int = Field(ge=0, le=MOST_FILE_BYTES, description="Bytes.", examples=[4096])
    sha256: Sha256Hex = Field(description="SHA-256 of the file, lower-case hex.")


class AuditRow(WireModel):
    """One miner's zipcode as the validator checked it."""

    miner_hotkey: SaidHotkey = Field(description="Miner whose zipcode was checked, SS58.")
    zipcode: ZipcodeText
    type: AuditType = Field(description="How it was checked: basic, spot_check or full.")
    result: AuditResult = Field(description="What came of it: pass, fail or partial.", examples=["partial"])
    score: Score = Field(
        description="On the validator's own scale; only the order is compared between validators."
    )
    listings_checked: Listings = Field(
        default=0, description="How many listings were looked at.", examples=[20]
    )
    issues: Annotated[tuple[Issue, ...], Field(max_length=MOST_ISSUES, fail_fast=True)] = Field(
        default=(), description="What was found wrong, in words."
    )


class ResultsRequest(WireModel):
    """A validator's report of an epoch that has ended. `top_miners` is ranked, best first; `audit` holds as
    many rows as fit the message."""

    epoch_id: EpochId
    started_at: StatedTime | None = Field(
        default=None, description="When the validation began; UTC where no zone is given."
    )
    duration_seconds: Annotated[float, Field(ge=0, le=LONGEST_DURATION_SECONDS, allow_inf_nan=False)] = Field(
        description="How long the validation took, seconds."
    )
    miners_evaluated: int = Field(
        ge=0, le=MOST_MINERS, description="How many miners were evaluated.", examples=[12]
    )
    top_miners: Annotated[tuple[TopMiner, ...], Field(max_length=MOST_TOP, fail_fast=True)] = Field(
        description="At most three miners, the best first."
    )
    listings_validated: Listings = Field(description="How many listings were validated.", examples=[640])
    files: Annotated[tuple[ReportedFile, ...], Field(max_length=MOST_FILES, fail_fast=True)] = Field(
        default=(), description="What the validator uploaded for the epoch, below his own folder."
    )
    audit: Annotated[tuple[AuditRow, ...], Field(fail_fast=True)] = Field(
        default=(), max_length=MAX_AUDIT_ROWS, description="What was checked, a row for each miner's zipcode."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        hotkeys = [one.hotkey for one in self.top_miners]
        if len(set(hotkeys)) < len(hotkeys):
            raise ValueError("topMiners must name each miner once")
        scores = [one.score for one in self.top_miners]
        if scores != sorted(scores, reverse=True):
            raise ValueError("topMiners must be ranked, the best first")
        keys = [one.key for one in self.files]
        if len(set(keys)) < len(keys):
            raise ValueError("files must name each key once")
        return self


class CheckedFile(WireModel):
    """A file as it was found: `version_id` where the bucket keeps versions. `checked_by`: the SHA-256 that
    the store kept of the upload, or its content, read and hashed."""

    key: str = Field(description="Key of the object.")
    version_id: str | None = Field(description="Version of the object; null where the bucket has none.")
    checked_by: Literal["checksum", "content"] = Field(
        description="By the checksum that the store kept of the upload, or by its content."
    )


class ResultsReply(WireModel):
    """The receipt of a report. `in_force`: it counts, unless the validator signed a later one before it came.
    `superseded_reports`: the number of its earlier ones, which stay on record. A `late` report came after the
    epoch was revealed: it is kept, and does not count."""

    success: Success = True
    message: str = Field(description="One sentence for a person.", examples=["Recorded."])
    result_id: str = Field(description="UUID of the report.")
    epoch_id: EpochId
    received_at: WireTime = Field(description="When it was received, UTC.")
    in_force: bool = Field(description="Whether it is the validator's newest.")
    late: bool = Field(
        description="Whether it came when the epoch had been revealed: it is kept and counts for nothing."
    )
    superseded_reports: int = Field(description="How many earlier ones it took the place of.", examples=[1])
    audit_rows: int = Field(description="How many rows of audit it holds.", examples=[1])
    files: tuple[CheckedFile, ...] = Field(description="The files as they were found.")


class ConsensusRequest(WireModel):
    """`offset` continues an earlier reply: its `next_offset`."""

    epoch_id: EpochId
    offset: int = Field(default=0, ge=0, le=MOST_MINERS, description="How many to pass over, oldest first.")


class ToldReport(WireModel):
    """A validator's report. `in_force`: it is the newest; `counted`: it is the newest that came in time,
    which the consensus is made of. `agreement` with the other counted reports, 0 to 1; null if there is no
    other."""

    hotkey: HotkeyText
    result_id: str = Field(description="UUID of the report.")
    alpha_stake_rao: int = Field(description="Stake in rao, 1e-9 alpha.", examples=[1000000000000])
    reported_at: WireTime = Field(description="When it was signed, UTC.")
    received_at: WireTime = Field(description="When it was received, UTC.")
    in_force: bool = Field(description="Whether it is the validator's newest.")
    counted: bool = Field(
        description="Whether consensus is made of it: the validator's newest that came in time."
    )
    late: bool = Field(
        description="Whether it came when the epoch had been revealed: it is kept and counts for nothing."
    )
    superseded_reports: int = Field(description="How many earlier ones it took the place of.", examples=[0])
    duration_seconds: float = Field(description="How long the validation took, seconds.", examples=[1800.5])
    miners_evaluated: int = Field(description="How many miners were evaluated.", examples=[12])
    listings_validated: int = Field(description="How many listings were validated.", examples=[640])
    top_miners: tuple[TopMiner, ...] = Field(description="At most three miners, the best first.")
    files: int = Field(description="How many files the report names.", examples=[0])
    audit_rows: int = Field(description="How many rows of audit it holds.", examples=[1])
    agreement: float | None = Field(
        default=None,
        description="Overlap of rankings weighted by stake, 0 to 1; null where there is nothing to compare.",
    )
    outlier: bool = Field(default=False, description="Whether it stands apart from the others, who agree.")


class ConsensusMiner(WireModel):
    """`support`: 1 if every validator ranks this miner first, 0 if none names it; weighted by stake."""

    hotkey: HotkeyText
    support: float = Field(
        description="1 if every validator ranks this miner first, 0 if none names it; weighted by stake."
    )


class Coverage(WireModel):
    """The part of the epoch that counted reports cover. `stake_share` is of the stake of all validators, 0 to
    1; miners of the epoch are those that reported or uploaded."""

    validators_reported: int = Field(description="Validators whose reports count.", examples=[2])
    validators: int = Field(description="All validators.", examples=[3])
    stake_share: float = Field(description="Of all validators' stake, that of those who reported, 0 to 1.")
    miners_audited: int = Field(description="Miners that were checked.", examples=[1])
    miners: int = Field(description="Miners that reported or uploaded.", examples=[4])
    zipcodes_audited: int = Field(description="Zipcodes of the epoch that were checked.", examples=[1])
    zipcodes: int = Field(description="Zipcodes of the epoch.", examples=[2])


class Consensus(WireModel):
    """`agreement` of the counted reports with each other, 0 to 1; null where there are fewer than two."""

    top_miners: tuple[ConsensusMiner, ...] = Field(description="At most three miners, the best first.")
    agreement: float | None = Field(
        description="Overlap of rankings weighted by stake, 0 to 1; null where there is nothing to compare."
    )
    outliers: tuple[str, ...] = Field(description="Validators whose reports stand apart.")
    coverage: Coverage = Field(description="How much of the epoch the counted reports cover.")


class ConsensusReply(WireModel):
    """One page of an epoch's results. Until the epoch is revealed the caller sees only its own reports: no
    `consensus`, no `signals`. `consensus` is on the first page; `next_offset`, if there is more, is the
    `offset` of the next."""

    success: Success = True
    epoch_id: EpochId
    revealed: bool = Field(
        description="Whether the epoch is revealed; before that, validators see their own reports alone."
    )
    consensus: Consensus | None = Field(
        description="What the counted reports say together; on the first page only."
    )
    reports: tuple[ToldReport, ...] = Field(description="Validators' reports.")
    signals: tuple[ToldSignal, ...] = Field(
        description="Findings about miners that a validator may look into."
    )
    next_offset: int | None = Field(description="Pass it as `offset` for the next page; null on the last.")

    def following(self, offset: int) -> int | None:
        """Return the `offset` of the page that follows this one, which was asked for with `offset`; None
        after the last. Raises ValueError where it is no larger, so that pages never end."""
        if self.next_offset is not None and self.next_offset <= offset:
            raise ValueError(f"nextOffset {self.next_offset} does not lead to further reports")
        return self.next_offset


class EpochResults(WireModel):
    """All pages of one epoch."""

    epoch_id: EpochId
    revealed: bool = Field(
        description="Whether the epoch is revealed; before that, validators see their own reports alone."
    )
    consensus: Consensus | None = Field(
        description="What the counted reports say together; on the first page only."
    )
    reports: tuple[ToldReport, ...] = Field(description="Validators' reports.")
    signals: tuple[ToldSignal, ...] = Field(
        description="Findings about miners that a validator may look into."
    )

    @classmethod
    def of(cls, pages: list[ConsensusReply]) -> "EpochResults":
        """`pages` begin with the first."""
        first = pages[0]
        return cls(
            epoch_id=first.epoch_id,
            revealed=first.revealed,
            consensus=first.consensus,
            reports=tuple(one for page in pages for one in page.reports),
            signals=tuple(one for page in pages for one in page.signals),
        )
