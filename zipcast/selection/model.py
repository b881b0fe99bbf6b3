"""Defines candidates, settings and results of a selection."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

_ZIPCODE = re.compile(r"[0-9]{5}")

_STATE = re.compile(r"[A-Z]{2}")

MAX_TARGET_LISTINGS = 1_000_000


class PoolTooSmallError(Exception):
    """No subset of the zipcodes fits the target, even with data of any age and without any cooldown."""


class MarketTier(StrEnum):
    """The activity of a zipcode's housing market; messages contain these values."""

    PREMIUM = "PREMIUM"
    STANDARD = "STANDARD"
    EMERGING = "EMERGING"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A zipcode that can be selected, with the data known when the epoch is prepared.

    `expected_listings` is at least 0. `population` is None if unknown. `base_weight` is a factor chosen by
    the operator, between 1e-6 and 1e6. `last_assigned_at` is the start of the last epoch that assigned the
    zipcode. Raises ValueError naming the field that breaks a rule.
    """

    zipcode: str
    state: str
    city: str
    county: str
    market_tier: MarketTier
    geographic_region: str
    expected_listings: int
    population: int | None
    base_weight: float
    last_scraped_at: datetime
    last_assigned_at: datetime | None

    def __post_init__(self) -> None:
        if not _ZIPCODE.fullmatch(self.zipcode):
            raise ValueError("zipcode must be five digits")
        if not _STATE.fullmatch(self.state):
            raise ValueError("state must be two capital letters")
        if self.expected_listings < 0 or (self.population or 0) < 0:
            raise ValueError("expected_listings and population must be at least 0")
        if not 1e-6 <= self.base_weight <= 1e6:
            raise ValueError("base_weight must be between 1e-6 and 1e6")
        if None in (self.last_scraped_at.tzinfo, (self.last_assigned_at or self.last_scraped_at).tzinfo):
            raise ValueError("last_scraped_at and last_assigned_at must have a time zone")


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """The operator's settings of a selection. Raises ValueError naming the field and its rule.

    `selection_randomness` ranges from 0 (by weight) to 1 (uniform). `geographic_spread_factor` ranges from 0
    (a state's share is proportional to 1 / priority) to 1 (all states have the same share). States without a
    priority are never assigned. With `strict_priorities`, a state is used only after states with smaller
    priority numbers have no zipcode left that fits."""

    target_listings: int = 10_000
    tolerance_percent: int = 10
    min_zipcode_listings: int = 200
    max_zipcode_listings: int = 3_000
    cooldown: timedelta = timedelta(hours=24)
    max_data_age: timedelta = timedelta(days=30)
    state_priorities: tuple[tuple[str, int], ...] = (("PA", 1), ("NJ", 2), ("NY", 3), ("DE", 4), ("MD", 5))
    tier_weights: tuple[tuple[MarketTier, float], ...] = (
        (MarketTier.PREMIUM, 1.5),
        (MarketTier.STANDARD, 1.0),
        (MarketTier.EMERGING, 0.8),
    )
    selection_randomness: float = 0.25
    geographic_spread_factor: float = 0.15
    strict_priorities: bool = False

    def __post_init__(self) -> None:
        for name, rule, holds in self._rules():
            if not holds:
                raise ValueError(f"{name} must {rule}")

    def _rules(self) -> Iterable[tuple[str, str, bool]]:
        in_range = 1 <= self.target_listings <= MAX_TARGET_LISTINGS
        yield "target_listings", f"be 1 to {MAX_TARGET_LISTINGS}", in_range
        yield "tolerance_percent", "be between 0 and 99", 0 <= self.tolerance_percent <= 99
        # The minimum is 2: a zipcode with a single listing and no population would have weight 0, because ln
        # 1 = 0.
        at_most_max = 2 <= self.min_zipcode_listings <= self.max_zipcode_listings
        yield "min_zipcode_listings", "be between 2 and max_zipcode_listings", at_most_max
        yield "cooldown", "not be negative", self.cooldown >= timedelta(0)
        yield "max_data_age", "be longer than 0", self.max_data_age > timedelta(0)
        states = [state for state, priority in self.state_priorities if priority >= 1]
        distinct = 0 < len(set(filter(_STATE.fullmatch, states))) == len(self.state_priorities)
        yield "state_priorities", "give distinct states of two capital letters priorities from 1", distinct
        tiers = sorted(tier for tier, weight in self.tier_weights if 1e-6 <= weight <= 1e6)
        complete = tiers == sorted(MarketTier) and len(self.tier_weights) == len(tiers)
        yield "tier_weights", "give each tier one weight between 1e-6 and 1e6", complete
        yield "selection_randomness", "be between 0 and 1", 0 <= self.selection_randomness <= 1
        yield "geographic_spread_factor", "be between 0 and 1", 0 <= self.geographic_spread_factor <= 1

    @property
    def lowest_total(self) -> int:
        """Return the smallest total of listings within tolerance, rounded up to a whole listing."""
        return tolerance_band(self.target_listings, self.tolerance_percent)[0]

    @property
    def highest_total(self) -> int:
        """Return the largest total of listings within tolerance, rounded down to a whole listing."""
        return tolerance_band(self.target_listings, self.tolerance_percent)[1]

    @property
    def most_false_listings(self) -> int:
        """Return the largest count with which a honeypot may be published. Then the total can be within
        tolerance both with the honeypot and without it, and there is still room for a zipcode of minimum
        size, so that nearly every total can be reached."""
        return self.highest_total - self.lowest_total - self.min_zipcode_listings

    def may_be_drawn(self, candidate: Candidate) -> bool:
        """Return whether the candidate's state and listings allow drawing it, apart from age and cooldown."""
        return (
            self.min_zipcode_listings <= candidate.expected_listings <= self.max_zipcode_listings
            and candidate.state in dict(self.state_priorities)
        )


def tolerance_band(target_listings: int, tolerance_percent: int) -> tuple[int, int]:
    """Return the smallest and the largest total within tolerance, in whole listings."""
    lowest = -(-target_listings * (100 - tolerance_percent) // 100)
    return lowest, target_listings * (100 + tolerance_percent) // 100


@dataclass(frozen=True, slots=True)
class Selection:
    """The zipcodes of one epoch, in the order in which they were drawn.

    `relaxed_age_days` is the number of days by which the age limit was relaxed, usually 0. `relaxed_cooldown`
    lists the zipcodes that were admitted to the pool during their cooldown, drawn or not. `pool` has all
    zipcodes that took part in the draw. Both are sorted by zipcode.
    """

    zipcodes: tuple[Candidate, ...]
    total_listings: int
    relaxed_age_days: int
    relaxed_cooldown: tuple[str, ...]
    pool: tuple[Candidate, ...]
