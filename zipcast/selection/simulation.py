"""Simulates the selection of many epochs, without a service and without a secret. Pure.

Time passes from epoch to epoch, so the cooldown applies, but data never becomes old. Seeds are derived from a
number, so that a run can be repeated; they are not those of any real epoch.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain

from zipcast.protocol.calendar import EpochCalendar
from zipcast.selection.false_counts import publish
from zipcast.selection.honeypots import Choice, Honeypot, HoneypotSettings, choose
from zipcast.selection.model import Candidate, PoolTooSmallError, SelectionSettings

FOR_EVER = timedelta(days=365_000)
COVERAGE_DAYS = 30


@dataclass(frozen=True, slots=True)
class SimulatedEpoch:
    """One simulated epoch. `total_listings` is the published total, `true_total` the total of the real
    counts. Both are None if no subset of the pool fits, so that the epoch assigns nothing."""

    epoch_id: str
    total_listings: int | None
    zipcodes: tuple[str, ...]
    by_state: dict[str, int]
    by_tier: dict[str, int]
    relaxed: int
    true_total: int | None = None
    honeypots: tuple[Honeypot, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """Statistics of all simulated epochs. Shares are of the assigned zipcodes. `coverage` is the share of the
    pool that was assigned at least once, and `early_coverage` is the same share after the first
    COVERAGE_DAYS. `mean_repeats` is the mean over zipcodes that were assigned. An epoch is within tolerance
    if both its totals are."""

    epochs: int
    within_tolerance: int
    infeasible: int
    relaxed: int
    mean_total: float
    least_total: int | None
    greatest_total: int | None
    shares_by_state: dict[str, float]
    shares_by_tier: dict[str, float]
    coverage: float
    early_coverage: float
    mean_repeats: float
    most_repeated: int
    with_honeypots: int = 0


def simulate(
    candidates: Sequence[Candidate],
    settings: SelectionSettings,
    calendar: EpochCalendar,
    *,
    start_at: datetime,
    epochs: int,
    seed: int,
    honeypots: HoneypotSettings | None = None,
    imports: Mapping[datetime, Sequence[Candidate]] | None = None,
    watch: Callable[[Choice], None] = lambda _: None,
) -> Iterator[SimulatedEpoch]:
    """Yield epochs in order, from the first that starts at or after `start_at`. They have honeypots unless
    `honeypots` is None. `candidates` have their real counts. Each of `imports` replaces all candidates from
    its instant on. `watch` is called with each complete choice."""
    rules = replace(settings, max_data_age=FOR_EVER)
    hidden = honeypots or HoneypotSettings(probability=0)
    coming = sorted((imports or {}).items())
    assigned: dict[str, datetime] = {}
    published = publish(candidates, None, rules, hidden, _digest(seed, "import:0"))
    pool = {one.zipcode: one for one in published.candidates}
    interval = calendar.first_from(start_at)
    for number in range(epochs):
        start = interval.start_at
        while coming and coming[0][0] <= start:
            published = publish(coming.pop(0)[1], published, rules, hidden, _digest(seed, f"import:{number}"))
            pool = {
                one.zipcode: replace(one, last_assigned_at=assigned.get(one.zipcode))
                for one in published.candidates
            }
        key = _digest(seed, interval.epoch_id)
        try:
            choice = choose(
                pool.values(), published.real_listings, rules, key, start, probability=hidden.probability
            )
        except PoolTooSmallError:
            yield SimulatedEpoch(interval.epoch_id, None, (), {}, {}, 0)
        else:
            watch(choice)
            yield _simulated(interval.epoch_id, choice)
            for chosen in choice.zipcodes:
                assigned[chosen.zipcode] = start
                pool[chosen.zipcode] = replace(chosen, last_assigned_at=start)
        interval = calendar.after(interval)


def _digest(seed: int, label: str) -> bytes:
    return hashlib.sha256(f"simulate:{seed}:{label}".encode()).digest()


def _simulated(epoch_id: str, choice: Choice) -> SimulatedEpoch:
    return SimulatedEpoch(
        epoch_id=epoch_id,
        total_listings=choice.published_total,
        zipcodes=tuple(chosen.zipcode for chosen in choice.zipcodes),
        by_state=_counted(chosen.state for chosen in choice.zipcodes),
        by_tier=_counted(str(chosen.market_tier) for chosen in choice.zipcodes),
        relaxed=len(choice.selection.relaxed_cooldown),
        true_total=choice.true_total,
        honeypots=choice.honeypots,
    )


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def summarise(epochs: Sequence[SimulatedEpoch], settings: SelectionSettings, pool_size: int) -> Summary:
    """Return the statistics of the epochs, of which there must be at least one."""
    totals = [epoch.total_listings for epoch in epochs if epoch.total_listings is not None]
    band = range(settings.lowest_total, settings.highest_total + 1)
    repeats = Counter(chain.from_iterable(map(_drawn, epochs)))
    return Summary(
        epochs=len(epochs),
        within_tolerance=sum(epoch.total_listings in band and epoch.true_total in band for epoch in epochs),
        infeasible=len(epochs) - len(totals),
        relaxed=sum(epoch.relaxed > 0 for epoch in epochs),
        mean_total=sum(totals) / max(1, len(totals)),
        least_total=min(totals, default=None),
        greatest_total=max(totals, default=None),
        shares_by_state=_shares(epoch.by_state for epoch in epochs),
        shares_by_tier=_shares(epoch.by_tier for epoch in epochs),
        coverage=len(repeats) / max(1, pool_size),
        early_coverage=([0.0, *coverage_by_day(epochs, pool_size)[:COVERAGE_DAYS]])[-1],
        mean_repeats=repeats.total() / max(1, len(repeats)),
        most_repeated=max(repeats.values(), default=0),
        with_honeypots=sum(bool(epoch.honeypots) for epoch in epochs),
    )


def coverage_by_day(epochs: Iterable[SimulatedEpoch], pool_size: int) -> list[float]:
    """Return for each day the share of the pool that was assigned at least once by the end of the day."""
    seen: set[str] = set()
    shares: dict[str, float] = {}
    for epoch in epochs:
        seen.update(_drawn(epoch))
        shares[epoch.epoch_id[:10]] = len(seen) / max(1, pool_size)
    return list(shares.values())


def _drawn(epoch: SimulatedEpoch) -> list[str]:
    """Return the drawn zipcodes without honeypots, which could not be drawn with their real counts."""
    honeypots = {one.zipcode for one in epoch.honeypots}
    return [zipcode for zipcode in epoch.zipcodes if zipcode not in honeypots]


def _shares(counts: Iterable[dict[str, int]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return {name: total[name] / total.total() for name in sorted(total)}
