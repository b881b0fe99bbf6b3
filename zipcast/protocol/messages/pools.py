"""Wire models of an epoch's pool: everything that a validator needs to repeat the epoch's selection.

A row is a JSON list in the order of `PoolRow`. A pool of 42,000 rows has about 50 pages.
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
"""The largest number of honeypots that the draws of one epoch may have. Each of them may cost a verifier one
more draw."""
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class PoolRow(NamedTuple):
    """One active zipcode with its published data. Times are Unix microseconds: when the data was collected,
    and the start of the last epoch that assigned the zipcode, if any. `commitment` is the commitment to its
    real count."""

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
        """Return the row as a candidate. Raises ValueError and OverflowError."""
        assigned_at = self.last_assigned_at
        return Candidate(
            *self[:9],
            _UNIX_EPOCH + self.last_scraped_at * _MICROSECOND,
            None if assigned_at is None else _UNIX_EPOCH + assigned_at * _MICROSECOND,
        )


class ShownHoneypot(WireModel):
    """A honeypot that was drawn, with its real and its published listings. With `salt`, its commitment can be
    checked. If `discarded` is true, only a discarded draw contained it, and the epoch did not assign it."""

    zipcode: ZipcodeText
    real_listings: int = Field(ge=0, description="Real number of listings.", examples=[31])
    published_listings: int = Field(ge=0, description="Published number of listings.", examples=[810])
    salt: Sha256Hex = Field(description="Salt of the commitment to the real number.")
    discarded: bool = Field(
        description="Whether the honeypot was only in a discarded draw. If so, the epoch did not assign it."
    )


class ShownSignal(WireModel):
    """A signal that a miner's behaviour deserves a closer look. `kind` names the rule; `details` are its
    facts."""

    hotkey: HotkeyText
    kind: str = Field(description="Name of the rule that was met.", examples=["honeypot_hit"])
    details: dict[str, Any] = Field(description="Facts that met the rule.")
    computed_at: WireTime = Field(description="When the signal was computed, UTC.")


class PoolDetail(WireModel):
    """Everything about a pool except its rows. `inputs` is the text whose SHA-256 the previous message
    published. `relaxed_age_days` is the number of days by which the age limit was exceeded.
    `signals_left_out` is the number of signals that did not fit on this page; the epoch's results contain
    all."""

    inputs: str = Field(description="Inputs of the selection; the previous message published their SHA-256.")
    seed: Sha256Hex = Field(description="Seed of the epoch, hex.")
    relaxed_age_days: int = Field(
        ge=0,
        description="By how many days the age limit was relaxed because newer data was too scarce; usually "
        "0.",
    )
    relaxed_cooldown: tuple[ZipcodeText, ...] = Field(
        description="Zipcodes that took part during their cooldown, because there were too few others."
    )
    honeypots: tuple[ShownHoneypot, ...] = Field(
        max_length=MAX_DRAWN_HONEYPOTS, description="Honeypots (zipcodes with false counts) that were drawn."
    )
    signals: tuple[ShownSignal, ...] = Field(default=(), description="Signals about miners.")
    signals_left_out: int = Field(default=0, description="Number of signals that did not fit on this page.")


class EpochPoolRequest(WireModel):
    """Request one page of a pool; without `after`, the first page."""

    epoch_id: EpochId
    after: ZipcodeText | None = Field(
        default=None, description="The page starts after this zipcode; default: the first page."
    )


class EpochPoolReply(WireModel):
    """One page of a pool. Only the first page has `detail`. If there are more, `next_after` is the `after` of
    the next page."""

    success: Success = True
    epoch_id: EpochId
    detail: PoolDetail | None = Field(description="Everything except the rows; only on the first page.")
    candidates: Annotated[tuple[PoolRow, ...], FailFast()] = Field(
        description="Active zipcodes, each a list in this order."
    )
    next_after: ZipcodeText | None = Field(
        description="Pass it as `after` for the next page; null on the last."
    )

    def following(self, after: str | None) -> str | None:
        """Return the `after` of the next page, or None if this page is the last. `after` is that of this
        page.

        Raises ValueError unless the next page is later, so that a loop over pages ends."""
        following = self.next_after
        if following is not None and after is not None and following <= after:
            raise ValueError(f"nextAfter {following} does not lead to later zipcodes")
        return following


class EpochPool(WireModel):
    """The pool of one epoch, put together from all its pages."""

    detail: PoolDetail = Field(description="Everything except the rows.")
    candidates: tuple[PoolRow, ...] = Field(description="Active zipcodes, each a list in this order.")

    @classmethod
    def of(cls, pages: Iterable[EpochPoolReply]) -> "EpochPool":
        """Put the pages of a pool together. Raises ValueError if the first page is missing."""
        first, *others = pages
        if first.detail is None:
            raise ValueError("the first page of the pool is missing or has no detail")
        rows = [row for page in (first, *others) for row in page.candidates]
        return cls(detail=first.detail, candidates=tuple(rows))
