"""Tests a hundred epochs and more with every zipcode of the United States."""

import pytest

from tests.support.country import every_zipcode, rules_for
from tests.support.sample_epochs import CALENDAR, START_AT, rests_were_kept
from zipcast.selection.model import Candidate
from zipcast.selection.simulation import simulate

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> list[Candidate]:
    return every_zipcode(tmp_path_factory.mktemp("country") / "zipcodes.csv")


def test_all_epochs_are_within_tolerance_and_every_rest_is_kept(
    country: list[Candidate],
):
    rules = rules_for(country)
    assert len(country) > 41_000
    run = list(simulate(country, rules, CALENDAR, start_at=START_AT, epochs=120, seed=1))
    totals = [epoch.total_listings for epoch in run]
    assert len(totals) == 120
    assert all(total is not None and 9_000 <= total <= 11_000 for total in totals)
    assert rests_were_kept(run, rules)
