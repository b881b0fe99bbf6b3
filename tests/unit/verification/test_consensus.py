"""Tests the consensus of validators: the formulas of docs/protocol.md, with examples and properties."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipcast.verification.consensus import Report, agree, overlap

MINERS = "abcdef"
tops = st.lists(st.sampled_from(MINERS), max_size=3, unique=True).map(tuple)
stakes = st.integers(0, 10**15)
reports = st.lists(st.tuples(stakes, tops), max_size=7).map(
    lambda given: [Report(f"v{number}", stake, top) for number, (stake, top) in enumerate(given)]
)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("abc", "abc", Fraction(1)),
        ("abc", "def", Fraction(0)),
        ("abc", "acb", Fraction(5, 6)),
        ("abc", "bac", Fraction(5, 6)),
        ("abc", "cba", Fraction(4, 6)),
        ("abc", "a", Fraction(3, 6)),
        ("ab", "a", Fraction(3, 5)),
        ("a", "ba", Fraction(2, 5)),
        ("", "", Fraction(1)),
        ("", "a", Fraction(0)),
    ],
)
def test_two_rankings_overlap_by_the_points_that_both_give(one: str, other: str, shared: Fraction) -> None:
    assert overlap(one, other) == overlap(other, one) == shared


def test_three_validators_of_whom_one_stands_apart() -> None:
    agreed = agree(
        [
            Report("one", 500, ("a", "b", "c")),
            Report("two", 300, ("a", "c", "b")),
            Report("three", 200, ("x",)),
        ]
    )
    # a: (500 + 300) × 3 of 1,000 × 3; b: 500 × 2 + 300 × 1; c: 500 × 1 + 300 × 2; x: 200 × 3.
    assert agreed.top == (("a", 0.8), ("b", 0.433333), ("c", 0.366667))
    # One and two share 5/6, weight 150,000. Three shares nothing with either; the weights are 100,000 and
    # 60,000.
    assert agreed.agreement == round(5 / 6 * 150_000 / 310_000, 6)
    assert agreed.closeness == {
        "one": round(5 / 6 * 300 / 500, 6),
        "two": round(5 / 6 * 500 / 700, 6),
        "three": 0.0,
    }
    assert agreed.outliers == ("three",)


@pytest.mark.parametrize(("large", "outliers"), [(499_000, ()), (1_000, ()), (999, ("large",))])
def test_whoever_holds_half_of_the_stake_is_no_outlier(large: int, outliers: tuple[str, ...]) -> None:
    """Otherwise two validators of least stake could make the largest one an outlier by agreeing with each
    other."""
    small = [Report(name, 500, ("x", "y", "z")) for name in ("one", "two")]
    assert agree([Report("large", large, ("a", "b", "c")), *small]).outliers == outliers


@given(reports)
def test_the_others_hold_more_stake_than_an_outlier(given: list[Report]) -> None:
    whole = sum(report.stake for report in given)
    weights = {report.validator: report.stake if whole else 1 for report in given}
    for outlier in agree(given).outliers:
        assert sum(weights.values()) - weights[outlier] > weights[outlier]


def test_of_two_nobody_can_say_who_stands_apart() -> None:
    agreed = agree([Report("one", 1, ("a",)), Report("two", 1, ("b",))])
    assert (agreed.agreement, agreed.outliers) == (0.0, ())


def test_where_nobody_agrees_nobody_stands_apart() -> None:
    agreed = agree([Report(name, 1, (name,)) for name in MINERS])
    assert (agreed.agreement, agreed.outliers) == (0.0, ())


def test_equal_support_is_ordered_by_hotkey() -> None:
    agreed = agree([Report("one", 1, ("b",)), Report("two", 1, ("a",))])
    assert [miner for miner, _ in agreed.top] == ["a", "b"]


def test_nobody_and_one_alone() -> None:
    nobody = agree([])
    assert (nobody.top, nobody.agreement, nobody.outliers) == ((), None, ())
    alone = agree([Report("one", 5, ("a", "b"))])
    assert (alone.top, alone.agreement) == ((("a", 1.0), ("b", 0.666667)), None)
    assert alone.closeness == {"one": None}


@given(reports, st.randoms(use_true_random=False))
def test_the_order_in_which_reports_came_changes_nothing(given_reports: list[Report], chance) -> None:
    shuffled = list(given_reports)
    chance.shuffle(shuffled)
    assert agree(shuffled) == agree(given_reports)


@given(reports, st.integers(2, 1000))
def test_the_unit_of_stake_changes_nothing(given_reports: list[Report], factor: int) -> None:
    scaled = [Report(one.validator, one.stake * factor, one.top) for one in given_reports]
    assert agree(scaled) == agree(given_reports)


@given(reports)
def test_shares_lie_between_none_and_all(given_reports: list[Report]) -> None:
    agreed = agree(given_reports)
    told = [*(share for _, share in agreed.top), *agreed.closeness.values(), agreed.agreement]
    assert all(share is None or 0 <= share <= 1 for share in told)
    supports = [share for _, share in agreed.top]
    assert supports == sorted(supports, reverse=True)
    assert len(supports) <= 3
    # A report gives 3 + 2 + 1 points. A support of one is 3 points.
    assert sum(supports) <= 2 + 1e-5
    assert set(agreed.outliers) <= {one.validator for one in given_reports}


@given(st.lists(st.integers(1, 10**15), min_size=2, max_size=7), tops)
def test_who_say_the_same_agree_wholly(given_stakes: list[int], top: tuple[str, ...]) -> None:
    agreed = agree(Report(f"v{number}", stake, top) for number, stake in enumerate(given_stakes))
    assert tuple(miner for miner, _ in agreed.top) == top
    assert agreed.agreement == 1
    assert agreed.outliers == ()


@given(reports.filter(lambda some: len(some) >= 3))
def test_with_all_stake_at_one_the_consensus_is_his(given_reports: list[Report]) -> None:
    only = [Report(one.validator, 7 if n == 0 else 0, one.top) for n, one in enumerate(given_reports)]
    assert tuple(miner for miner, _ in agree(only).top) == given_reports[0].top


@given(reports, tops)
def test_without_stake_all_weigh_the_same(given_reports: list[Report], top: tuple[str, ...]) -> None:
    without = [Report(one.validator, 0, one.top) for one in given_reports]
    alike = [Report(one.validator, 3, one.top) for one in given_reports]
    assert agree(without) == agree(alike)
