"""Simulates many epochs of selection, without a service and without a secret. Pure.

Time passes from epoch to epoch: cooldown counts, and data never grows old. The seeds are not those of any
real epoch: they come from a number, so that a run can be repeated.
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
    """`total_listings` is the published total, `true_total` that of the real counts; both are None where no
    subset of the pool fits: such an epoch assigns nothing."""

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
    """Figures of all simulated epochs. Shares are of assigned zipcodes; `coverage` is the share of the pool
    that was assigned at least once in all epochs, `early_coverage` in the first COVERAGE_DAYS; `mean_repeats`
    is of those that were assigned. An epoch is within tolerance if both its totals are."""

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
    """Yield one epoch after the other from the first that starts at or after `start_at`; with honeypots,
    unless `honeypots` is None. `candidates` have their real counts; `imports` replace all of them from those
    instants on. `watch` gets each choice in full."""
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
    """Return the figures of at least one epoch."""
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
    """The share of the pool that was assigned at least once, up to the end of each day from the first."""
    seen: set[str] = set()
    shares: dict[str, float] = {}
    for epoch in epochs:
        seen.update(_drawn(epoch))
        shares[epoch.epoch_id[:10]] = len(seen) / max(1, pool_size)
    return list(shares.values())


def _drawn(epoch: SimulatedEpoch) -> list[str]:
    """Simulate without honeypots, which could not be drawn with their real counts."""
    honeypots = {one.zipcode for one in epoch.honeypots}
    return [zipcode for zipcode in epoch.zipcodes if zipcode not in honeypots]


def _shares(counts: Iterable[dict[str, int]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return {name: total[name] / total.total() for name in sorted(total)}
