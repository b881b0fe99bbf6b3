"""Defines the cells of the crash matrix: the step at which a scheduler dies, the parts that die with it, and
the order in which they are started again.

step (`FaultPoint`) x parts that die together x order of starting

All of this is pure, as is the table for docs/reliability.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from schedulers.epochs.fault_points import FaultPoint

FIRST, SECOND, NATS, POSTGRES = "schedulers", "schedulers_2", "nats", "postgres"
VICTIM = "victim"
"""The scheduler that came to the step first."""
OTHER = "other"
BEGIN, END = "<!-- crash matrix: begin -->", "<!-- crash matrix: end -->"
"""The marks around the table of the page."""


class Scene(StrEnum):
    """The situation before a scheduler comes to the step."""

    EPOCH = "every epoch"
    GAP = "both schedulers were away for more than an epoch"
    BACKUP = "PostgreSQL lost its newest rows"
    LOST_STREAM = "nats-server lost its disk"


SCENES: Mapping[FaultPoint, Scene] = {
    point: Scene.LOST_STREAM
    if point.startswith("rebuild_")
    else Scene.BACKUP
    if "adopt" in point
    else Scene.GAP
    if "missed" in point
    else Scene.EPOCH
    for point in FaultPoint
}


@dataclass(frozen=True, slots=True)
class Company:
    """The parts that are killed at the same moment. `returning` has them in the order in which they are
    started again."""

    title: str
    returning: tuple[str, ...]


ALONE = Company("it alone", (VICTIM,))
BOTH = Company("both schedulers", (VICTIM, OTHER))
COMPANIES = (
    ALONE,
    BOTH,
    Company("it and nats-server; that back first", (NATS, VICTIM)),
    Company("it and nats-server; that back last", (VICTIM, NATS)),
    Company("it and PostgreSQL; that back first", (POSTGRES, VICTIM)),
    Company("it and PostgreSQL; that back last", (VICTIM, POSTGRES)),
    Company("all; schedulers back last", (POSTGRES, NATS, VICTIM, OTHER)),
    Company("all; schedulers back first", (OTHER, VICTIM, NATS, POSTGRES)),
)
# Steps that need a broken backup or disk are killed less often, because they are not part of every epoch.
RARE = (ALONE, BOTH, COMPANIES[6])


@dataclass(frozen=True, slots=True)
class Cell:
    point: FaultPoint
    company: Company

    @property
    def scene(self) -> Scene:
        return SCENES[self.point]

    def __str__(self) -> str:
        return f"{self.point}: {self.company.title}"


def all_cells() -> list[Cell]:
    return [
        Cell(point, company)
        for point in FaultPoint
        for company in (COMPANIES if SCENES[point] is Scene.EPOCH else RARE)
    ]


def table(results: Mapping[Cell, bool]) -> list[str]:
    """Return the table as Markdown, with a row for each step and a column for each group of parts."""
    heads = [company.title for company in COMPANIES]
    rows = [_row(f"`{point}`", [_word(results, Cell(point, c)) for c in COMPANIES]) for point in FaultPoint]
    return [_row("killed at", heads), _row("---", ["---"] * len(heads)), *rows]


def _word(results: Mapping[Cell, bool], cell: Cell) -> str:
    if cell not in results:
        return "–"
    return "holds" if results[cell] else "**broken**"


def _row(first: str, others: Sequence[str]) -> str:
    return f"| {first} | {' | '.join(others)} |"
