"""Prints the results of a benchmark, in a form that `python -m bench` collects."""

import json
import sys
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One result. `aim` is the largest good value, or the smallest one if `is_rate` is true; None means that
    there is no aim. Ratios compare two measurements of the same run, so other machines give similar ones."""

    name: str
    value: float
    unit: str
    aim: float | None = None
    is_rate: bool = False

    @property
    def is_met(self) -> bool | None:
        """Return whether the aim is met, or None without an aim."""
        if self.aim is None:
            return None
        return self.value >= self.aim if self.is_rate else self.value <= self.aim


def print_figures(figures: list[Figure]) -> None:
    """Print the figures as one line of JSON, the last line of each benchmark."""
    sys.stdout.write(json.dumps({"figures": [asdict(one) for one in figures]}) + "\n")


def figures_of(output: str) -> list[Figure]:
    """Return the figures that a benchmark printed. Raises ValueError if it printed none."""
    last = output.rstrip().rpartition("\n")[2]
    return [Figure(**one) for one in json.loads(last)["figures"]]
