"""Decides which candidates are eligible for an epoch, and relaxes the rules if there are too few."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain

from zipcast.protocol.calendar import as_utc
from zipcast.selection import fitting
from zipcast.selection.model import Candidate, PoolTooSmallError, SelectionSettings

DAY = timedelta(days=1)

# Old data is admitted until the listings of the pool are this many times the target, so that the choice stays
# unpredictable.
RELAXED_POOL_TARGETS = 3


def hideable(eligible: Sequence[Candidate], settings: SelectionSettings) -> list[Candidate]:
    """Return the zipcodes that have no more listings than a honeypot may have."""
    most = settings.most_false_listings
    return [candidate for candidate in eligible if candidate.expected_listings <= most]


def days_too_old(candidate: Candidate, settings: SelectionSettings, at: datetime) -> int:
    """Return by how many days, rounded up, the candidate's data is older than allowed. If it is not, the
    result is 0 or less."""
    return -((settings.max_data_age - (at - candidate.last_scraped_at)) // DAY)


@dataclass(frozen=True, slots=True)
class SortedCandidates:
    """The candidates that can be drawn by state and listings, in three groups. `rested` are not in cooldown
    and have new data. `old` are not in cooldown but have old data; they are grouped by how many days it is
    too old. `cooling` are in cooldown, with data of any age, grouped by the UTC instant of their
    assignment."""

    rested: list[Candidate] = field(default_factory=list)
    old: dict[int, list[Candidate]] = field(default_factory=lambda: defaultdict(list))
    cooling: dict[datetime, list[Candidate]] = field(default_factory=lambda: defaultdict(list))


def sort_candidates(
    candidates: Iterable[Candidate], settings: SelectionSettings, start_at: datetime
) -> SortedCandidates:
    """Sort the candidates that may be drawn into the groups of SortedCandidates; leave out the others. Raises
    ValueError if a zipcode occurs twice."""
    candidates = tuple(candidates)
    if len({candidate.zipcode for candidate in candidates}) < len(candidates):
        raise ValueError("candidates must not name a zipcode twice")
    states = {state for state, _ in settings.state_priorities}
    listings = range(settings.min_zipcode_listings, settings.max_zipcode_listings + 1)
    found = SortedCandidates()
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


def relax(
    found: SortedCandidates, settings: SelectionSettings
) -> tuple[list[Candidate], int, list[Candidate]]:
    """Return the pool that fills the epoch, the number of days by which its age limit was relaxed, and its
    zipcodes that are still in cooldown. The age limit is relaxed first; the cooldown only if data of any age
    is not enough."""
    pool = list(found.rested)
    relaxed: list[Candidate] = []
    totals = fitting.completable(fitting.band(settings), pool)
    enough = RELAXED_POOL_TARGETS * settings.target_listings
    age_days = 0
    for days in sorted(found.old):
        pool += found.old[days]
        totals = fitting.completable(totals, found.old[days])
        age_days = days
        if totals & 1 and total_listings(pool) >= enough:
            break
    for assigned_at in sorted(found.cooling):
        if totals & 1:
            break
        relaxed += found.cooling[assigned_at]
        totals = fitting.completable(totals, found.cooling[assigned_at])
    if not totals & 1:
        raise _too_small(found, settings)
    return [*pool, *relaxed], age_days, relaxed


def _too_small(found: SortedCandidates, settings: SelectionSettings) -> PoolTooSmallError:
    by_kind = {
        "fresh": found.rested,
        "too old": list(chain.from_iterable(found.old.values())),
        "in cooldown": list(chain.from_iterable(found.cooling.values())),
    }
    counts = ", ".join(f"{len(kind)} {name}" for name, kind in by_kind.items())
    total = sum(map(total_listings, by_kind.values()))
    return PoolTooSmallError(
        f"no subset of the zipcodes has {settings.lowest_total} to {settings.highest_total} listings: "
        f"{counts}, {total} listings in all. Import more zipcodes, or lower the target"
    )


def total_listings(candidates: Iterable[Candidate]) -> int:
    return sum(candidate.expected_listings for candidate in candidates)
