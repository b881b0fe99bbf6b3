"""Signals at their thresholds."""

from datetime import timedelta

import pytest

from schedulers.signal_rules import (
    Exactness,
    SignalSettings,
    exact_target,
    implausible_speed,
    nonce_failures,
)
from tests.unit.fakes import START_AT

SETTINGS = SignalSettings()


@pytest.mark.parametrize(("refusals", "suppressed", "told"), [(2, 900, False), (3, 0, True), (20, 5, True)])
def test_refused_nonces_are_told_from_three_of_ones_own_on(
    refusals: int, suppressed: int, told: bool
) -> None:
    details = nonce_failures(refusals, suppressed, SETTINGS)
    assert details == ({"refusals": refusals, "suppressed": suppressed} if told else None)


@pytest.mark.parametrize(
    ("seconds", "listings", "told"),
    [
        (200, 10_000, False),
        (199, 10_000, True),
        (0.2, 50, False),
        (0.2, 51, True),
        (-3, 51, True),
        (60, 0, False),
    ],
)
def test_more_listings_than_can_be_fetched_in_that_time(seconds: float, listings: int, told: bool) -> None:
    details = implausible_speed(START_AT, START_AT + timedelta(seconds=seconds), listings, SETTINGS)
    assert details == ({"listings": listings, "seconds": max(1.0, seconds)} if told else None)


def exactness(*pairs: tuple[int, int]) -> list[Exactness]:
    return [Exactness(f"epoch-{number}", reported, exact) for number, (reported, exact) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("history", "epochs"),
    [
        ([], None),
        ([(10, 9)], 1),
        ([(10, 8)], None),
        ([(5, 5)], 1),
        ([(4, 4)], None),  # too few to be told from chance
        ([(4, 2), (4, 2), (4, 2)], 3),
        ([(4, 2), (4, 2), (4, 1)], None),
        ([(4, 1), (4, 4), (4, 4), (4, 4)], None),  # not in the epoch itself
        ([(4, 2), (9, 0), (9, 0), (9, 0), (4, 2), (4, 2)], 3),
        ([(4, 2), (9, 0), (9, 0), (9, 0), (9, 0), (4, 2), (4, 2)], None),  # further back than is looked
        ([(1, 1), (1, 1), (1, 1)], None),
        ([(0, 0)], None),
    ],
)
def test_counts_that_are_exactly_the_published_ones(
    history: list[tuple[int, int]], epochs: int | None
) -> None:
    details = exact_target(exactness(*history), SETTINGS)
    if epochs is None:
        assert details is None
    else:
        assert details is not None
        assert (details["reported"], details["exact"]) == history[0]
        assert len(details["epochs"]) == epochs
        assert details["epochs"][0] == "epoch-0"


def test_thresholds_are_settings() -> None:
    strict = SignalSettings(nonce_failures=1, listings_per_second=1, exact_share=0.5, exact_epochs=2)
    assert nonce_failures(1, 0, strict)
    assert implausible_speed(START_AT, START_AT + timedelta(seconds=10), 11, strict)
    assert exact_target(exactness((6, 3)), strict)
    assert exact_target(exactness((2, 1), (2, 1)), strict)
