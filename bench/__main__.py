"""Runs all benchmarks and writes docs/performance.md: `make bench`.

It takes about 12 minutes on 2 cores. Nothing else may run on the machine. Each benchmark is a command of its
own (`python -m bench.NAME`), whose last line of output has its figures.
"""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure, figures_of
from devstack.programs import REPOSITORY

PAGE = REPOSITORY / "docs" / "performance.md"
PLOT = REPOSITORY / "docs" / "images" / "performance.svg"
TIMEOUT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Benchmark:
    name: str
    title: str
    arguments: tuple[str, ...] = ()


BENCHMARKS = (
    Benchmark("delivery", "Delivery of an epoch to SDK clients and to bare nats-py subscribers"),
    Benchmark("starts", "From an epoch's start to the stream", ("30",)),
    Benchmark("requests", "Requests over NATS, compared with a FastStream echo"),
    Benchmark("credentials", "Upload credentials over NATS", ("45",)),
    Benchmark("http", "HTTP requests", ("3",)),
    Benchmark("streams", "Epochs as server-sent events"),
    Benchmark("connects", "1,000 connections at the same instant"),
    Benchmark("reconnect", "1,000 clients after a restart of nats-server"),
    Benchmark(
        "floods", "Honest miners during a flood of 20,000 messages per second", ("ten miners together",)
    ),
    Benchmark("selection", "Selection from 42,000 zipcodes"),
    Benchmark("import_zipcodes", "Import of 42,000 zipcodes"),
    Benchmark("history", "Queries with 60 epochs and with a million assignments"),
    Benchmark("regions", "One epoch in several regions", ("100", "1000")),
    Benchmark("idle", "The idle system"),
)


def measured(benchmark: Benchmark) -> list[Figure]:
    """Run one benchmark, show its output, and return its figures."""
    print(f"== {benchmark.title}", flush=True)
    began = time.monotonic()
    command = (sys.executable, "-m", f"bench.{benchmark.name}", *benchmark.arguments)
    done = subprocess.run(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_SECONDS, check=True
    )
    print(f"{done.stdout}-- {time.monotonic() - began:.0f} s\n", flush=True)
    return figures_of(done.stdout)


def machine() -> str:
    """Return the processor's name and the number of cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}"


def page(found: Mapping[Benchmark, Sequence[Figure]], at: datetime, minutes: float) -> str:
    """Return the text of docs/performance.md."""
    sections = "\n".join(_section(benchmark, figures) for benchmark, figures in found.items())
    return (
        "# Performance\n\n"
        f"Written by `make bench` on {at:%Y-%m-%d}, in {minutes:.0f} minutes on {machine()}.\n"
        "Ratios compare two measurements of the same run, so they can be compared between machines; times\n"
        "cannot. `python -m bench.NAME` runs one benchmark, and its first lines say what it measures.\n"
        "[Decisions](decisions.md) has the profiles of aims that are missed.\n\n"
        f"![Each figure as a share of its aim](images/{PLOT.name})\n\n{sections}"
    )


def _section(benchmark: Benchmark, figures: Sequence[Figure]) -> str:
    rows = "\n".join(
        f"| {one.name} | {_number(one.value)} {one.unit} | {_aim(one)} | {_met(one)} |" for one in figures
    )
    return f"""## {benchmark.title}

`python -m bench.{benchmark.name}`

| figure | measured | aim | met |
|---|---|---|---|
{rows}
"""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _aim(one: Figure) -> str:
    if one.aim is None:
        return ""
    return f"at {'least' if one.is_rate else 'most'} {_number(one.aim)} {one.unit}"


def _met(one: Figure) -> str:
    return {None: "", True: "yes", False: "no"}[one.is_met]


def plot(figures: Sequence[Figure]) -> str:
    """Return an SVG picture with a bar for each figure that has an aim above 0. Its length is the figure's
    share of its aim, so a bar that ends left of the line meets it."""
    with_aim = [one for one in figures if one.aim]
    height = 22 * len(with_aim) + 40
    bars = "".join(_bar(one, 22 * row + 30) for row, one in enumerate(with_aim))
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {height}" font-family="sans-serif"
 font-size="12"><rect width="900" height="{height}" fill="#ffffff"/>
<text x="640" y="16" text-anchor="middle">aim</text>
{bars}<line x1="640" x2="640" y1="20" y2="{height - 8}" stroke="#222222"/>
</svg>
"""


def _bar(one: Figure, top: int) -> str:
    assert one.aim is not None
    share = one.aim / one.value if one.is_rate else one.value / one.aim
    width = max(2, min(400, round(240 * share)))
    colour = "#2f7d4f" if one.is_met else "#c0392b"
    label = f"{_number(one.value)} {one.unit}"
    return (
        f'<text x="390" y="{top + 12}" text-anchor="end">{one.name}</text>'
        f'<rect x="400" y="{top}" width="{width}" height="16" fill="{colour}"/>'
        f'<text x="{400 + width + 6}" y="{top + 12}">{label}</text>\n'
    )


def main() -> None:
    began = time.monotonic()
    found = {benchmark: measured(benchmark) for benchmark in BENCHMARKS}
    minutes = (time.monotonic() - began) / 60
    PAGE.write_text(page(found, datetime.now(UTC), minutes))
    PLOT.write_text(plot([one for figures in found.values() for one in figures]))
    print(f"{PAGE.relative_to(REPOSITORY)} is written; {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
