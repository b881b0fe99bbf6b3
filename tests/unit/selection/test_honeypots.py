"""Tests draws with honeypots against docs/protocol.md, and the rules for every choice."""

import hmac
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.candidates import SEED, START_AT, candidate
from tests.support.golden_vectors import vectors
from zipcast.selection.honeypots import Choice, HoneypotSettings, choose, commitment
from zipcast.selection.model import Candidate, MarketTier, PoolTooSmallError, SelectionSettings

VECTORS = vectors("Honeypots")
SETTINGS = SelectionSettings(
    target_listings=1000, tolerance_percent=20, min_zipcode_listings=21, max_zipcode_listings=500
)
DOCUMENTED = [
    Candidate(
        zipcode=row["zipcode"],
        state=row["state"],
        city="Town",
        county="known",
        market_tier=MarketTier(row["marketTier"]),
        geographic_region="EAST",
        expected_listings=row["expectedListings"],
        population=row["population"],
        base_weight=row["baseWeight"],
        last_scraped_at=datetime(2026, 11, 1, tzinfo=UTC),
        last_assigned_at=None,
    )
    for row in VECTORS["candidates"]
]


@pytest.mark.parametrize("expected", VECTORS["choices"], ids=lambda one: str(one["attempt"]))
def test_the_documented_choices_hold(expected: dict) -> None:
    settings = SelectionSettings(
        target_listings=expected["targetListings"], tolerance_percent=expected["tolerancePercent"]
    )
    key = bytes.fromhex(VECTORS["drawKey"])
    choice = choose(
        DOCUMENTED, VECTORS["realListings"], settings, key, START_AT, probability=expected["probability"]
    )
    assert choice.attempt == expected["attempt"]
    assert [one.zipcode for one in choice.zipcodes] == expected["zipcodes"]
    assert [one.zipcode for one in choice.honeypots] == expected["honeypots"]
    assert [one.zipcode for one in choice.discarded] == expected["discarded"]
    assert (choice.published_total, choice.true_total) == (expected["publishedTotal"], expected["trueTotal"])


@pytest.mark.parametrize("row", VECTORS["commitments"], ids=lambda row: row["zipcode"])
def test_the_documented_commitments_hold(row: dict) -> None:
    salt = bytes.fromhex(row["salt"])
    text = f"{row['zipcode']}:{row['realListings']}:honeypot"
    assert hmac.digest(salt, text.encode(), "sha256").hex() == row["commitment"]
    assert commitment(row["zipcode"], row["realListings"], is_honeypot=True, salt=salt) == row["commitment"]
    assert commitment(row["zipcode"], row["realListings"], is_honeypot=False, salt=salt) != row["commitment"]


counts = st.lists(st.integers(21, 300), min_size=8, max_size=25)
pools = counts.map(lambda listings: [candidate(f"{n:05d}", count) for n, count in enumerate(listings)])
honeypots_of = st.sets(st.integers(0, 24), max_size=8)
seeds = st.binary(min_size=32, max_size=32)


def chosen(
    pool: Sequence[Candidate], real: Mapping[str, int], seed: bytes, *, probability: float = 0.3
) -> Choice | None:
    try:
        return choose(pool, real, SETTINGS, seed, START_AT, probability=probability)
    except PoolTooSmallError:
        return None


def real_listings(pool: Sequence[Candidate], numbers: set[int]) -> dict[str, int]:
    return {one.zipcode: number for number, one in enumerate(pool) if number in numbers}


@hypothesis_settings(max_examples=40)
@given(pools, honeypots_of, seeds)
def test_both_totals_lie_in_tolerance_and_no_more_than_one_is_false(
    pool: list[Candidate], numbers: set[int], seed: bytes
) -> None:
    real = real_listings(pool, numbers)
    choice = chosen(pool, real, seed)
    if choice is None:
        return
    assert choice.published_total == sum(one.expected_listings for one in choice.zipcodes)
    true_counts = [real.get(one.zipcode, one.expected_listings) for one in choice.zipcodes]
    assert choice.true_total == sum(true_counts)
    for total in (choice.published_total, choice.true_total):
        assert SETTINGS.lowest_total <= total <= SETTINGS.highest_total
    assert [one.zipcode for one in choice.honeypots] == [
        one.zipcode for one in choice.zipcodes if one.zipcode in real
    ]
    assert len(choice.honeypots) <= 1


@hypothesis_settings(max_examples=40)
@given(pools, honeypots_of, seeds)
def test_who_knows_only_those_that_were_drawn_chooses_the_same(
    pool: list[Candidate], numbers: set[int], seed: bytes
) -> None:
    real = real_listings(pool, numbers)
    choice = chosen(pool, real, seed)
    if choice is None:
        return
    told = {one.zipcode: one.real_listings for one in (*choice.honeypots, *choice.discarded)}
    assert chosen(pool, told, seed) == choice


@hypothesis_settings(max_examples=40)
@given(pools, honeypots_of, seeds, st.randoms(use_true_random=False))
def test_the_same_in_any_order(
    pool: list[Candidate], numbers: set[int], seed: bytes, shuffler: random.Random
) -> None:
    shuffled = pool.copy()
    shuffler.shuffle(shuffled)
    real = real_listings(pool, numbers)
    assert chosen(shuffled, real, seed) == chosen(pool, real, seed)


@hypothesis_settings(max_examples=40)
@given(pools, honeypots_of, seeds)
def test_with_probability_0_none_is_chosen(pool: list[Candidate], numbers: set[int], seed: bytes) -> None:
    choice = chosen(pool, real_listings(pool, numbers), seed, probability=0)
    assert choice is None or choice.honeypots == ()


def test_a_pool_of_honeypots_alone_ends_in_an_error_and_not_in_a_loop() -> None:
    pool = [candidate(f"{number:05d}", 100) for number in range(30)]
    with pytest.raises(PoolTooSmallError):
        choose(pool, {one.zipcode: 0 for one in pool}, SETTINGS, SEED, START_AT, probability=0.3)


def test_a_honeypot_rests_as_others_do() -> None:
    pool = [candidate(f"{number:05d}", 100) for number in range(30)]
    resting = replace(pool[0], last_assigned_at=START_AT)
    drawn = set()
    for number in range(60):
        choice = choose(
            [resting, *pool[1:]],
            {"00000": 3, "00001": 3},
            SETTINGS,
            number.to_bytes(32, "big"),
            START_AT,
            probability=0.3,
        )
        drawn |= {one.zipcode for one in choice.honeypots}
    assert drawn == {"00001"}


@pytest.mark.long
def test_a_honeypot_is_drawn_as_often_as_others_at_any_probability() -> None:
    """20 of 400 equal zipcodes are drawn, so in 400 draws there are as many honeypots as 20 x probability."""
    pool = [candidate(f"{number:05d}", 50) for number in range(400)]
    for probability in (0.3, 0.6):
        real = {one.zipcode: 3 for one in pool[: int(20 * probability)]}
        count = {True: 0, False: 0}
        for number in range(1500):
            seed = number.to_bytes(32, "big")
            choice = choose(pool, real, SETTINGS, seed, START_AT, probability=probability)
            count[True] += len(choice.honeypots)
            count[False] += len(choice.zipcodes) - len(choice.honeypots)
        ratio = count[True] / len(real) / (count[False] / (len(pool) - len(real)))
        assert 0.88 < ratio < 1.12
        assert count[True] / 1500 == pytest.approx(probability, rel=0.12)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"probability": -0.1}, "probability"),
        ({"probability": 1.1}, "probability"),
        ({"threshold": 0}, "threshold"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        HoneypotSettings(**changes)
