"""Tests selection against a literal implementation of docs/protocol.md, and against brute force."""

import hashlib
import hmac
import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.candidates import DAY, SEED, START_AT, candidate
from zipcast.selection.model import Candidate, MarketTier, PoolTooSmallError, Selection, SelectionSettings
from zipcast.selection.ranking import rank, state_shares
from zipcast.selection.select import draw, select

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"
TICK = timedelta.resolution
SMALL = SelectionSettings(
    target_listings=50, tolerance_percent=10, min_zipcode_listings=2, max_zipcode_listings=40
)


def exactly(total: int, **changes: Any) -> SelectionSettings:
    return replace(SMALL, target_listings=total, tolerance_percent=0, **changes)


def zipcodes(chosen: Sequence[Candidate]) -> list[str]:
    return [each.zipcode for each in chosen]


def key(pool: Sequence[Candidate], settings: SelectionSettings, seed: bytes, each: Candidate) -> float:
    """Return the key of steps 2 and 3 of the protocol, with independent code."""

    def softened(one: Candidate) -> float:
        plain = one.expected_listings * math.log((one.population or 0) + one.expected_listings)
        plain *= dict(settings.tier_weights)[one.market_tier] / dict(settings.state_priorities)[one.state]
        return math.pow(plain * one.base_weight, 1 - settings.selection_randomness)

    weight = softened(each)
    number = int(hmac.new(seed, f"draw:{each.zipcode}".encode(), hashlib.sha256).hexdigest()[:16], 16)
    return float(f"{-math.log((number // 2048 + 0.5) / 2**53) / weight:.11e}")


def ranked(pool: Sequence[Candidate], settings: SelectionSettings, seed: bytes) -> list[Candidate]:
    return sorted(pool, key=lambda each: (key(pool, settings, seed, each), each.zipcode))


def brute_force(pool: Sequence[Candidate], settings: SelectionSettings, seed: bytes) -> list[str]:
    """Return the result of step 5: the first subset in rank order that fits, cut off where it reaches the
    target."""
    return first_that_fits(ranked(pool, settings, seed), settings)


def first_that_fits(order: Sequence[Candidate], settings: SelectionSettings) -> list[str]:
    for taken in product((True, False), repeat=len(order)):
        subset = [each for each, take in zip(order, taken, strict=True) if take]
        total = sum(each.expected_listings for each in subset)
        if settings.lowest_total <= total <= settings.highest_total:
            while total - subset[-1].expected_listings >= settings.target_listings:
                total -= subset.pop().expected_listings
            return zipcodes(subset)
    return []


candidates = st.builds(
    candidate,
    st.just("00000"),
    st.integers(2, 40),
    state=st.sampled_from(["PA", "NJ", "MD"]),
    market_tier=st.sampled_from(MarketTier),
    population=st.none() | st.integers(0, 100_000),
    base_weight=st.floats(0.01, 100),
)
pools = st.lists(candidates, min_size=1, max_size=8).map(
    lambda pool: [replace(each, zipcode=f"{number:05d}") for number, each in enumerate(pool)]
)
seeds = st.binary(min_size=32, max_size=32)
small_settings = st.builds(
    replace,
    st.just(SMALL),
    target_listings=st.integers(20, 120),
    tolerance_percent=st.sampled_from([0, 1, 10, 30]),
    selection_randomness=st.sampled_from([0, 0.25, 1]),
    geographic_spread_factor=st.sampled_from([0, 0.15, 1]),
)


# The documented vectors.


def vectors() -> dict[str, Any]:
    section = PROTOCOL.read_text().split("\n## Selection\n")[1].split("\n## ")[0]
    read: dict[str, Any] = json.loads(section.split("```json\n")[1].split("```")[0])
    return read


VECTORS = vectors()
DOCUMENTED_POOL = [
    candidate(
        row["zipcode"],
        row["expectedListings"],
        state=row["state"],
        market_tier=MarketTier(row["marketTier"]),
        population=row["population"],
        base_weight=row["baseWeight"],
    )
    for row in VECTORS["pool"]
]
DOCUMENTED_SEED = bytes.fromhex(VECTORS["drawKey"])


@pytest.mark.parametrize("vector", VECTORS["selections"], ids=lambda vector: str(vector["targetListings"]))
def test_the_documented_selections_hold(vector: dict[str, Any]) -> None:
    settings = SelectionSettings(
        target_listings=vector["targetListings"], tolerance_percent=vector["tolerancePercent"]
    )
    selection = select(DOCUMENTED_POOL, settings, DOCUMENTED_SEED, START_AT)
    assert zipcodes(selection.zipcodes) == vector["zipcodes"]
    assert selection.total_listings == vector["totalListings"]


def test_the_documented_ranks_hold() -> None:
    everything = SelectionSettings(
        target_listings=sum(each.expected_listings for each in DOCUMENTED_POOL), tolerance_percent=0
    )
    assert zipcodes(rank(DOCUMENTED_POOL, everything, DOCUMENTED_SEED).ranked) == VECTORS["ranked"]


@pytest.mark.parametrize("row", VECTORS["pool"], ids=lambda row: row["zipcode"])
def test_the_documented_draws_and_keys_are_those_of_the_protocol(row: dict[str, Any]) -> None:
    drawn = hmac.digest(DOCUMENTED_SEED, b"draw:" + row["zipcode"].encode(), "sha256")[:8]
    each = next(one for one in DOCUMENTED_POOL if one.zipcode == row["zipcode"])
    assert drawn.hex() == row["draw"]
    assert key(DOCUMENTED_POOL, SelectionSettings(), DOCUMENTED_SEED, each) == float(row["key"])


# Totals that fit.


@given(pools, small_settings, seeds)
def test_what_fits_is_found_whatever_the_turns(
    pool: list[Candidate], settings: SelectionSettings, seed: bytes
) -> None:
    drawn = draw(pool, settings, seed)
    assert bool(drawn) is bool(brute_force(pool, settings, seed))
    assert len(set(zipcodes(drawn))) == len(drawn)
    if drawn:
        total = sum(each.expected_listings for each in drawn)
        assert settings.lowest_total <= total <= settings.highest_total


# Turns of the states.


def of_states(**counts: int) -> list[Candidate]:
    """Return this many zipcodes of 10 listings in each state, all with the same weight, except for the
    states' priorities."""
    names = [state for state, count in counts.items() for _ in range(count)]
    return [candidate(f"{number:05d}", 10, state=state) for number, state in enumerate(names)]


BY_PRIORITY = {
    "state_priorities": (("PA", 1), ("NJ", 2), ("NY", 6)),  # shares of 60, 30 and 10 percent
    "selection_randomness": 0,
    "geographic_spread_factor": 0,
}


@given(seeds, st.integers(1, 20))
def test_no_state_gets_a_whole_zipcode_more_than_its_share(seed: bytes, number: int) -> None:
    """This holds for any number of zipcodes."""
    pool = of_states(PA=20, NJ=20, NY=500)
    drawn = draw(pool, exactly(10 * number, **BY_PRIORITY), seed)
    assert len(drawn) == number
    for state, percent in (("PA", 60), ("NJ", 30), ("NY", 10)):
        count = sum(each.state == state for each in drawn)
        assert count <= -(-percent * number // 100)


@pytest.mark.parametrize(("factor", "shares"), [(0, [0.6, 0.3, 0.1]), (1, [1 / 3] * 3)])
def test_the_spread_runs_from_shares_by_priority_to_equal_ones(factor: float, shares: list[float]) -> None:
    settings = exactly(100, **(BY_PRIORITY | {"geographic_spread_factor": factor}))
    found = state_shares(["PA", "NJ", "NY"], settings)
    assert [round(found[state], 11) for state in ("PA", "NJ", "NY")] == [round(one, 11) for one in shares]


@given(seeds, st.integers(1, 9))
def test_strict_priorities_exhaust_a_state_before_the_next(seed: bytes, number: int) -> None:
    pool = of_states(PA=3, NJ=4, NY=500)
    settings = exactly(10 * number, **BY_PRIORITY, strict_priorities=True)
    drawn = Counter(each.state for each in draw(pool, settings, seed))
    assert [drawn[state] for state in ("PA", "NJ", "NY")] == [
        min(3, number),
        min(4, max(0, number - 3)),
        max(0, number - 7),
    ]


def test_strict_priorities_share_among_states_of_one_priority() -> None:
    settings = exactly(
        100,
        state_priorities=(("PA", 1), ("NJ", 1), ("NY", 2)),
        strict_priorities=True,
        selection_randomness=0,
    )
    drawn = Counter(each.state for each in draw(of_states(PA=50, NJ=50, NY=50), settings, SEED))
    assert drawn == {"PA": 5, "NJ": 5}


def test_a_state_takes_the_places_that_others_cannot_fill() -> None:
    """PA has most of the share, but only one zipcode."""
    drawn = draw(of_states(PA=1, NJ=4), exactly(40, **BY_PRIORITY), SEED)
    assert sorted(each.state for each in drawn) == ["NJ", "NJ", "NJ", "PA"]


def test_a_state_takes_no_more_than_its_share_where_the_total_is_enough_already() -> None:
    """NY has a small share. Its second zipcode would raise 45 listings to 50, the target."""
    pool = [
        candidate("00001", 40),
        *(candidate(f"1000{number}", 5, state="NY") for number in range(5)),
    ]
    drawn = draw(pool, replace(SMALL, **BY_PRIORITY), SEED)
    assert sorted(each.expected_listings for each in drawn) == [5, 40]


def test_a_share_of_chance_remains_of_who_is_first() -> None:
    """Binomial; |z| < 3.29. With one zipcode per epoch, a state is first in its share of the epochs."""
    pool = of_states(PA=3, NY=1)
    settings = exactly(10, **(BY_PRIORITY | {"state_priorities": (("PA", 1), ("NY", 3))}))
    first = [each.startswith("00003") for each in first_draws(pool, settings, 2_000)]
    assert abs(sum(first) - 500) / math.sqrt(2_000 * 0.25 * 0.75) < 3.29


def test_the_total_ends_where_it_is_nearest_to_the_target() -> None:
    """After 46 listings, one more of 4 leads to 50, and one of 9 to 55, which is less near."""
    for last, expected in ((4, 50), (7, 53), (8, 46), (9, 46)):
        pool = [candidate("00001", 46, base_weight=1e6), candidate("00002", last, base_weight=1e-6)]
        drawn = draw(pool, replace(SMALL, max_zipcode_listings=46), SEED)
        assert sum(each.expected_listings for each in drawn) == expected


# Room for honeypots.


def test_what_could_not_be_spared_is_left_out_unless_nothing_fits_without_it() -> None:
    settings = replace(SMALL, target_listings=50, tolerance_percent=22)  # from 39 to 61, which is 22 wide
    large = candidate("00009", 21)
    small = [candidate(f"0000{number}", 20) for number in range(3)]
    assert "00009" not in zipcodes(select([*small, large], settings, SEED, START_AT, honeypots=()).pool)
    assert "00009" in zipcodes(select([*small, large], settings, SEED, START_AT).pool)
    needed = select([small[0], large], settings, SEED, START_AT, honeypots=())
    assert sorted(zipcodes(needed.zipcodes)) == ["00000", "00009"]


def test_large_zipcodes_come_back_before_any_cooldown_is_relaxed() -> None:
    settings = replace(SMALL, target_listings=50, tolerance_percent=20)
    pool = [candidate("00001", 40), candidate("00002", 20, **hours_ago(23)), candidate("00003", 20)]
    chosen = select(pool, settings, SEED, START_AT, honeypots=())
    assert (chosen.relaxed_cooldown, sorted(zipcodes(chosen.pool))) == ((), ["00001", "00003"])


@given(st.lists(st.integers(2, 12), min_size=12, max_size=20), seeds, st.integers(0, 19))
def test_the_total_leaves_room_for_the_honeypot_that_was_drawn(
    listings: list[int], seed: bytes, number: int
) -> None:
    settings = replace(SMALL, target_listings=50, tolerance_percent=22)
    pool = [candidate(f"{place:05d}", count) for place, count in enumerate(listings)]
    honeypot = pool[number % len(pool)]
    if sum(listings) < settings.highest_total + honeypot.expected_listings:
        return
    drawn = draw(pool, settings, seed, honeypots=(honeypot.zipcode,))
    total = sum(each.expected_listings for each in drawn)
    if honeypot in drawn:
        assert total - honeypot.expected_listings >= settings.lowest_total


def test_a_rank_that_nothing_completes_is_passed_over() -> None:
    seed = next(
        seed
        for seed in (bytes([byte]) * 32 for byte in range(256))
        if zipcodes(ranked([candidate("00001", 7), candidate("00002", 10)], exactly(10), seed))[0] == "00001"
    )
    assert zipcodes(draw([candidate("00001", 7), candidate("00002", 10)], exactly(10), seed)) == ["00002"]


def test_the_walk_stops_at_the_target_although_more_would_fit() -> None:
    pool = [candidate("00001", 25), candidate("00002", 25), candidate("00003", 3)]
    seed = next(
        seed
        for seed in (bytes([byte]) * 32 for byte in range(256))
        if zipcodes(ranked(pool, SMALL, seed))[2] == "00003"
    )
    assert sorted(zipcodes(draw(pool, SMALL, seed))) == ["00001", "00002"]


@pytest.mark.parametrize(
    ("target", "tolerance", "lowest", "highest"),
    [
        (10_000, 10, 9_000, 11_000),
        (10_001, 0, 10_001, 10_001),
        (15, 10, 14, 16),
        (1, 99, 1, 1),
        (33, 7, 31, 35),
    ],
)
def test_the_tolerance_is_rounded_towards_the_target(
    target: int, tolerance: int, lowest: int, highest: int
) -> None:
    settings = replace(SMALL, target_listings=target, tolerance_percent=tolerance)
    assert (settings.lowest_total, settings.highest_total) == (lowest, highest)


def test_totals_at_both_ends_of_the_tolerance_fit_and_beyond_do_not() -> None:
    for total, fits in ((44, False), (45, True), (55, True), (56, False)):
        pool = [candidate("00001", 20), candidate("00002", total - 20)]
        assert bool(draw(pool, SMALL, SEED)) is fits


# Determinism.


@hypothesis_settings(max_examples=40)
@given(pools, small_settings, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_changes_nothing(
    pool: list[Candidate], settings: SelectionSettings, seed: bytes, shuffler: random.Random
) -> None:
    shuffled = shuffler.sample(pool, len(pool))
    assert outcome(shuffled, settings, seed) == outcome(pool, settings, seed)


def outcome(pool: list[Candidate], settings: SelectionSettings, seed: bytes) -> Selection | str:
    try:
        return select(pool, settings, seed, START_AT)
    except PoolTooSmallError as error:
        return str(error)


def test_each_flipped_bit_of_the_seed_changes_the_selection() -> None:
    pool = [candidate(f"{number:05d}", 10 + number % 7) for number in range(200)]
    settings = replace(SMALL, target_listings=500)
    seen = {tuple(zipcodes(draw(pool, settings, SEED)))}
    for bit in range(0, 256, 5):
        seen.add(tuple(zipcodes(draw(pool, settings, (int.from_bytes(SEED) ^ 1 << bit).to_bytes(32)))))
    assert len(seen) == 1 + len(range(0, 256, 5))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_draw_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="draw key must be 32 bytes"):
        draw([candidate("00001", 50)], exactly(50), bytes(length))


def test_a_zipcode_given_twice_is_refused_even_if_one_is_not_eligible() -> None:
    twice = [candidate("00001", 25), candidate("00001", 25, state="XX")]
    with pytest.raises(ValueError, match="must not name a zipcode twice"):
        select(twice, SMALL, SEED, START_AT)


# Eligibility. In each row, the first value is the last one that is eligible, and the second value the first
# one that is not.


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ({"state": "MD"}, {"state": "CA"}),
        ({"expected_listings": 10}, {"expected_listings": 9}),
        ({"expected_listings": 40}, {"expected_listings": 41}),
        ({"last_scraped_at": START_AT - 30 * DAY}, {"last_scraped_at": START_AT - 30 * DAY - TICK}),
    ],
    ids=["state", "fewest listings", "most listings", "data age"],
)
def test_eligibility_ends_exactly_where_the_protocol_says(
    inside: dict[str, Any], outside: dict[str, Any]
) -> None:
    settings = replace(SMALL, min_zipcode_listings=10)
    others = [candidate("00001", 25), candidate("00002", 25)]
    for changes, eligible in ((inside, True), (outside, False)):
        tested = replace(candidate("00003", 20), **changes)
        pool = select([*others, tested], settings, SEED, START_AT).pool
        assert ("00003" in zipcodes(pool)) is eligible


def test_a_cooldown_ends_exactly_on_time() -> None:
    others = [candidate("00001", 25), candidate("00002", 25)]
    for assigned_at, eligible in ((START_AT - DAY, True), (START_AT - DAY + TICK, False)):
        cooling = candidate("00003", 20, last_assigned_at=assigned_at)
        pool = select([*others, cooling], SMALL, SEED, START_AT).pool
        assert ("00003" in zipcodes(pool)) is eligible


class ClocksGoBack(tzinfo):
    """A time zone one hour ahead of UTC until START_AT - 12 h, then equal to it. A database session may use
    such a zone."""

    def utcoffset(self, instant: datetime | None) -> timedelta:
        assert instant is not None
        summer = instant.replace(tzinfo=None) < START_AT.replace(tzinfo=None) - DAY / 2
        return timedelta(hours=int(summer))

    def dst(self, instant: datetime | None) -> timedelta:
        return self.utcoffset(instant)


def test_a_cooldown_is_a_time_that_passed_not_a_difference_of_local_clocks() -> None:
    zone = ClocksGoBack()
    # 24 h ago, but 23 h by local clocks.
    assigned_at = (START_AT - DAY + timedelta(hours=1)).replace(tzinfo=zone)
    pool = select(
        [
            candidate("00001", 25),
            candidate("00002", 25),
            candidate("00003", 20, last_assigned_at=assigned_at),
        ],
        SMALL,
        SEED,
        START_AT.replace(tzinfo=zone),
    ).pool
    assert "00003" in zipcodes(pool)


def test_a_naive_start_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        select([candidate("00001", 25)], SMALL, SEED, START_AT.replace(tzinfo=None))


# Relaxing the age of data.


def days_old(days: int, more: timedelta = timedelta(0)) -> dict[str, datetime]:
    return {"last_scraped_at": START_AT - days * DAY - more}


def test_old_data_comes_in_by_whole_days_until_the_pool_has_three_times_the_target() -> None:
    pool = [
        candidate("00001", 40),
        *(candidate(f"1000{number}", 25, **days_old(30, number * TICK)) for number in (1, 2)),
        *(candidate(f"2000{number}", 30, **days_old(32, (1 - number) * TICK)) for number in (1, 2)),
        candidate("30001", 30, **days_old(40)),
    ]
    selection = select(pool, SMALL, SEED, START_AT)
    assert selection.relaxed_age_days == 2
    assert zipcodes(selection.pool) == ["00001", "10001", "10002", "20001", "20002"]
    assert selection.relaxed_cooldown == ()


def test_old_data_stays_out_while_fresh_data_fills_the_epoch() -> None:
    pool = [candidate("00001", 25), candidate("00002", 25), candidate("00003", 40, **days_old(31))]
    selection = select(pool, SMALL, SEED, START_AT)
    assert (selection.relaxed_age_days, zipcodes(selection.pool)) == (0, ["00001", "00002"])


def test_age_is_relaxed_before_cooldown_and_then_does_not_count() -> None:
    pool = [
        candidate("00001", 25, **days_old(400)),
        candidate("00002", 25, **days_old(500), **hours_ago(20)),
        candidate("00003", 25, **hours_ago(4)),
    ]
    selection = select(pool, SMALL, SEED, START_AT)
    assert (selection.relaxed_age_days, selection.relaxed_cooldown) == (370, ("00002",))
    assert zipcodes(selection.pool) == ["00001", "00002"]


@hypothesis_settings(max_examples=40)
@given(pools, seeds, st.lists(st.integers(0, 400), min_size=9, max_size=9))
def test_age_alone_never_stops_an_epoch(pool: list[Candidate], seed: bytes, ages: list[int]) -> None:
    aged = [replace(each, **days_old(days)) for each, days in zip(pool, ages, strict=False)]
    if draw(pool, SMALL, seed):
        assert 45 <= select(aged, SMALL, seed, START_AT).total_listings <= 55


# Relaxing the cooldown.


def hours_ago(hours: int) -> dict[str, datetime]:
    return {"last_assigned_at": START_AT - timedelta(hours=hours)}


def test_cooldowns_are_relaxed_oldest_first_and_a_whole_epoch_at_a_time() -> None:
    pool = [
        candidate("00001", 20),
        candidate("00002", 5, **hours_ago(4)),
        candidate("00003", 5, **hours_ago(20)),
        candidate("00004", 25, **hours_ago(16)),
        candidate("00005", 25, **hours_ago(16)),
        candidate("00006", 30, **hours_ago(12)),
    ]
    selection = select(pool, exactly(50), SEED, START_AT)
    assert selection.relaxed_cooldown == ("00003", "00004", "00005")
    assert zipcodes(selection.pool) == ["00001", "00003", "00004", "00005"]
    assert selection.total_listings == 50


def test_no_cooldown_is_relaxed_while_the_rested_ones_fit() -> None:
    pool = [candidate("00001", 25), candidate("00002", 25), candidate("00003", 40, **hours_ago(23))]
    selection = select(pool, SMALL, SEED, START_AT)
    assert selection.relaxed_cooldown == ()
    assert sorted(zipcodes(selection.zipcodes)) == ["00001", "00002"]


@hypothesis_settings(max_examples=40)
@given(pools, seeds, st.lists(st.sampled_from([None, 4, 8, 12, 24]), min_size=9, max_size=9))
def test_relaxing_lets_back_no_more_than_is_needed_and_fails_only_if_nothing_fits(
    pool: list[Candidate], seed: bytes, ages: list[int | None]
) -> None:
    pool = [replace(each, **hours_ago(age)) if age else each for each, age in zip(pool, ages, strict=False)]
    age_of = {each.zipcode: age or 24 for each, age in zip(pool, ages, strict=False)}
    for oldest in (24, 12, 8, 4):
        rested = [each for each in pool if age_of[each.zipcode] >= oldest]
        expected = brute_force(rested, SMALL, seed)
        if expected:
            selection = select(pool, SMALL, seed, START_AT)
            assert 45 <= selection.total_listings <= 55
            let_back = sorted(code for code in zipcodes(rested) if age_of[code] < 24)
            assert list(selection.relaxed_cooldown) == let_back
            return
    with pytest.raises(PoolTooSmallError):
        select(pool, SMALL, seed, START_AT)


def test_a_pool_that_is_too_small_says_how_small() -> None:
    pool = [candidate("00001", 20), candidate("00002", 10, **hours_ago(4))]
    with pytest.raises(PoolTooSmallError) as failure:
        select(pool, SMALL, SEED, START_AT)
    assert str(failure.value) == (
        "no subset of the zipcodes has 45 to 55 listings: 1 fresh, 0 too old, 1 in cooldown, "
        "30 listings in all. Import more zipcodes, or lower the target"
    )


def test_no_candidates_at_all_are_a_pool_too_small() -> None:
    with pytest.raises(PoolTooSmallError):
        select([], SMALL, SEED, START_AT)


# The distribution. Seeds are fixed, so the results are always the same. They would fail if the draw were
# wrong.


def first_draws(pool: Sequence[Candidate], settings: SelectionSettings, rounds: int) -> list[str]:
    """Return the first zipcode of each of many epochs. Each candidate alone meets the target."""
    drawn = (draw(pool, settings, hashlib.sha256(b"%d" % number).digest()) for number in range(rounds))
    return [chosen[0].zipcode for chosen in drawn]


def test_a_zipcode_of_three_times_the_weight_comes_first_three_times_as_often() -> None:
    """Binomial with p = 3/4. |z| < 3.29 holds for 999 of 1,000 sound generators."""
    pool = [candidate("00001", 40, base_weight=3.0), candidate("00002", 40)]
    settings = exactly(40, selection_randomness=0, geographic_spread_factor=0)
    first = first_draws(pool, settings, 2_000).count("00001")
    assert abs(first - 1_500) / math.sqrt(2_000 * 0.75 * 0.25) < 3.29


@pytest.mark.parametrize(
    ("randomness", "powers"), [(0, (1, 4, 9, 16)), (0.5, (1, 2, 3, 4)), (1, (1, 1, 1, 1))]
)
def test_randomness_softens_the_weights_from_proportional_to_uniform(
    randomness: float, powers: tuple[int, ...]
) -> None:
    """Chi-square with 3 degrees of freedom. It is below 16.27 for 999 of 1,000 sound generators."""
    pool = [candidate(f"0000{n}", 40, base_weight=float(n * n)) for n in (1, 2, 3, 4)]
    settings = exactly(40, selection_randomness=randomness, geographic_spread_factor=0)
    seen = first_draws(pool, settings, 2_000)
    expected = [2_000 * power / sum(powers) for power in powers]
    counts = [seen.count(each.zipcode) for each in pool]
    assert sum((n - e) ** 2 / e for n, e in zip(counts, expected, strict=True)) < 16.27


@pytest.mark.parametrize(("factor", "chance"), [(0, 0.25), (1, 0.5)])
def test_full_spread_gives_a_state_the_chance_of_one_of_higher_priority(factor: float, chance: float) -> None:
    """Binomial; |z| < 3.29. There are one zipcode of NJ and three of PA."""
    pool = [candidate(f"0000{n}", 40, state="NJ" if n == 1 else "PA") for n in (1, 2, 3, 4)]
    settings = exactly(
        40, geographic_spread_factor=factor, state_priorities=(("PA", 1), ("NJ", 3)), selection_randomness=0
    )
    first = first_draws(pool, settings, 2_000).count("00001")
    assert abs(first - 2_000 * chance) / math.sqrt(2_000 * chance * (1 - chance)) < 3.29


# Settings and candidates.


@pytest.mark.parametrize(
    "changes",
    [
        {"target_listings": 0},
        {"tolerance_percent": -1},
        {"tolerance_percent": 100},
        {"min_zipcode_listings": 1},
        {"min_zipcode_listings": 3_001},
        {"cooldown": -TICK},
        {"max_data_age": timedelta(0)},
        {"state_priorities": ()},
        {"state_priorities": (("PA", 0),)},
        {"state_priorities": (("PA", 1), ("PA", 2))},
        {"state_priorities": (("Pa", 1),)},
        {"tier_weights": ((MarketTier.PREMIUM, 1.0),)},
        {"tier_weights": tuple((tier, 0.0) for tier in MarketTier)},
        {"tier_weights": tuple((tier, 1.0) for tier in (*MarketTier, MarketTier.PREMIUM))},
        {"selection_randomness": 1.01},
        {"selection_randomness": math.nan},
        {"geographic_spread_factor": -0.01},
    ],
    ids=str,
)
def test_a_setting_that_breaks_its_rule_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(changes))} must "):
        SelectionSettings(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"zipcode": "1910"},
        {"zipcode": "１９１０４"},
        {"zipcode": "19104\n"},
        {"state": "P,"},
        {"expected_listings": -1},
        {"population": -1},
        {"base_weight": 0.0},
        {"base_weight": math.nan},
        {"base_weight": math.inf},
        {"last_scraped_at": START_AT.replace(tzinfo=None)},
        {"last_assigned_at": START_AT.replace(tzinfo=None)},
    ],
    ids=str,
)
def test_a_candidate_that_breaks_a_rule_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(candidate("19104", 20), **changes)
