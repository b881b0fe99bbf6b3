"""Tests many epochs with the sample pool, and thousands with pools in which it is uncertain whether any
subset fits."""

from collections import Counter
from dataclasses import replace

import pytest

from operator_cli.simulate import read_pool
from tests.support.sample_epochs import CALENDAR, START_AT, rests_were_kept
from tests.support.shares import eligible
from tests.support.tight import tight_epochs
from zipcast.selection.honeypots import HoneypotSettings
from zipcast.selection.model import Candidate, SelectionSettings
from zipcast.selection.ranking import state_shares
from zipcast.selection.simulation import simulate

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

RULES = SelectionSettings()


@pytest.fixture(scope="module")
def pool() -> list[Candidate]:
    return eligible(read_pool(None), RULES)


@pytest.mark.parametrize("epochs", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_all_epochs_are_within_tolerance_and_every_rest_is_kept(pool: list[Candidate], epochs: int):
    run = list(simulate(pool, RULES, CALENDAR, start_at=START_AT, epochs=epochs, seed=1))
    totals = [epoch.total_listings for epoch in run]
    assert len(totals) == epochs
    assert all(total is not None and 9_000 <= total <= 11_000 for total in totals)
    assert {epoch.relaxed for epoch in run} == {0}
    assert rests_were_kept(run, RULES)


def test_without_honeypots_the_mean_total_is_the_target(pool: list[Candidate]):
    run = simulate(pool, RULES, CALENDAR, start_at=START_AT, epochs=500, seed=1)
    totals = [epoch.total_listings for epoch in run if epoch.total_listings is not None]
    assert len(totals) == 500
    assert abs(sum(totals) / 500 - RULES.target_listings) <= RULES.target_listings / 100


def test_with_honeypots_the_mean_total_is_within_five_percent_above():
    run = simulate(
        read_pool(None), RULES, CALENDAR, start_at=START_AT, epochs=500, seed=1, honeypots=HoneypotSettings()
    )
    totals = [epoch.total_listings for epoch in run if epoch.total_listings is not None]
    assert len(totals) == 500
    assert RULES.target_listings <= sum(totals) / 500 <= 1.05 * RULES.target_listings


def test_shares_of_states_follow_the_order_of_their_priorities(pool: list[Candidate]):
    run = simulate(pool, RULES, CALENDAR, start_at=START_AT, epochs=200, seed=1)
    counts = Counter(name for epoch in run for name, count in epoch.by_state.items() for _ in range(count))
    expected = state_shares(dict(RULES.state_priorities), RULES)
    assert [state for state, _ in counts.most_common()] == [state for state, _ in RULES.state_priorities]
    for state, share in expected.items():
        assert abs(counts[state] / counts.total() - share) < 0.015


def test_strict_priorities_exhaust_a_state_before_the_next(pool: list[Candidate]):
    """Pennsylvania has few zipcodes here, so a cooldown of only 24 h exhausts it in each epoch."""
    few = [one for one in pool if one.state != "PA"] + [one for one in pool if one.state == "PA"][:40]
    rules = replace(RULES, strict_priorities=True)
    run = list(simulate(few, rules, CALENDAR, start_at=START_AT, epochs=60, seed=1))
    later = run[10:]
    assert {state for epoch in later for state in epoch.by_state} == {"PA", "NJ"}
    assert all(epoch.total_listings is not None for epoch in run)
    assert sum(epoch.by_state.get("PA", 0) for epoch in later) >= 6 * 50


def test_in_pools_in_doubt_selection_succeeds_where_and_only_where_some_subset_fits():
    outcomes = list(tight_epochs(seed=2, pools=250, epochs=20))
    assert len(outcomes) == 5_000
    kinds = [(one.succeeded, one.relaxed) for one in outcomes]
    assert min(kinds.count(kind) for kind in ((True, False), (True, True), (False, False))) > 200
    for one in outcomes:
        assert one.succeeded is one.feasible, one
        assert one.relaxed is (one.succeeded and not one.feasible_rested), one
        assert not one.feasible_with_fewer, one
