"""Tests that an operator who has the secret and the database, and may choose every commitment, cannot choose
a draw.

Signatures are arguments of the pure functions, so random bytes replace the signatures of future rounds.
"""

import random
from datetime import UTC, datetime, timedelta

from tests.support.candidates import candidate
from zipcast.protocol.beacon import BeaconRound
from zipcast.selection import seeds
from zipcast.selection.honeypots import choose
from zipcast.selection.model import SelectionSettings
from zipcast.selection.ranking import rank, weights

START = datetime(2026, 11, 22, 4, tzinfo=UTC)
EPOCHS = 40
TRIES = 400
SETTINGS = SelectionSettings(
    target_listings=2000,
    tolerance_percent=10,
    min_zipcode_listings=200,
    max_zipcode_listings=900,
    cooldown=timedelta(0),
)
POOL = [candidate(f"{15000 + number}", 200 + 37 * number % 500) for number in range(24)]
WANTED = {POOL[3].zipcode, POOL[11].zipcode}
RANDOM = random.Random(16)  # noqa: S311 - stands for a beacon, the same in every run


def beacon(number: int) -> BeaconRound:
    return BeaconRound("quicknet", number, RANDOM.randbytes(48), False)


def drawn(seed: bytes, used: BeaconRound | None) -> set[str]:
    draw_seed = seeds.derive_draw_seed(seed, used)
    choice = choose(POOL, {}, SETTINGS, draw_seed, START, probability=0)
    return {one.zipcode for one in choice.zipcodes}


def secret_that_draws_the_wanted(epoch: int, expected: BeaconRound | None) -> bytes:
    """Return a secret that draws the wanted zipcodes, or None. Try secrets as an operator could before
    committing: with a round that is known by then, or with none."""
    for number in range(TRIES):
        secret = f"a secret to try for epoch {epoch:08d}, number {number:08d}".encode()
        seed = seeds.derive_seed(secret, "finney", 46, f"epoch {epoch}")
        if drawn(seed, expected) >= WANTED:
            return seed
    raise AssertionError("the attack has too few tries to be one")


def test_choosing_secrets_before_committing_gives_nothing_better_than_chance() -> None:
    by_chance = [drawn(RANDOM.randbytes(32), beacon(number)) >= WANTED for number in range(600)]
    chance = sum(by_chance) / len(by_chance)
    assert 0.005 < chance < 0.2
    known = beacon(1)
    hits = 0
    for epoch in range(EPOCHS):
        seed = secret_that_draws_the_wanted(epoch, known)
        assert drawn(seed, known) >= WANTED  # the operator counted on this
        hits += drawn(seed, beacon(1000 + epoch)) >= WANTED
    expected = EPOCHS * chance
    assert hits <= expected + 4 * (expected * (1 - chance)) ** 0.5 + 1
    # Without a beacon, all attempts would have succeeded. Therefore epochs without a beacon are never called
    # proven.
    seed = secret_that_draws_the_wanted(0, None)
    assert drawn(seed, None) >= WANTED


def test_a_thousand_beacons_draw_in_proportion_to_weight_with_nothing_else_varying() -> None:
    seed = seeds.derive_seed(b"s" * 32, "finney", 46, "2026-11-22T04-00-00")
    pool = POOL[:7]
    first = dict.fromkeys((one.zipcode for one in pool), 0)
    for number in range(1, 1001):
        key = seeds.derive_draw_seed(seed, beacon(number))
        first[rank(pool, SETTINGS, key).ranked[0].zipcode] += 1
    weighed = weights(pool, SETTINGS)
    expected = [1000 * weight / sum(weighed) for weight in weighed]
    counted = [first[one.zipcode] for one in pool]
    chi_square = sum((found - mean) ** 2 / mean for found, mean in zip(counted, expected, strict=True))
    assert chi_square < 22.46  # six degrees of freedom: one in a thousand honest draws exceeds this
