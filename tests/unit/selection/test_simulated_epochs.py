"""Tests simulated epochs from outside: another algorithm decides whether totals are possible, and another
generator gives the shares.

tests/simulation has longer runs.
"""

from dataclasses import replace

import pytest

from tests.replay.pools import pool
from tests.support.feasibility import is_feasible
from tests.support.shares import above_their_share, drawn_epochs, eligible, off_their_shares, too_far_off
from tests.support.tight import tight_epochs
from zipcast.selection.model import SelectionSettings

RULES = SelectionSettings(target_listings=10_000)


@pytest.mark.parametrize(
    ("listings", "lowest", "highest", "feasible"),
    [
        ([], 1, 9, False),
        ([7], 7, 7, True),
        ([7], 8, 9, False),
        ([2, 4, 8, 16], 15, 15, False),
        ([2, 4, 8, 17], 23, 23, True),
        ([5, 5, 5], 11, 14, False),
        ([5, 5, 5], 11, 15, True),
    ],
)
def test_the_other_algorithm_knows_what_is_feasible(listings, lowest, highest, feasible):
    assert is_feasible(listings, lowest, highest) is feasible


def test_selection_succeeds_where_and_only_where_some_subset_fits():
    outcomes = list(tight_epochs(seed=1, pools=25, epochs=12))
    assert {(one.succeeded, one.relaxed) for one in outcomes} == {(True, False), (True, True), (False, False)}
    for one in outcomes:
        assert one.succeeded is one.feasible, one
        assert one.relaxed is (one.succeeded and not one.feasible_rested), one
        assert not one.feasible_with_fewer, one


def small_pool():
    return eligible(pool("shares", 900), RULES)


def test_no_state_gets_more_than_its_share_and_each_has_it_in_the_mean():
    drawn = drawn_epochs(small_pool(), RULES, 150)
    assert above_their_share(small_pool(), RULES, drawn) == []
    assert all(abs(part) < 0.02 for part in off_their_shares(small_pool(), RULES, drawn).values())


def test_shares_of_states_and_tiers_follow_the_weights():
    assert too_far_off(small_pool(), RULES, count=150, independent=3_000) == []


def test_another_spread_would_be_found_out():
    other = replace(RULES, geographic_spread_factor=1.0)
    assert too_far_off(small_pool(), RULES, count=150, independent=3_000, expected_by=other)
