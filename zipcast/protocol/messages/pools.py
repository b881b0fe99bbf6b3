"""Wire models of an epoch's pool: all that a validator needs to choose the epoch's zipcodes again.

A row is a JSON list, in the order of `PoolRow`: 42,000 of them take some 50 pages.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

from pydantic import FailFast, Field

from zipcast.protocol.messages.base import (
    EpochId,
    HotkeyText,
    Sha256Hex,
    Success,
    WireModel,
    WireTime,
    ZipcodeText,
)
from zipcast.selection.model import Candidate, MarketTier

MAX_DRAWN_HONEYPOTS = 500
"""The most that one epoch may have. Each costs a verifier one more draw."""
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class PoolRow(NamedTuple):
    """One active zipcode as it is published. Times are Unix microseconds: when its data was collected, and
    the start of the last epoch that counts as having assigned it, if one does. `commitment` binds its real
    count."""

    zipcode: str
    state: str
    city: str
    county: str
    market_tier: MarketTier
    geographic_region: str
    expected_listings: int
    population: int | None
    base_weight: float
    last_scraped_at: int
    last_assigned_at: int | None
    commitment: Sha256Hex

    @classmethod
    def of(cls, one: Candidate, commitment: str) -> "PoolRow":
        assigned_at = one.last_assigned_at
        return cls(
            one.zipcode,
            one.state,
            one.city,
            one.county,
            one.market_tier,
            one.geographic_region,
            one.expected_listings,
            one.population,
            one.base_weight,
            (one.last_scraped_at - _UNIX_EPOCH) // _MICROSECOND,
            None if assigned_at is None else (assigned_at - _UNIX_EPOCH) // _MICROSECOND,
            commitment,
        )

    def candidate(self) -> Candidate:
        """Return the row as a candidate. Raises ValueError, OverflowError."""
        assigned_at = self.last_assigned_at
        return Candidate(
            *self[:9],
            _UNIX_EPOCH + self.last_scraped_at * _MICROSECOND,
            None if assigned_at is None else _UNIX_EPOCH + assigned_at * _MICROSECOND,
        )


class ToldHoneypot(WireModel):
    """A honeypot that was drawn: its real listings, those that were published, and the salt that opens its
    commitment. `discarded`: only a discarded draw had it, and the epoch did not assign it."""

    zipcode: ZipcodeText
    real_listings: int = Field(ge=0, description="Listings that the zipcode really has.", examples=[31])
    published_listings: int = Field(ge=0, description="Listings that were published for it.", examples=[810])
    salt: Sha256Hex = Field(description="Opens the commitment to the real listings.")
    discarded: bool = Field(description="Only a discarded draw had it; the epoch did not assign it.")


class ToldSignal(WireModel):
    """Something about a miner to look at; `kind` says what, `details` on what grounds."""

    hotkey: HotkeyText
    kind: str = Field(description="What was found.", examples=["honeypot_hit"])
    details: dict[str, Any] = Field(description="On what grounds.")
    computed_at: WireTime = Field(description="When it was found, UTC.")


class PoolDetail(WireModel):
    """The facts that belong to the candidates. `inputs` is the text whose SHA-256 the previous message
    promised; `relaxed_age_days` says by how many days data was too old; `signals_left_out`, for which the
    page has no room, come with the epoch's results."""

    inputs: str = Field(description="Text whose SHA-256 the message before promised.")
    seed: Sha256Hex = Field(
        description="Seed that the commitment was made for, hex; null until it is revealed."
    )
    relaxed_age_days: int = Field(
        ge=0, description="By how many days data was too old, since there was too little other; 0 as a rule."
    )
    relaxed_cooldown: tuple[ZipcodeText, ...] = Field(
        description="Zipcodes drawn although they rested, since there were too few others."
    )
    honeypots: tuple[ToldHoneypot, ...] = Field(
        max_length=MAX_DRAWN_HONEYPOTS, description="Zipcodes with false counts that were drawn."
    )
    signals: tuple[ToldSignal, ...] = Field(
        default=(), description="Findings about miners that a validator may look into."
    )
    signals_left_out: int = Field(default=0, description="How many signals there are beyond those told here.")


class EpochPoolRequest(WireModel):
    """Ask for one page of a pool. Without `after`, the first page."""

    epoch_id: EpochId
    after: ZipcodeText | None = Field(
        default=None, description="The zipcode after which the page begins; none: the first page."
    )


class EpochPoolReply(WireModel):
    """One page. `detail` is on the first only; `next_after`, if there is more, is the next one's `after`."""

    success: Success = True
    epoch_id: EpochId
    detail: PoolDetail | None = Field(description="What goes with the candidates; on the first page only.")
    candidates: Annotated[tuple[PoolRow, ...], FailFast()] = Field(
        description="Active zipcodes, each a list in this order."
    )
    next_after: ZipcodeText | None = Field(
        description="Pass it as `after` for the next page; null on the last."
    )

    def following(self, after: str | None) -> str | None:
        """Return the `after` of the page that follows this one, which was asked for with `after`; None after
        the last. Raises ValueError where it is no later, so that pages never end."""
        following = self.next_after
        if following is not None and after is not None and following <= after:
            raise ValueError(f"nextAfter {following} does not lead to later zipcodes")
        return following


class EpochPool(WireModel):
    """All pages of one epoch."""

    detail: PoolDetail = Field(description="What goes with the candidates; on the first page only.")
    candidates: tuple[PoolRow, ...] = Field(description="Active zipcodes, each a list in this order.")

    @classmethod
    def of(cls, pages: Iterable[EpochPoolReply]) -> "EpochPool":
        """Put the pages of a pool together. Raises ValueError if the first page is missing."""
        first, *others = pages
        if first.detail is None:
            raise ValueError("the first page of a pool has its detail")
        rows = [row for page in (first, *others) for row in page.candidates]
        return cls(detail=first.detail, candidates=tuple(rows))
