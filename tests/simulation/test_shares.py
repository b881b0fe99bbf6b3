"""Tests that the mean share of each state and tier follows from the weights, within statistical error.

The selections are compared with independent draws (`expected.py`). For each state and tier, z is the
difference of two means in standard errors; its limit is exceeded by chance once in 1,000 times. Seeds are
fixed, so the result is always the same. There is no cooldown, because it would change from epoch to epoch
what can be drawn.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from operator_cli.simulate import read_pool
from tests.support.country import every_zipcode, rules_for
from tests.support.shares import above_their_share, drawn_epochs, eligible, off_their_shares, too_far_off
from zipcast.selection.model import Candidate, MarketTier, SelectionSettings

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

RULES = SelectionSettings()


@pytest.fixture(scope="module")
def sample() -> list[Candidate]:
    return eligible(read_pool(None), RULES)


def test_shares_of_the_sample_follow_the_weights(sample: list[Candidate]):
    assert too_far_off(sample, RULES, count=1_000, independent=20_000) == []


def test_no_state_of_the_sample_gets_more_than_its_share_and_each_has_it_in_the_mean(
    sample: list[Candidate],
):
    drawn = drawn_epochs(sample, RULES, 2_000)
    assert above_their_share(sample, RULES, drawn) == []
    off = off_their_shares(sample, RULES, drawn)
    assert all(abs(part) < 0.005 for part in off.values()), off


def test_shares_of_the_country_follow_the_weights(tmp_path: Path):
    country = every_zipcode(tmp_path / "zipcodes.csv")
    rules = rules_for(country)
    assert too_far_off(eligible(country, rules), rules, count=75, independent=5_000) == []


@pytest.mark.soak
@pytest.mark.parametrize(
    "changes",
    [
        {"state_priorities": (("PA", 1), ("NJ", 2), ("NY", 2), ("DE", 4), ("MD", 5))},
        {"tier_weights": ((MarketTier.PREMIUM, 1.5), (MarketTier.STANDARD, 1.0), (MarketTier.EMERGING, 1.0))},
        {"geographic_spread_factor": 0.3},
    ],
    ids=["state priority", "tier weight", "spread"],
)
def test_a_small_change_of_a_weight_would_be_found_out(sample: list[Candidate], changes: dict):
    other = replace(RULES, **changes)
    assert too_far_off(sample, RULES, count=1_200, independent=40_000, expected_by=other)
