"""One picture of simulated epochs: totals against the band, states, tiers, repeats, coverage."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zipcast.selection import SelectionSettings
from zipcast.simulation import SimulatedEpoch


def draw(path: Path, epochs: Sequence[SimulatedEpoch], settings: SelectionSettings) -> None:
    """Raises OSError, and ValueError for a suffix that is no picture."""
    figure = Figure(figsize=(12, 9), layout="constrained")
    (totals, states), (tiers, repeats), (coverage, empty) = figure.subplots(3, 2)
    _totals(totals, epochs, settings)
    _counts(states, "zipcodes by state", [epoch.by_state for epoch in epochs])
    _counts(tiers, "zipcodes by tier", [epoch.by_tier for epoch in epochs])
    _repeats(repeats, epochs)
    _coverage(coverage, epochs)
    empty.set_axis_off()
    figure.savefig(path)


def _totals(axes: Axes, epochs: Sequence[SimulatedEpoch], settings: SelectionSettings) -> None:
    axes.set_title("expected listings an epoch")
    totals = [epoch.total_listings for epoch in epochs]
    drawn = [(number, total) for number, total in enumerate(totals) if total is not None]
    axes.plot([number for number, _ in drawn], [total for _, total in drawn], ".")
    axes.axhspan(settings.lowest_total, settings.highest_total, alpha=0.15)
    axes.axhline(settings.target_listings, linestyle="--")


def _counts(axes: Axes, title: str, counts: Sequence[dict[str, int]]) -> None:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    axes.set_title(title)
    names = sorted(total)
    axes.bar(names, [total[name] for name in names])


def _repeats(axes: Axes, epochs: Sequence[SimulatedEpoch]) -> None:
    repeats = Counter(zipcode for epoch in epochs for zipcode in epoch.zipcodes)
    axes.set_title("how often a zipcode was assigned")
    if repeats:
        axes.hist(list(repeats.values()), bins=min(40, max(repeats.values())))


def _coverage(axes: Axes, epochs: Sequence[SimulatedEpoch]) -> None:
    seen: set[str] = set()
    grown = []
    for epoch in epochs:
        seen.update(epoch.zipcodes)
        grown.append(len(seen))
    axes.set_title("different zipcodes assigned so far (six epochs a day)")
    axes.plot(grown)
