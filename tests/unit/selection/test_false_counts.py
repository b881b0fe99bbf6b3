"""Tests the false counts of imports: honeypots appear, change and disappear as real zipcodes do."""

import hashlib
from collections import Counter
from dataclasses import replace

import pytest

from storage.database.candidates import as_candidate
from tests.support.candidates import candidate
from tests.support.sample_rows import sample_outcomes
from tests.support.telling_apart import auc
from zipcast.selection.false_counts import PublishedPool, publish
from zipcast.selection.honeypots import HoneypotSettings
from zipcast.selection.model import Candidate, SelectionSettings

SETTINGS = SelectionSettings()
HONEYPOTS = HoneypotSettings()


def key(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def sample() -> list[Candidate]:
    return [as_candidate(row) for row in sample_outcomes()]


def members(pool: PublishedPool) -> dict[str, Candidate]:
    return {one.zipcode: one for one in pool.candidates if one.zipcode in pool.real_listings}


def test_all_but_honeypots_are_published_as_they_are() -> None:
    zipcodes = sample()
    pool = publish(zipcodes, None, SETTINGS, HONEYPOTS, key(1))
    real = {one.zipcode: one for one in zipcodes}
    assert [one.zipcode for one in pool.candidates] == sorted(real)
    for one in pool.candidates:
        if one.zipcode in pool.real_listings:
            assert pool.real_listings[one.zipcode] == real[one.zipcode].expected_listings < 50
            assert one.expected_listings >= 50
            false = {"expected_listings": 0, "population": None, "base_weight": 1.0}
            assert replace(one, **false) == replace(real[one.zipcode], **false)
        else:
            assert one == real[one.zipcode]


def test_the_key_decides_which() -> None:
    first = publish(sample(), None, SETTINGS, HONEYPOTS, key(1))
    assert publish(reversed(sample()), None, SETTINGS, HONEYPOTS, key(1)) == first
    other = publish(sample(), None, SETTINGS, HONEYPOTS, key(2))
    assert len(set(first.real_listings) & set(other.real_listings)) < len(first.real_listings) / 3


def test_states_tiers_and_counts_are_those_of_real_zipcodes() -> None:
    zipcodes = sample()
    real = [one for one in zipcodes if one.expected_listings >= HONEYPOTS.threshold]
    found = [
        one
        for number in range(30)
        for one in members(publish(zipcodes, None, SETTINGS, HONEYPOTS, key(number))).values()
    ]
    assert (
        abs(auc([one.expected_listings for one in found], [one.expected_listings for one in real]) - 0.5)
        < 0.02
    )
    for of in (lambda one: one.state, lambda one: one.market_tier):
        ours, theirs = Counter(map(of, found)), Counter(map(of, real))
        for name in theirs:
            assert ours[name] / len(found) == pytest.approx(theirs[name] / len(real), abs=0.02)


def test_nothing_changes_where_no_count_changed() -> None:
    before = publish(sample(), None, SETTINGS, HONEYPOTS, key(1))
    after = publish(sample(), before, SETTINGS, HONEYPOTS, key(2))
    assert after == before


def test_counts_change_vanish_and_appear_as_real_ones_do() -> None:
    zipcodes = sample()
    before = publish(zipcodes, None, SETTINGS, HoneypotSettings(0.9), key(1))

    def now(one: Candidate) -> Candidate:
        number = key(int(one.zipcode))[0]
        if one.expected_listings < 50:
            return one
        if number < 50:
            return replace(one, expected_listings=30)
        return replace(one, expected_listings=one.expected_listings * 3 // 2) if number < 128 else one

    after = publish(map(now, zipcodes), before, SETTINGS, HoneypotSettings(0.9), key(2))
    kept = members(before).keys() & members(after).keys()
    grown = [
        members(after)[one].expected_listings / members(before)[one].expected_listings for one in sorted(kept)
    ]
    assert len(kept) / len(before.real_listings) == pytest.approx(206 / 256, abs=0.06)
    assert sum(ratio == 1 for ratio in grown) / len(kept) == pytest.approx(128 / 206, abs=0.12)
    assert {round(ratio, 1) for ratio in grown} <= {1.0, 1.5}


def test_one_that_is_too_small_to_be_drawn_comes_back_under_its_name() -> None:
    """Real zipcodes do so. Otherwise a zipcode that disappears and comes back would be real."""
    rest = [
        *(candidate(f"2{number:04d}", 600 + number % 400) for number in range(1200)),
        *(candidate(f"9{number:04d}", number % 50) for number in range(300)),
    ]
    large = [*rest, *(candidate(f"1{number:04d}", 300 + number % 50) for number in range(400))]
    small = [*rest, *(candidate(f"1{number:04d}", 100 + number % 50) for number in range(400))]
    pools = [publish(large, None, SETTINGS, HoneypotSettings(0.9), key(1))]
    for number, now in enumerate((small, large), start=2):
        pools.append(publish(now, pools[-1], SETTINGS, HoneypotSettings(0.9), key(number)))
    drawn = [{one.zipcode for one in members(pool).values() if SETTINGS.may_be_drawn(one)} for pool in pools]
    assert len(drawn[0] - drawn[1]) > 10
    assert drawn[1] < drawn[0] == drawn[2]


def test_another_probability_brings_others_or_gives_some_up() -> None:
    pools = [publish(sample(), None, SETTINGS, HONEYPOTS, key(1))]
    for probability in (0.6, 0.15, 0):
        pools.append(
            publish(sample(), pools[-1], SETTINGS, HoneypotSettings(probability), key(len(pools) + 1))
        )
    first, more, fewer, none = (pool.real_listings for pool in pools)
    assert first.items() <= more.items() >= fewer.items()
    assert len(more) / len(first) == pytest.approx(2, abs=0.2)
    assert len(fewer) / len(first) == pytest.approx(0.5, abs=0.1)
    assert none == {}


def test_who_rises_above_the_threshold_retires_for_good() -> None:
    before = publish(sample(), None, SETTINGS, HONEYPOTS, key(1))
    gone = min(before.real_listings)
    risen = [replace(one, expected_listings=50) if one.zipcode == gone else one for one in sample()]
    after = publish(risen, before, SETTINGS, HONEYPOTS, key(2))
    assert gone in after.retired
    published = next(one for one in after.candidates if one.zipcode == gone)
    assert published.expected_listings == 50
    later = after
    for number in range(3, 13):
        later = publish(sample(), later, SETTINGS, HoneypotSettings(0.9), key(number))
        assert gone in later.retired
        assert gone not in later.real_listings


def test_real_ones_that_fell_are_preferred_and_keep_their_last_count() -> None:
    zipcodes = [
        *(candidate(f"1{number:04d}", 300 + number) for number in range(200)),
        *(candidate(f"9{number:04d}", number % 50) for number in range(200)),
    ]
    before = publish(zipcodes, None, SETTINGS, HONEYPOTS, key(1))
    retiring = set(before.real_listings)
    fallen = {f"1{number:04d}" for number in range(0, 200, 20)}
    changed = [
        replace(one, expected_listings=60 if one.zipcode in retiring else 10)
        if one.zipcode in retiring | fallen
        else one
        for one in zipcodes
    ]
    after = publish(changed, before, SETTINGS, HONEYPOTS, key(2))
    last = {one.zipcode: one.expected_listings for one in zipcodes}
    assert len(after.real_listings) > 0
    assert set(after.real_listings) <= fallen
    assert all(one.expected_listings == last[zipcode] for zipcode, one in members(after).items())


def test_without_probability_or_room_there_are_none() -> None:
    assert publish(sample(), None, SETTINGS, HoneypotSettings(0), key(1)).real_listings == {}
    narrow = replace(SETTINGS, tolerance_percent=1)
    assert publish(sample(), None, narrow, HONEYPOTS, key(1)).real_listings == {}
