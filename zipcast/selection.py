"""Selects the zipcodes of an epoch. Pure: the result depends only on candidates, settings, draw key and
start.

This module decides which zipcodes are eligible, and which rules are relaxed if the pool cannot fill an epoch.
ranking.py has the weights and the draw, fitting.py fits the total to the target, fairness.py derives the draw
key, and honeypots.py handles honeypots. The rules are in docs/protocol.md, "Selection". They can be
implemented in any language, so every number here is part of the protocol.
"""

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain
from operator import attrgetter

from zipcast import fitting
from zipcast.calendar import as_utc
from zipcast.ranking import rank

_ZIPCODE = re.compile(r"[0-9]{5}")
_STATE = re.compile(r"[A-Z]{2}")


DAY = timedelta(days=1)
# If old data is admitted, the pool must have this many times the target, so that the choice stays
# unpredictable.
RELAXED_POOL_TARGETS = 3
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
        # A single listing without population would have weight 0, because ln 1 = 0.
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
        """Return the largest published count of a honeypot. The total can be within tolerance both with and
        without this count, and there is still room for one more zipcode of minimum size, so that nearly every
        total can be reached."""
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

    `relaxed_age_days` is by how many days the age limit was relaxed, usually 0. `relaxed_cooldown` lists the
    zipcodes that were admitted to the pool during their cooldown, drawn or not. `pool` has all zipcodes that
    took part in the draw. Both are sorted by zipcode.
    """

    zipcodes: tuple[Candidate, ...]
    total_listings: int
    relaxed_age_days: int
    relaxed_cooldown: tuple[str, ...]
    pool: tuple[Candidate, ...]


def select(
    candidates: Iterable[Candidate],
    settings: SelectionSettings,
    draw_key: bytes,
    start_at: datetime,
    *,
    honeypots: Container[str] | None = None,
) -> Selection:
    """Select the zipcodes of the epoch that starts at `start_at`. The result does not depend on the input
    order.

    If any subset of the eligible zipcodes has a total within tolerance, the result has one too. If none has,
    the age limit is relaxed by whole days; then zipcodes in cooldown are admitted, first those assigned
    longest ago. `honeypots` are the candidates with false counts, or None if the epoch must have none. If it
    is not None, zipcodes with more listings than a honeypot may have are excluded, unless nothing fits
    without them.

    Raises PoolTooSmallError if no subset of all zipcodes fits, and ValueError for a draw key that does not
    have 32 bytes, a naive `start_at`, or a zipcode given twice.
    """
    found = _sorted_out(candidates, settings, as_utc(start_at))
    age_days, relaxed = 0, list[Candidate]()
    pool = found.rested if honeypots is None else hideable(found.rested, settings)
    chosen = draw(pool, settings, draw_key, honeypots=honeypots)
    if not chosen and len(pool) < len(found.rested):
        pool = found.rested
        chosen = draw(pool, settings, draw_key, honeypots=honeypots)
    if not chosen:
        pool, age_days, relaxed = _relaxed(found, settings)
        chosen = draw(pool, settings, draw_key, honeypots=honeypots)
    return Selection(
        zipcodes=chosen,
        total_listings=_listings(chosen),
        relaxed_age_days=age_days,
        relaxed_cooldown=tuple(sorted(candidate.zipcode for candidate in relaxed)),
        pool=tuple(sorted(pool, key=attrgetter("zipcode"))),
    )


def draw(
    pool: Sequence[Candidate],
    settings: SelectionSettings,
    draw_key: bytes,
    *,
    honeypots: Container[str] | None = None,
) -> tuple[Candidate, ...]:
    """Return the zipcodes drawn from a pool of distinct eligible zipcodes, in the order of the draw.

    The result is empty if no subset has a total within tolerance. Raises ValueError unless the draw key has
    32 bytes.
    """
    ranking = rank(pool, settings, draw_key)
    if _listings(pool) < settings.lowest_total:
        return ()
    return fitting.by_turns(ranking, settings, honeypots)


def hideable(eligible: Sequence[Candidate], settings: SelectionSettings) -> list[Candidate]:
    """Return the zipcodes that have no more listings than a honeypot may have."""
    return [
        candidate for candidate in eligible if candidate.expected_listings <= settings.most_false_listings
    ]


def days_too_old(candidate: Candidate, settings: SelectionSettings, at: datetime) -> int:
    """Return by how many days, rounded up, the candidate's data is older than allowed. If it is not, the
    result is 0 or less."""
    return -((settings.max_data_age - (at - candidate.last_scraped_at)) // DAY)


@dataclass(frozen=True, slots=True)
class _SortedOut:
    """The candidates that can be drawn by state and listings, in three groups. `rested` are not in cooldown
    and have new data. `old` are not in cooldown but have old data; they are grouped by how many days it is
    too old. `cooling` are in cooldown, with data of any age, grouped by the UTC instant of their
    assignment."""

    rested: list[Candidate] = field(default_factory=list)
    old: dict[int, list[Candidate]] = field(default_factory=lambda: defaultdict(list))
    cooling: dict[datetime, list[Candidate]] = field(default_factory=lambda: defaultdict(list))


def _sorted_out(
    candidates: Iterable[Candidate], settings: SelectionSettings, start_at: datetime
) -> _SortedOut:
    candidates = tuple(candidates)
    if len({candidate.zipcode for candidate in candidates}) < len(candidates):
        raise ValueError("candidates must not name a zipcode twice")
    states = {state for state, _ in settings.state_priorities}
    listings = range(settings.min_zipcode_listings, settings.max_zipcode_listings + 1)
    found = _SortedOut()
    for candidate in candidates:
        if candidate.state not in states or candidate.expected_listings not in listings:
            continue
        last = candidate.last_assigned_at
        if last is not None and start_at - last < settings.cooldown:
            found.cooling[as_utc(last)].append(candidate)
        elif start_at - candidate.last_scraped_at <= settings.max_data_age:
            found.rested.append(candidate)
        else:
            found.old[days_too_old(candidate, settings, start_at)].append(candidate)
    return found


def _relaxed(found: _SortedOut, settings: SelectionSettings) -> tuple[list[Candidate], int, list[Candidate]]:
    """Return the pool that fills the epoch, by how many days its age limit was relaxed, and its zipcodes that
    are still in cooldown. The age limit is relaxed first; the cooldown only if data of any age is not
    enough."""
    pool = list(found.rested)
    relaxed: list[Candidate] = []
    totals = fitting.completable(fitting.band(settings), pool)
    enough = RELAXED_POOL_TARGETS * settings.target_listings
    age_days = 0
    for days in sorted(found.old):
        pool += found.old[days]
        totals = fitting.completable(totals, found.old[days])
        age_days = days
        if totals & 1 and _listings(pool) >= enough:
            break
    for assigned_at in sorted(found.cooling):
        if totals & 1:
            break
        relaxed += found.cooling[assigned_at]
        totals = fitting.completable(totals, found.cooling[assigned_at])
    if not totals & 1:
        raise _too_small(found, settings)
    return [*pool, *relaxed], age_days, relaxed


def _too_small(found: _SortedOut, settings: SelectionSettings) -> PoolTooSmallError:
    by_kind = {
        "fresh": found.rested,
        "too old": list(chain.from_iterable(found.old.values())),
        "in cooldown": list(chain.from_iterable(found.cooling.values())),
    }
    counts = ", ".join(f"{len(kind)} {name}" for name, kind in by_kind.items())
    total = sum(map(_listings, by_kind.values()))
    return PoolTooSmallError(
        f"no subset of the zipcodes has {settings.lowest_total} to {settings.highest_total} listings: "
        f"{counts}, {total} listings in all. Import more zipcodes, or lower the target"
    )


def _listings(candidates: Iterable[Candidate]) -> int:
    return sum(candidate.expected_listings for candidate in candidates)
