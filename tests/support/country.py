"""Makes candidates from all zipcodes of the United States, with synthetic listings, and rules that allow all
of them."""

from pathlib import Path

from operator_cli.simulate import read_pool
from sample_data.make_zipcodes import country_rows, render_csv
from zipcast.selection.model import Candidate, SelectionSettings


def every_zipcode(file: Path) -> list[Candidate]:
    """Return all zipcodes. They are read from a file, as an operator would import them."""
    file.write_bytes(render_csv(country_rows()))
    return read_pool(file)


def rules_for(candidates: list[Candidate]) -> SelectionSettings:
    """Return the default rules, except that every state has a priority from 1 to 5."""
    states = sorted({one.state for one in candidates})
    return SelectionSettings(state_priorities=tuple((state, 1 + n % 5) for n, state in enumerate(states)))
