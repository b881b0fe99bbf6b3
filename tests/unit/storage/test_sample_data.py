"""Tests that the committed sample is the output of its script, and is enough for a deployment to start."""

from collections import Counter

import pytest

from sample_data.make_zipcodes import (
    COLUMNS,
    CSV_OUTPUT,
    JSON_OUTPUT,
    STATES,
    render_csv,
    render_json,
    sample_rows,
)
from storage.zipcode_files import row_rules as zipcode_rows
from storage.zipcode_files.row_rules import ZipcodeRow
from tests.support.sample_rows import sample_outcomes


@pytest.mark.long
def test_the_script_reproduces_both_files():
    rows = sample_rows()
    assert render_csv(rows) == CSV_OUTPUT.read_bytes()
    assert render_json(rows) == JSON_OUTPUT.read_bytes()


def test_both_files_hold_the_same_rows():
    assert sample_outcomes(JSON_OUTPUT) == sample_outcomes()


def test_its_columns_are_those_of_an_import():
    assert tuple(one for one in zipcode_rows.COLUMNS if one != "base_weight") == COLUMNS


def test_every_row_is_accepted_and_in_order():
    outcomes = sample_outcomes()
    assert all(isinstance(outcome, ZipcodeRow) for outcome in outcomes)
    numbers = [(STATES.index(outcome.state), outcome.zipcode) for outcome in outcomes]
    assert numbers == sorted(numbers)
    assert STATES[:2] == ("PA", "NJ")


def test_population_and_home_value_are_there_and_fit_listings_and_tier():
    for row in sample_outcomes():
        assert row.population > 10 * row.recently_sold_listings
        assert (row.market_tier == "PREMIUM") is (row.median_home_value >= 400_000)
        assert (row.market_tier == "EMERGING") is (row.median_home_value < 200_000)
    assert all(row.last_scraped_defaulted for row in sample_outcomes())


def test_enough_listings_lie_within_the_default_limits_in_every_state():
    in_limits = Counter()
    for row in sample_outcomes():
        if 200 <= row.recently_sold_listings <= 3000:
            in_limits[row.state] += row.recently_sold_listings
    assert in_limits.total() >= 100_000
    assert set(in_limits) == set(STATES)


def test_some_zipcodes_lie_outside_the_default_limits():
    listings = [row.recently_sold_listings for row in sample_outcomes()]
    assert sum(count < 50 for count in listings) > 100
    assert sum(50 <= count < 200 for count in listings) > 100
    assert 0 < sum(count > 3000 for count in listings) < 100
