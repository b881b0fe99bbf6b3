"""Decoys against docs/protocol.md, and what must hold of every choice."""

import hmac
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.unit.test_fairness import vectors
from tests.unit.test_selection import DAY, SEED, START_AT, candidate
from zipcast.fairness import candidate_pool_hash, whole_pool_hash
from zipcast.honeypots import Choice, HoneypotSettings, choose
from zipcast.selection import Candidate, MarketTier, PoolTooSmallError, SelectionSettings, Version, select

VECTORS = vectors("Honeypots")
ALWAYS = HoneypotSettings(probability=1, threshold=20)
SETTINGS = SelectionSettings(
    target_listings=1000, tolerance_percent=20, min_zipcode_listings=21, max_zipcode_listings=500
)


def documented(rows: list[dict] | None = None) -> list[Candidate]:
    return [
        Candidate(
            zipcode=row["zipcode"],
            state=row["state"],
            city=row["city"],
            county="known",
            market_tier=MarketTier(row["marketTier"]),
            geographic_region=row["geographicRegion"],
            expected_listings=row["expectedListings"],
            population=row["population"],
            base_weight=row["baseWeight"],
            last_scraped_at=datetime(2026, 11, 1, tzinfo=UTC),
            last_assigned_at=None,
        )
        for row in rows or VECTORS["candidates"]
    ]


@pytest.mark.parametrize(
    "expected", VECTORS["choices"], ids=lambda one: f"{one['version']}-{one['targetListings']}"
)
def test_the_documented_choices_hold(expected: dict) -> None:
    settings = SelectionSettings(
        target_listings=expected["targetListings"], tolerance_percent=expected["tolerancePercent"]
    )
    honeypots = HoneypotSettings(probability=1, threshold=VECTORS["threshold"])
    seed = bytes.fromhex(VECTORS["drawKey"])
    version = Version(expected["version"])
    choice = choose(
        documented(expected.get("candidates")),
        settings,
        honeypots,
        VECTORS["resting"],
        seed,
        START_AT,
        version=version,
    )
    assert [one.zipcode for one in choice.selection.zipcodes] == expected["chosen"]
    told = [(one.zipcode, one.real_listings, one.published_listings) for one in choice.honeypots]
    assert told == [tuple(one.values()) for one in expected["honeypots"]]
    assert [[one.zipcode, one.expected_listings] for one in choice.zipcodes] == expected["published"]
    assert (choice.published_total, choice.true_total) == (
        expected["publishedTotal"],
        expected["trueTotal"],
    )
    assert whole_pool_hash((*choice.selection.pool, *choice.decoys)) == expected["candidatePoolHash"]


def test_the_documented_draws_hold() -> None:
    seed = bytes.fromhex(VECTORS["drawKey"])
    for label, number in VECTORS["draws"].items():
        assert hmac.digest(seed, label.encode(), "sha256")[:8].hex() == number


ordinary = st.builds(
    candidate,
    st.just("00000"),
    st.integers(21, 500),
    state=st.sampled_from(["PA", "NJ"]),
    market_tier=st.sampled_from(MarketTier),
    geographic_region=st.sampled_from(["east", "west"]),
    city=st.sampled_from(["Springfield", ""]),
)
small = st.builds(replace, ordinary, expected_listings=st.integers(0, 19))
pools = st.tuples(st.lists(ordinary, min_size=8, max_size=20), st.lists(small, min_size=0, max_size=12)).map(
    lambda parts: [
        replace(one, zipcode=f"{number * 7919 % 100_000:05d}") for number, one in enumerate(chain(*parts))
    ]
)
seeds = st.binary(min_size=32, max_size=32)


def chosen(
    pool: Sequence[Candidate], seed: bytes, honeypots: HoneypotSettings | None = ALWAYS, **changes: object
) -> Choice | None:
    settings, resting = replace(SETTINGS, **changes), frozenset()  # type: ignore[arg-type]
    try:
        return choose(pool, settings, honeypots, resting, seed, START_AT)
    except PoolTooSmallError:
        return None


@hypothesis_settings(max_examples=30)
@given(pools, seeds)
def test_both_totals_lie_in_tolerance(pool: list[Candidate], seed: bytes) -> None:
    choice = chosen(pool, seed)
    if choice is None:
        return
    real = {one.zipcode: one.expected_listings for one in pool}
    assert choice.published_total == sum(one.expected_listings for one in choice.zipcodes)
    assert choice.true_total == sum(real[one.zipcode] for one in choice.zipcodes)
    for total in (choice.published_total, choice.true_total):
        assert SETTINGS.lowest_total <= total <= SETTINGS.highest_total


@hypothesis_settings(max_examples=30)
@given(pools, seeds, st.randoms(use_true_random=False))
def test_the_same_in_any_order(pool: list[Candidate], seed: bytes, shuffler: random.Random) -> None:
    shuffled = pool.copy()
    shuffler.shuffle(shuffled)
    assert chosen(shuffled, seed) == chosen(pool, seed)


@hypothesis_settings(max_examples=30)
@given(pools, seeds)
def test_a_decoy_is_the_double_of_a_zipcode_that_was_chosen(pool: list[Candidate], seed: bytes) -> None:
    choice = chosen(pool, seed)
    if choice is None:
        return
    known = {one.zipcode: one for one in pool}
    published = {one.zipcode: one for one in choice.zipcodes}
    replaced = [one for one in choice.selection.zipcodes if one.zipcode not in published]
    assert len(replaced) == len(choice.honeypots) <= 2
    assert len(choice.zipcodes) == len(choice.selection.zipcodes) == len(published)
    for honeypot in choice.honeypots:
        decoy, told = known[honeypot.zipcode], published[honeypot.zipcode]
        assert decoy.expected_listings == honeypot.real_listings < ALWAYS.threshold
        assert told == replace(decoy, expected_listings=honeypot.published_listings)
        assert any(
            (one.state, one.market_tier, bool(one.city), bool(one.county))
            == (decoy.state, decoy.market_tier, bool(decoy.city), bool(decoy.county))
            and abs(one.expected_listings - told.expected_listings) <= one.expected_listings // 50
            for one in replaced
        )
    for one in choice.zipcodes:
        assert SETTINGS.min_zipcode_listings <= one.expected_listings <= SETTINGS.max_zipcode_listings


@hypothesis_settings(max_examples=30)
@given(pools, seeds)
def test_what_is_chosen_does_not_depend_on_whether_there_are_decoys(
    pool: list[Candidate], seed: bytes
) -> None:
    with_decoys = chosen(pool, seed)
    rarely = chosen(pool, seed, replace(ALWAYS, probability=1e-18))
    assert (with_decoys is None) is (rarely is None)
    if with_decoys is not None and rarely is not None:
        assert rarely.honeypots == ()
        assert with_decoys.selection == rarely.selection
        assert with_decoys.decoys == rarely.decoys


@hypothesis_settings(max_examples=20)
@given(pools, seeds)
def test_without_honeypots_the_selection_is_as_if_there_were_none(pool: list[Candidate], seed: bytes) -> None:
    for none in (None, replace(ALWAYS, probability=0)):
        choice = chosen(pool, seed, none)
        if choice is not None:
            assert choice.selection == select(pool, SETTINGS, seed, START_AT)
            assert (choice.honeypots, choice.decoys) == ((), ())


@hypothesis_settings(max_examples=25)
@given(pools, st.integers(0, 2**32))
def test_no_decoy_comes_again_while_it_rests(pool: list[Candidate], number: int) -> None:
    used: set[str] = set()
    for epoch in range(6):
        seed = (number + epoch).to_bytes(32, "big")
        try:
            choice = choose(pool, SETTINGS, ALWAYS, used, seed, START_AT)
        except PoolTooSmallError:
            return
        decoys = {one.zipcode for one in choice.honeypots}
        assert not decoys & used
        assert not {one.zipcode for one in choice.decoys} & used
        used |= decoys


PLENTY = [candidate(f"{number:05d}", 60 + number) for number in range(40)]
DECOY = candidate("90000", 5)


@pytest.mark.parametrize(
    "changes",
    [
        {"expected_listings": 20},
        {"state": "NJ"},
        {"state": "TX"},
        {"market_tier": MarketTier.PREMIUM},
        {"city": ""},
        {"county": ""},
        {"last_scraped_at": START_AT - 31 * DAY},
        {"last_assigned_at": START_AT - timedelta(hours=23)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_no_double_or_may_not_be_assigned_is_no_decoy(changes: dict) -> None:
    fits = choose([*PLENTY, DECOY], SETTINGS, ALWAYS, (), SEED, START_AT)
    assert [one.zipcode for one in fits.honeypots] == ["90000"]
    other = choose([*PLENTY, replace(DECOY, **changes)], SETTINGS, ALWAYS, (), SEED, START_AT)
    assert other.honeypots == ()


def test_a_double_of_the_same_region_is_preferred() -> None:
    elsewhere = [candidate(f"8{number:04d}", 5, geographic_region="elsewhere") for number in range(50)]
    choice = choose([*PLENTY, *elsewhere, DECOY], SETTINGS, ALWAYS, (), SEED, START_AT)
    assert "90000" in {one.zipcode for one in choice.honeypots}
    without = choose([*PLENTY, *elsewhere], SETTINGS, ALWAYS, (), SEED, START_AT)
    assert without.honeypots


def test_how_often_an_epoch_has_decoys_is_the_probability() -> None:
    often = HoneypotSettings(probability=0.3, threshold=20)
    pool = [*PLENTY, *(candidate(f"9{number:04d}", 5) for number in range(4))]
    found = [
        choose(pool, SETTINGS, often, (), number.to_bytes(32, "big"), START_AT).honeypots
        for number in range(500)
    ]
    some = sum(bool(one) for one in found)
    assert abs(some - 150) < 3.3 * (500 * 0.3 * 0.7) ** 0.5
    assert {len(one) for one in found} == {0, 1, 2}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"probability": -0.1}, "probability"),
        ({"probability": 1.1}, "probability"),
        ({"threshold": 0}, "threshold"),
        ({"rest": timedelta(seconds=-1)}, "rest"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        HoneypotSettings(**changes)


def test_a_threshold_must_lie_below_what_may_be_assigned() -> None:
    with pytest.raises(ValueError, match="threshold"):
        choose(PLENTY, SETTINGS, replace(ALWAYS, threshold=21), (), SEED, START_AT)
    assert choose(PLENTY, SETTINGS, replace(ALWAYS, threshold=20), (), SEED, START_AT).zipcodes


@pytest.mark.parametrize(
    "changes",
    [
        {"geographic_region": "elsewhere"},
        {"city": ""},
        {"county": ""},
        {"expected_listings": 6},
        {"state": "NJ"},
        {"market_tier": MarketTier.PREMIUM},
        {"zipcode": "90001"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_hash_covers_all_that_matters_of_a_decoy(changes: dict) -> None:
    changed = [*PLENTY, replace(DECOY, **changes)]
    assert whole_pool_hash(changed) != whole_pool_hash([*PLENTY, DECOY])


def test_the_hash_of_version_1_stays_what_it_was() -> None:
    known, unknown = replace(DECOY, geographic_region="elsewhere"), DECOY
    assert candidate_pool_hash([known]) == candidate_pool_hash([unknown])
