"""Measures the selection of an epoch's zipcodes: `python -m bench.selection`.

Every time is compared with that of one sort of the same number of pairs, so that runs on different machines
can be compared. There are as many synthetic candidates as zipcodes in the United States. Each case prints the
best of nine runs (time and processor time) and the peak of memory besides the candidates. The aim is at most
250 ms and 100 MB.
"""

import hashlib
import resource
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.figures import Figure, print_figures
from zipcast.selection.model import Candidate, MarketTier, SelectionSettings
from zipcast.selection.select import select

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
    """Return a case in which all zipcodes are eligible and taking turns ends within tolerance."""
    return [synthetic(n, 200 + n * 37 % 2_800) for n in range(CANDIDATES)], SelectionSettings()


def looking_ahead() -> tuple[list[Candidate], SelectionSettings]:
    """Return a case without tolerance, in which an odd target needs the only zipcode with an odd count."""
    candidates = [synthetic(n, 200 + n * 37 % 1_400 * 2 + (n == 1)) for n in range(CANDIDATES)]
    return candidates, SelectionSettings(target_listings=10_001, tolerance_percent=0)


def all_cooling() -> tuple[list[Candidate], SelectionSettings]:
    """Return a case in which all zipcodes are in cooldown for different times, and all are needed."""
    candidates = [
        synthetic(n, 200 + n * 37 % 1_400 * 2 + (n == 0), START_AT - timedelta(seconds=n))
        for n in range(CANDIDATES)
    ]
    return candidates, SelectionSettings(target_listings=10_001, tolerance_percent=0)


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of time, and of processor time, which depends less on other load of the machine."""

    wall: float
    cpu: float


def cost(work: Callable[[], object]) -> Cost:
    walls, cpus = [], []
    for _ in range(9):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Cost(min(walls) * 1000, min(cpus) * 1000)


def peak_megabytes(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def main() -> None:
    pairs = [(hashlib.sha256(b"%d" % n).digest(), f"{n:05d}") for n in range(CANDIDATES)]
    sort = cost(lambda: sorted(pairs))
    print(f"sort of {CANDIDATES:,} pairs: {sort.wall:.0f} ms, CPU {sort.cpu:.0f} ms")
    figures = []
    for case in (ordinary, looking_ahead, all_cooling):
        candidates, settings = case()

        def work(candidates: list[Candidate] = candidates, settings: SelectionSettings = settings) -> object:
            return select(candidates, settings, SEED, START_AT)

        spent, peak, name = cost(work), peak_megabytes(work), case.__name__.replace("_", " ")
        print(
            f"{name}: {spent.wall:.0f} ms, CPU {spent.cpu:.0f} ms, {spent.cpu / sort.cpu:.1f} sorts, "
            f"peak {peak:.0f} MB"
        )
        figures += [
            Figure(f"{name}, CPU", spent.cpu, "ms", 250),
            Figure(f"{name}, CPU compared with one sort", spent.cpu / sort.cpu, "times"),
            Figure(f"{name}, peak of memory", peak, "MB", 100),
        ]
    print(f"whole process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")
    print_figures(figures)


if __name__ == "__main__":
    main()
