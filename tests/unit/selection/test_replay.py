"""Tests selection against other code: the second implementation, the page, and bytes that must never
change."""

import hashlib
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.replay import golden
from tests.replay.documented import row_of, selected, settings_document
from tests.replay.from_protocol import choose as replayed_choice
from tests.replay.from_protocol import replay
from tests.replay.pools import START_AT, STATES
from zipcast.selection.honeypots import choose
from zipcast.selection.model import Candidate, MarketTier, PoolTooSmallError, SelectionSettings
from zipcast.selection.ranking import settle_ties
from zipcast.selection.select import select

HOUR = timedelta(hours=1)

candidates = st.builds(
    Candidate,
    zipcode=st.just("00000"),
    state=st.sampled_from(STATES),
    city=st.just("Springfield"),
    county=st.just("Example"),
    market_tier=st.sampled_from(MarketTier),
    geographic_region=st.just("EAST"),
    expected_listings=st.integers(1, 42),
    population=st.none() | st.integers(0, 100_000),
    base_weight=st.just(1.0) | st.floats(1e-3, 1e3),
    last_scraped_at=st.integers(0, 50).map(lambda hours: START_AT - hours * HOUR),
    last_assigned_at=st.none() | st.integers(1, 8).map(lambda epochs: START_AT - 4 * epochs * HOUR),
)
rules = st.builds(
    SelectionSettings,
    target_listings=st.integers(20, 160),
    tolerance_percent=st.sampled_from([0, 3, 10]),
    min_zipcode_listings=st.integers(2, 10),
    max_zipcode_listings=st.integers(30, 40),
    cooldown=st.sampled_from([0 * HOUR, 12 * HOUR, 24 * HOUR]),
    max_data_age=st.just(48 * HOUR),
    selection_randomness=st.sampled_from([0.0, 0.25, 1.0]),
    geographic_spread_factor=st.sampled_from([0.0, 0.15, 1.0]),
    strict_priorities=st.booleans(),
)


def test_the_page_the_replay_and_the_golden_bytes_agree_with_ours():
    assert golden.faults() == []


def test_a_golden_case_relaxes_the_cooldown():
    size, _, changes = golden.CASES["relaxed"]
    seed = hashlib.sha256(b"relaxed").digest()
    assert select(golden.pool("relaxed", size), SelectionSettings(**changes), seed, START_AT).relaxed_cooldown


@hypothesis_settings(max_examples=300)
@given(
    st.lists(candidates, max_size=14),
    rules,
    st.binary(min_size=32, max_size=32),
    st.none() | st.lists(st.integers(0, 13), max_size=3),
)
def test_what_is_written_from_the_page_alone_selects_the_same(
    drawn: list[Candidate], settings: SelectionSettings, seed: bytes, honeypots: list[int] | None
):
    pool = [replace(one, zipcode=f"{7 * number:05d}") for number, one in enumerate(drawn)]
    false = None if honeypots is None else [f"{7 * number:05d}" for number in honeypots]
    rows, start = [row_of(one) for one in pool], START_AT.isoformat()
    told = replay(rows, settings_document(settings), seed.hex(), start, false)
    ours = selected(pool, settings, seed.hex(), start, false)
    assert ours == {name: told[name] for name in ours}


@hypothesis_settings(max_examples=150)
@given(
    st.lists(candidates, max_size=14),
    rules,
    st.binary(min_size=32, max_size=32),
    st.sets(st.integers(0, 13), max_size=8),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_what_is_written_from_the_page_alone_discards_the_same_draws(
    drawn: list[Candidate], settings: SelectionSettings, seed: bytes, honeypots: set[int], probability: float
):
    pool = [replace(one, zipcode=f"{7 * number:05d}") for number, one in enumerate(drawn)]
    real = {one.zipcode: 0 for number, one in enumerate(pool) if number in honeypots}
    rows, start = [row_of(one) for one in pool], START_AT.isoformat()
    told = replayed_choice(rows, real, settings_document(settings), seed.hex(), start, probability)
    try:
        ours = choose(pool, real, settings, seed, START_AT, probability=probability)
    except PoolTooSmallError:
        assert told["zipcodes"] is None
        return
    assert told == {
        "attempt": ours.attempt,
        "zipcodes": [one.zipcode for one in ours.zipcodes],
        "publishedTotal": ours.published_total,
        "trueTotal": ours.true_total,
        "honeypots": [one.zipcode for one in ours.honeypots],
        "discarded": [one.zipcode for one in ours.discarded],
    }


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_keys_that_differ_beyond_twelve_digits_rank_by_zipcode(steps: list[int], shuffler):
    """The keys differ by 0.4 of the twelfth digit, so some neighbours are rounded to the same value and some
    are not."""
    keys = [1.23456789012e-4 * (1 + step * 0.4e-11) for step in steps]
    shuffler.shuffle(keys)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    settle_ties(order, keys)
    assert order == sorted(range(len(keys)), key=lambda index: (float(f"{keys[index]:.11e}"), index))
