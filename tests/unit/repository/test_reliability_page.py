"""Tests that docs/reliability.md shows the newest crash matrix completely, and without a failure."""

from pathlib import Path

from schedulers.epochs.fault_points import FaultPoint
from tests.faults.matrix import BEGIN, END, all_cells, table

PAGE = (Path(__file__).parents[3] / "docs" / "reliability.md").read_text()


def test_the_page_has_every_step_with_everybody_who_may_die_with_it_and_all_held():
    shown = PAGE.partition(BEGIN)[2].partition(END)[0].split("\n")
    assert [line for line in shown if line] == table(dict.fromkeys(all_cells(), True))


def test_every_step_is_in_the_matrix():
    assert {cell.point for cell in all_cells()} == set(FaultPoint)
