"""Draws simulated epochs: totals, states, tiers, repeated zipcodes and coverage of the pool.

The result is a picture (.png, .svg, .pdf) or a self-contained page (.html).
"""

import html
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zipcast.selection.model import SelectionSettings
from zipcast.selection.simulation import COVERAGE_DAYS, SimulatedEpoch, coverage_by_day

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Simulated epochs</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }}
th {{ text-align: left; font-weight: normal; padding-right: 2rem }}
svg {{ width: 100%; height: auto }}
</style>
</head><body><h1>Simulated epochs</h1><table>{rows}</table>{picture}</body></html>
"""


def draw(
    path: Path,
    epochs: Sequence[SimulatedEpoch],
    settings: SelectionSettings,
    pool_size: int,
    report: Sequence[tuple[str, str]],
) -> None:
    """Write the picture to a file. A page also has `report` above the picture. Raises OSError, and ValueError
    for an unknown suffix."""
    figure = _figure(epochs, settings, pool_size)
    if path.suffix.lower() not in {".html", ".htm"}:
        figure.savefig(path)
        return
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    picture = drawn.getvalue().partition("<svg")  # the part before `<svg` is only for separate files
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in report
    )
    path.write_text(PAGE.format(rows=rows, picture="".join(picture[1:])), encoding="utf-8")


def _figure(epochs: Sequence[SimulatedEpoch], settings: SelectionSettings, pool_size: int) -> Figure:
    figure = Figure(figsize=(12, 9), layout="constrained")
    (totals, spread), (states, tiers), (repeats, coverage) = figure.subplots(3, 2)
    _totals(totals, epochs, settings)
    _distribution(spread, epochs, settings)
    _counts(states, "zipcodes by state", [epoch.by_state for epoch in epochs])
    _counts(tiers, "zipcodes by tier", [epoch.by_tier for epoch in epochs])
    _repeats(repeats, epochs)
    _coverage(coverage, epochs, pool_size)
    return figure


def _totals(axes: Axes, epochs: Sequence[SimulatedEpoch], settings: SelectionSettings) -> None:
    axes.set_title("expected listings of each epoch, and the tolerance")
    totals = [epoch.total_listings for epoch in epochs]
    drawn = [(number, total) for number, total in enumerate(totals) if total is not None]
    axes.plot([number for number, _ in drawn], [total for _, total in drawn], ".", markersize=3)
    axes.axhspan(settings.lowest_total, settings.highest_total, alpha=0.15)
    axes.axhline(settings.target_listings, linestyle="--")


def _distribution(axes: Axes, epochs: Sequence[SimulatedEpoch], settings: SelectionSettings) -> None:
    axes.set_title("number of epochs by listings")
    totals = [epoch.total_listings for epoch in epochs if epoch.total_listings is not None]
    axes.axvspan(settings.lowest_total, settings.highest_total, alpha=0.15)
    if totals:
        axes.hist(totals, bins=40)


def _counts(axes: Axes, title: str, counts: Sequence[dict[str, int]]) -> None:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    axes.set_title(f"{title}, share")
    names = sorted(total)
    axes.bar(names, [total[name] / total.total() for name in names])


def _repeats(axes: Axes, epochs: Sequence[SimulatedEpoch]) -> None:
    repeats = Counter(zipcode for epoch in epochs for zipcode in epoch.zipcodes)
    axes.set_title("number of zipcodes by times assigned")
    if repeats:
        axes.hist(list(repeats.values()), bins=min(40, max(repeats.values())))


def _coverage(axes: Axes, epochs: Sequence[SimulatedEpoch], pool_size: int) -> None:
    axes.set_title(f"share of the pool assigned so far, by day (line: day {COVERAGE_DAYS})")
    shares = coverage_by_day(epochs, pool_size)
    axes.plot(range(1, len(shares) + 1), shares)
    axes.axvline(COVERAGE_DAYS, linestyle="--")
    axes.set_ylim(0, 1)
