"""Which zipcodes an epoch assigns: a pure function of candidates, settings, draw key and start.

Owns: eligibility, relaxation, and what differs between versions of the rules. Does not own: weights and the
draw (ranking.py), fitting them to the target (fitting.py), where candidates come from, how the draw key is
derived or committed to (fairness.py), honeypots, or the clock. The rules are those of docs/protocol.md,
"Selection": any language can replay them, so every number here is part of the protocol.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from itertools import chain
from operator import attrgetter

from zipcast import fitting
from zipcast.calendar import as_utc
from zipcast.ranking import rank

_ZIPCODE = re.compile(r"[0-9]{5}")
_STATE = re.compile(r"[A-Z]{2}")


class PoolTooSmallError(Exception):
    """No subset of the eligible zipcodes meets the target, even with every cooldown relaxed."""


class Version(IntEnum):
    """N of `zipcast-selection/N`: what past epochs were chosen by stays as it was."""

    BY_CHANCE = 1
    WITH_DECOYS = 2
    BY_SHARES = 3


NEWEST = Version.BY_SHARES


class MarketTier(StrEnum):
    """How active a zipcode's housing market is; the values are those of the wire."""

    PREMIUM = "PREMIUM"
    STANDARD = "STANDARD"
    EMERGING = "EMERGING"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A zipcode that may be assigned, as known when the epoch is prepared.

    `expected_listings` is at least 0; `population` is None where unknown; `base_weight`,
    between 1e-6 and 1e6, is the operator's own factor. `last_assigned_at` is the start of
    the last epoch that assigned the zipcode. ValueError names the field that breaks a rule.
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
    """What the operator decides. ValueError names the field and its rule.

    `selection_randomness` runs from 0 (by weight) to 1 (uniform), `geographic_spread_factor`
    from 0 (off) to 1 (every state as likely as any other to begin with). States without a
    priority are never assigned; priority 1 weighs most.
    """

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

    def __post_init__(self) -> None:
        for field, rule, holds in self._rules():
            if not holds:
                raise ValueError(f"{field} must {rule}")

    def _rules(self) -> Iterable[tuple[str, str, bool]]:
        yield "target_listings", "be at least 1", self.target_listings >= 1
        yield "tolerance_percent", "be between 0 and 99", 0 <= self.tolerance_percent <= 99
        # ln 1 = 0: a single listing without population would weigh nothing
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
        """The least total of listings within tolerance, rounded up to a whole listing."""
        return tolerance_band(self.target_listings, self.tolerance_percent)[0]

    @property
    def highest_total(self) -> int:
        """The greatest total of listings within tolerance, rounded down to a whole listing."""
        return tolerance_band(self.target_listings, self.tolerance_percent)[1]


def tolerance_band(target_listings: int, tolerance_percent: int) -> tuple[int, int]:
    """The least and the greatest total within tolerance, in whole listings."""
    lowest = -(-target_listings * (100 - tolerance_percent) // 100)
    return lowest, target_listings * (100 + tolerance_percent) // 100


@dataclass(frozen=True, slots=True)
class Selection:
    """The zipcodes of one epoch, in the order in which they were drawn.

    `relaxed_cooldown` lists the zipcodes let back into the pool before their cooldown was over,
    chosen or not; `pool` is all that took part in the draw; both are sorted by zipcode.
    """

    zipcodes: tuple[Candidate, ...]
    total_listings: int
    relaxed_cooldown: tuple[str, ...]
    pool: tuple[Candidate, ...]


def select(
    candidates: Iterable[Candidate],
    settings: SelectionSettings,
    draw_key: bytes,
    start_at: datetime,
    *,
    version: Version = NEWEST,
    hiding: bool = False,
) -> Selection:
    """Select the zipcodes of the epoch that starts at `start_at`, the same for any input order.

    If any subset of the eligible zipcodes adds up to a total within tolerance, the result
    does. If none does, zipcodes still in cooldown are let back, oldest assignment first.
    `hiding`: so that any of the chosen could be a decoy (honeypots.py). From version BY_SHARES on, zipcodes
    with more listings than the tolerance is wide are left out if anything fits without them.
    PoolTooSmallError if that does not help either; ValueError for a draw key that is not 32
    bytes, a naive `start_at`, or a zipcode given twice.
    """
    eligible, cooling = _eligible(candidates, settings, as_utc(start_at))
    relaxed: list[Candidate] = []
    pool = sparable(eligible, settings) if hiding and version >= Version.BY_SHARES else eligible
    chosen = draw(pool, settings, draw_key, version=version, hiding=hiding)
    if not chosen and len(pool) < len(eligible):
        pool = eligible
        chosen = draw(pool, settings, draw_key, version=version, hiding=hiding)
    if not chosen:
        relaxed = _relaxed(pool, cooling, settings)
        pool = [*pool, *relaxed]
        chosen = draw(pool, settings, draw_key, version=version, hiding=hiding)
    return Selection(
        zipcodes=chosen,
        total_listings=sum(candidate.expected_listings for candidate in chosen),
        relaxed_cooldown=tuple(sorted(candidate.zipcode for candidate in relaxed)),
        pool=tuple(sorted(pool, key=attrgetter("zipcode"))),
    )


def draw(
    pool: Sequence[Candidate],
    settings: SelectionSettings,
    draw_key: bytes,
    *,
    version: Version = NEWEST,
    hiding: bool = False,
) -> tuple[Candidate, ...]:
    """The zipcodes drawn from a pool of distinct eligible ones, as they were drawn: what a validator replays.

    Empty if none of its subsets totals within tolerance. ValueError unless the draw key has 32 bytes.
    """
    ranking = rank(pool, settings, draw_key)
    if sum(candidate.expected_listings for candidate in pool) < settings.lowest_total:
        return ()
    with_room = hiding and version >= Version.WITH_DECOYS
    if version < Version.BY_SHARES:
        return fitting.by_rank(ranking.ranked, settings, with_room=with_room)
    return fitting.by_turns(ranking, settings, with_room=with_room)


def sparable(eligible: Sequence[Candidate], settings: SelectionSettings) -> list[Candidate]:
    """Those without which a total within tolerance may still be within tolerance."""
    width = settings.highest_total - settings.lowest_total
    return [candidate for candidate in eligible if candidate.expected_listings <= width]


def _eligible(
    candidates: Iterable[Candidate], settings: SelectionSettings, start_at: datetime
) -> tuple[list[Candidate], dict[datetime, list[Candidate]]]:
    """What may be assigned now; and what is still in cooldown, by the UTC instant it was assigned."""
    candidates = tuple(candidates)
    if len({candidate.zipcode for candidate in candidates}) < len(candidates):
        raise ValueError("candidates must not name a zipcode twice")
    states = {state for state, _ in settings.state_priorities}
    listings = range(settings.min_zipcode_listings, settings.max_zipcode_listings + 1)
    cooled: list[Candidate] = []
    cooling: dict[datetime, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        fresh = start_at - candidate.last_scraped_at <= settings.max_data_age
        if not fresh or candidate.state not in states or candidate.expected_listings not in listings:
            continue
        last = candidate.last_assigned_at
        if last is None or start_at - last >= settings.cooldown:
            cooled.append(candidate)
        else:
            cooling[as_utc(last)].append(candidate)
    return cooled, cooling


def _relaxed(
    cooled: Sequence[Candidate], cooling: dict[datetime, list[Candidate]], settings: SelectionSettings
) -> list[Candidate]:
    """The fewest epochs' worth of cooling zipcodes, oldest first, with which some subset fits."""
    relaxed: list[Candidate] = []
    listings = sum(one.expected_listings for one in (*cooled, *chain.from_iterable(cooling.values())))
    if listings < settings.lowest_total:
        raise _too_small(cooled, sum(map(len, cooling.values())), listings, settings)
    totals = fitting.completable(fitting.band(settings), cooled)
    for assigned_at in sorted(cooling):
        relaxed += cooling[assigned_at]
        totals = fitting.completable(totals, cooling[assigned_at])
        if totals & 1:
            return relaxed
    raise _too_small(cooled, len(relaxed), listings, settings)


def _too_small(
    cooled: Sequence[Candidate], relaxed: int, listings: int, settings: SelectionSettings
) -> PoolTooSmallError:
    return PoolTooSmallError(
        f"{len(cooled)} eligible zipcodes and {relaxed} in cooldown, {listings} listings in all, "
        f"have no subset of {settings.lowest_total} to {settings.highest_total} listings"
    )
