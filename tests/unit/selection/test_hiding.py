"""Tests that a year of epochs over the sample zipcodes does not reveal honeypots better than chance."""

import hashlib
import random
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest

from storage.database.candidates import as_candidate
from tests.support.sample_rows import sample_outcomes
from tests.support.telling_apart import auc, by_name, by_size, monthly_imports, told_apart, weighted_auc
from zipcast.protocol.calendar import EpochCalendar
from zipcast.selection.eligibility import hideable
from zipcast.selection.false_counts import chances, publish
from zipcast.selection.honeypots import Choice, HoneypotSettings
from zipcast.selection.model import SelectionSettings
from zipcast.selection.simulation import simulate

SETTINGS = SelectionSettings()
START_AT = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 300
CHANCE = 3.3
FIND = 10.0
"""The AUC that a method which reveals honeypots must reach at least."""
Found = dict[str, tuple[list[tuple[float, float]], list[tuple[float, float]]]]
"""By name, the weighted values of real zipcodes and of honeypots."""


def test_the_measures_measure() -> None:
    chance = random.Random(7)  # noqa: S311
    one = [chance.gauss(0, 1) for _ in range(1500)]
    same = [chance.gauss(0, 1) for _ in range(9000)]
    shifted = [chance.gauss(0.5, 1) for _ in range(9000)]
    assert auc([2, 2], [1, 2, 3]) == 0.5
    assert auc([5], [1, 2]) == 1
    assert abs(by_size(one, same)) < CHANCE < FIND < abs(by_size(one, shifted))
    names = ["a", "b", "c"]
    likely, alike = chance.choices(names, (5, 3, 2), k=1500), chance.choices(names, (5, 3, 2), k=9000)
    other = chance.choices(names, (3, 5, 2), k=9000)
    assert abs(by_name(likely, alike)) < CHANCE < FIND < by_name(likely, other)


def year(seed: int) -> list[Choice]:
    zipcodes = [as_candidate(row) for row in sample_outcomes()]
    found: list[Choice] = []
    run = simulate(
        zipcodes,
        SETTINGS,
        EpochCalendar(14_400),
        start_at=START_AT,
        epochs=6 * DAYS,
        seed=seed,
        honeypots=HoneypotSettings(),
        imports=monthly_imports(zipcodes, START_AT, DAYS // 30, seed),
        watch=found.append,
    )
    assert all(epoch.total_listings is not None for epoch in run)
    return found


def histories(seed: int, probability: float, found: Found) -> None:
    """Add what ten monthly imports publish of each zipcode, weighted by its chance to be the next one drawn.
    A year of draws has these expected values, with noise."""
    zipcodes = [as_candidate(row) for row in sample_outcomes()]
    imports = [zipcodes, *monthly_imports(zipcodes, START_AT, DAYS // 30, seed).values()]
    pool = None
    counts: dict[str, dict[int, int]] = defaultdict(dict)
    seen: list[tuple[str, int, float, bool]] = []
    for month, now in enumerate(imports):
        key = hashlib.sha256(f"{seed}:{month}".encode()).digest()
        pool = publish(now, pool, SETTINGS, HoneypotSettings(probability), key)
        drawn = hideable([one for one in pool.candidates if SETTINGS.may_be_drawn(one)], SETTINGS)
        for one, chance in zip(drawn, chances(drawn, SETTINGS), strict=True):
            counts[one.zipcode][month] = one.expected_listings
            seen.append((one.zipcode, month, chance, one.zipcode in pool.real_listings))
    for zipcode, month, chance, is_honeypot in seen:
        history = counts[zipcode]
        told = {
            "count": history[month],
            "first seen": min(history),
            "last seen": max(history),
            "how many months": len(history),
            "how many counts": len(set(history.values())),
            "spread of counts": max(history.values()) / min(history.values()),
            "chance": chance,
        }
        for name, value in told.items():
            found[name][is_honeypot].append((value, chance))


@pytest.mark.long
@pytest.mark.parametrize("probability", [0.3, 0.5])
def test_what_imports_publish_does_not_tell_honeypots(probability: float) -> None:
    """Nine worlds with fixed seeds are used, so that the few honeypots of one have little weight."""
    found: Found = defaultdict(lambda: ([], []))
    for seed in range(1, 10):
        histories(seed, probability, found)
    told = {name: weighted_auc(honeypots, others) for name, (others, honeypots) in found.items()}
    assert max(abs(one - 0.5) for one in told.values()) <= 0.05, told


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_year_of_open_messages_does_not_tell_honeypots() -> None:
    """Six worlds are used, because the few honeypots of one world may have something in common by chance."""
    worlds = [year(seed) for seed in range(1, 7)]
    for found in worlds:
        assert sum(len(choice.honeypots) for choice in found) > 400
        for choice in found:
            for total in (choice.published_total, choice.true_total):
                assert SETTINGS.lowest_total <= total <= SETTINGS.highest_total
    told = told_apart(worlds)
    assert max(abs(one - 0.5) for one in told.values()) <= 0.05, told


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_observer_finds_honeypots_that_have_a_history_of_their_own() -> None:
    """Here each epoch has other honeypots, which are seen once, each with its own count."""
    numbers = count()
    careless: list[Choice] = []
    for choice in year(5)[:900]:
        fresh = {one.zipcode: f"{next(numbers):05d}" for one in choice.honeypots}
        careless.append(
            replace(
                choice,
                zipcodes=tuple(
                    replace(one, zipcode=fresh.get(one.zipcode, one.zipcode)) for one in choice.zipcodes
                ),
                honeypots=tuple(replace(one, zipcode=fresh[one.zipcode]) for one in choice.honeypots),
            )
        )
    told = told_apart([careless])
    assert abs(told["how often in all"] - 0.5) > 0.3, told
