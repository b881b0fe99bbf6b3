"""What selecting the zipcodes of an epoch costs: `python -m bench.selection`.

Every figure comes with the time of one sort of the same number of pairs in the same run,
so that runs on different machines compare. Synthetic candidates, the size of all United
States zipcodes; each case prints its best of five and the peak of traced memory.
"""

import hashlib
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from zipcast.selection import Candidate, MarketTier, SelectionSettings, select

CANDIDATES = 42_000
SEED = bytes(range(32))
START_AT = datetime(2026, 11, 22, 4, tzinfo=UTC)
STATES = ("PA", "NJ", "NY", "DE", "MD")


def synthetic(number: int, listings: int, last_assigned_at: datetime | None = None) -> Candidate:
    return Candidate(
        zipcode=f"{number:05d}",
        state=STATES[number % 5],
        city="Springfield",
        county="Example",
        market_tier=tuple(MarketTier)[number % 3],
        geographic_region="Northeast",
        expected_listings=listings,
        population=number * 7 % 60_000,
        base_weight=1.0,
        last_scraped_at=START_AT - timedelta(days=1),
        last_assigned_at=last_assigned_at,
    )


def ordinary() -> tuple[list[Candidate], SelectionSettings]:
    """Everything eligible: the greedy walk lands within tolerance."""
    return [synthetic(n, 200 + n * 37 % 2_800) for n in range(CANDIDATES)], SelectionSettings()


def looking_ahead() -> tuple[list[Candidate], SelectionSettings]:
    """No tolerance, and one odd zipcode that an odd target cannot do without."""
    candidates = [synthetic(n, 200 + n * 37 % 1_400 * 2 + (n == 1)) for n in range(CANDIDATES)]
    return candidates, SelectionSettings(target_listings=10_001, tolerance_percent=0)


def all_cooling() -> tuple[list[Candidate], SelectionSettings]:
    """Each zipcode in cooldown for a while of its own, and no fit before the last is back."""
    candidates = [
        synthetic(n, 200 + n * 37 % 1_400 * 2 + (n == 0), START_AT - timedelta(seconds=n))
        for n in range(CANDIDATES)
    ]
    return candidates, SelectionSettings(target_listings=10_001, tolerance_percent=0)


def milliseconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best * 1000


def peak_megabytes(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def main() -> None:
    pairs = [(hashlib.sha256(b"%d" % n).digest(), f"{n:05d}") for n in range(CANDIDATES)]
    sort = milliseconds(lambda: sorted(pairs))
    print(f"sort of {CANDIDATES:,} pairs: {sort:.0f} ms")
    for case in (ordinary, looking_ahead, all_cooling):
        candidates, settings = case()

        def work(candidates: list[Candidate] = candidates, settings: SelectionSettings = settings) -> object:
            return select(candidates, settings, SEED, START_AT)

        spent = milliseconds(work)
        print(
            f"{case.__name__}: {spent:.0f} ms, {spent / sort:.1f} sorts, peak {peak_megabytes(work):.0f} MB"
        )


if __name__ == "__main__":
    main()
