"""Wire models of what a validator found: his report of an epoch, and what all of them together say.

Owns names, types and ranges. Whether the reported files are there is the responder's to find out; how reports
become a consensus is `consensus`'s.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from zipcast.hotkeys import parse_hotkey
from zipcast.messages import EpochId, Sha256Hex, WireModel, WireTime, ZipcodeText
from zipcast.pool_messages import ToldSignal
from zipcast.status_messages import Listings, StatedTime

MOST_TOP = 3
MOST_FILES = 100
MOST_ISSUES = 20
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
    """PostgreSQL takes no NUL, and nobody wants the other control characters in a log."""
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

    hotkey: SaidHotkey
    score: Score


class ReportedFile(WireModel):
    """One object that the validator uploaded for the epoch, below his own prefix."""

    key: ObjectKey
    size_bytes: int = Field(ge=0, le=MOST_FILE_BYTES)
    sha256: Sha256Hex


class AuditRow(WireModel):
    """One miner's zipcode as the validator checked it."""

    miner_hotkey: SaidHotkey
    zipcode: ZipcodeText
    type: AuditType
    result: AuditResult
    score: Score
    listings_checked: Listings = 0
    issues: Annotated[tuple[Issue, ...], Field(max_length=MOST_ISSUES)] = ()


class ResultsRequest(WireModel):
    """A validator's report of an epoch that has ended. `top_miners` is ranked, best first; `audit` holds as
    many rows as fit the message."""

    epoch_id: EpochId
    started_at: StatedTime | None = None
    duration_seconds: Annotated[float, Field(ge=0, le=LONGEST_DURATION_SECONDS, allow_inf_nan=False)]
    miners_evaluated: int = Field(ge=0, le=MOST_MINERS)
    top_miners: Annotated[tuple[TopMiner, ...], Field(max_length=MOST_TOP)]
    listings_validated: Listings
    files: Annotated[tuple[ReportedFile, ...], Field(max_length=MOST_FILES)] = ()
    audit: tuple[AuditRow, ...] = ()

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

    key: str
    version_id: str | None
    checked_by: Literal["checksum", "content"]


class ResultsReply(WireModel):
    """`in_force`: whether this report stands; not if the validator signed a later one before it came.
    `superseded_reports` counts his earlier ones, which stay on record. A `late` one came when the epoch had
    been revealed: it is kept, and counts for nothing."""

    success: Literal[True] = True
    message: str
    result_id: str
    epoch_id: EpochId
    received_at: WireTime
    in_force: bool
    late: bool
    superseded_reports: int
    audit_rows: int
    files: tuple[CheckedFile, ...]


class ConsensusRequest(WireModel):
    """`offset` continues an earlier reply: its `next_offset`."""

    epoch_id: EpochId
    offset: int = Field(default=0, ge=0, le=MOST_MINERS)


class ToldReport(WireModel):
    """A validator's report. `in_force`: his newest; `counted`: his newest that came in time, which is the
    one that consensus is made of. `agreement` with the other counted reports, 0 to 1; null where there is no
    other."""

    hotkey: str
    result_id: str
    alpha_stake_rao: int
    reported_at: WireTime
    received_at: WireTime
    in_force: bool
    counted: bool
    late: bool
    superseded_reports: int
    duration_seconds: float
    miners_evaluated: int
    listings_validated: int
    top_miners: tuple[TopMiner, ...]
    files: int
    audit_rows: int
    agreement: float | None = None
    outlier: bool = False


class ConsensusMiner(WireModel):
    """`support`: 1 if every validator ranks this miner first, 0 if none names it; weighted by stake."""

    hotkey: str
    support: float


class Coverage(WireModel):
    """How much of the epoch counted reports cover. `stake_share` is of the stake of all validators, 0 to 1;
    miners of the epoch are those who reported or uploaded."""

    validators_reported: int
    validators: int
    stake_share: float
    miners_audited: int
    miners: int
    zipcodes_audited: int
    zipcodes: int


class Consensus(WireModel):
    """`agreement` of the counted reports with each other, 0 to 1; null where there are fewer than two."""

    top_miners: tuple[ConsensusMiner, ...]
    agreement: float | None
    outliers: tuple[str, ...]
    coverage: Coverage


class ConsensusReply(WireModel):
    """Before the epoch is revealed the caller sees his own reports and nothing else: no `consensus`, no
    `signals`. `consensus` is on the first page; `next_offset`, if there is more, is the next one's
    `offset`."""

    success: Literal[True] = True
    epoch_id: EpochId
    revealed: bool
    consensus: Consensus | None
    reports: tuple[ToldReport, ...]
    signals: tuple[ToldSignal, ...]
    next_offset: int | None

    def following(self, offset: int) -> int | None:
        """Return the `offset` of the page that follows this one, which was asked for with `offset`; None
        after the last. Raises ValueError where it is no larger, so that pages never end."""
        if self.next_offset is not None and self.next_offset <= offset:
            raise ValueError(f"nextOffset {self.next_offset} does not lead to further reports")
        return self.next_offset


class EpochResults(WireModel):
    """All pages of one epoch."""

    epoch_id: EpochId
    revealed: bool
    consensus: Consensus | None
    reports: tuple[ToldReport, ...]
    signals: tuple[ToldSignal, ...]

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
