"""Thousands of epochs over the sample zipcodes: decoys are not told from others better than by chance."""

import hashlib
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from storage.candidates import as_candidate
from tests.unit.telling_apart import auc, by_name, by_seed, by_size, told_apart
from tests.unit.test_sample_data import sample_outcomes
from tests.unit.test_selection import START_AT, candidate
from zipcast.calendar import EpochCalendar
from zipcast.honeypots import Choice, Honeypot, HoneypotSettings
from zipcast.inputs import SelectionInputs
from zipcast.selection import SelectionSettings, Version
from zipcast.simulation import simulate

SETTINGS = SelectionSettings()
CHANCE = 3.3
FIND = 10.0
"""What a method that gives decoys away must show at the least."""


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


def careless(choice: Choice, chance: random.Random) -> Choice:
    """Decoys as one would think of them first: any, beside what was chosen, with any count that fits."""
    if not choice.honeypots:
        return choice
    room = range(SETTINGS.min_zipcode_listings, SETTINGS.max_zipcode_listings // 2)
    decoys = [replace(one, expected_listings=chance.choice(room)) for one in chance.sample(choice.decoys, 1)]
    real = {one.zipcode: one.expected_listings for one in choice.decoys}
    zipcodes = sorted((*choice.selection.zipcodes, *decoys), key=lambda one: one.zipcode)
    honeypots = [Honeypot(one.zipcode, real[one.zipcode], one.expected_listings) for one in decoys]
    return replace(choice, zipcodes=tuple(zipcodes), honeypots=tuple(honeypots))


def only_the_small(choice: Choice) -> Choice:
    """As this method would be without its units: of the zipcodes that fit, decoys stand for the smallest."""
    if not choice.honeypots:
        return choice
    free = [one for one in choice.zipcodes if one.expected_listings < 2000]
    smallest = min(free, key=lambda one: one.expected_listings)
    return replace(choice, honeypots=(Honeypot(smallest.zipcode, 0, smallest.expected_listings),))


def chosen_by(version: Version, epochs: int) -> list[tuple[Choice, bytes]]:
    """With the seed of each."""
    candidates = [
        *(candidate(f"{10000 + number}", 300 + 7 * number) for number in range(200)),
        *(candidate(f"{90000 + number}", number) for number in range(40)),
    ]
    chosen = []
    for number in range(epochs):
        seed, salt = (hashlib.sha256(b"%s:%d" % (name, number)).digest() for name in (b"seed", b"salt"))
        inputs = SelectionInputs(
            *("", 1, "1", (), SETTINGS, HoneypotSettings(probability=1)),
            salt=salt.hex(),
            zipcodes_sha256="00" * 32,
        )
        choice = inputs.of_version(version).choose(candidates, (), seed, START_AT)
        chosen.append((choice, seed))
    return chosen


def test_the_revealed_seed_tells_no_decoys_without_the_salt() -> None:
    """In version 2 it did: whatever was drawn had a large draw by the seed alone."""
    assert abs(by_seed(chosen_by(Version.WITH_DECOYS, 300))) > FIND
    assert abs(by_seed(chosen_by(Version.BY_SHARES, 300))) < CHANCE


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_nothing_published_tells_decoys_or_their_epochs_apart() -> None:
    found: list[Choice] = []
    run = simulate(
        [as_candidate(row) for row in sample_outcomes()],
        SETTINGS,
        EpochCalendar(14_400),
        start_at=datetime(2026, 1, 1, tzinfo=UTC),
        epochs=2500,
        seed=1,
        honeypots=HoneypotSettings(probability=0.5),
        watch=found.append,
    )
    assert all(epoch.total_listings is not None for epoch in run)
    assert len(found) == 2500
    assert sum(len(choice.honeypots) for choice in found) > 1500
    for choice in found:
        assert SETTINGS.lowest_total <= choice.true_total < choice.published_total + (not choice.honeypots)
        assert choice.published_total <= SETTINGS.highest_total
    told = told_apart(found)
    assert max(map(abs, told.values())) < CHANCE, told
    chance = random.Random(7)  # noqa: S311
    naive = told_apart([careless(choice, chance) for choice in found])
    assert abs(naive["number"]) > FIND, naive
    assert abs(naive["total"]) > FIND, naive
    assert naive["tier"] > CHANCE < naive["region"], naive
    assert abs(told_apart([only_the_small(choice) for choice in found])["count"]) > FIND
