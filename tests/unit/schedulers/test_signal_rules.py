"""Tests the thresholds of signals."""

from datetime import timedelta

import pytest

from schedulers.signal_rules import (
    Exactness,
    FalseCount,
    SignalSettings,
    exact_target,
    honeypot_uploads,
    implausible_speed,
    nonce_failures,
)
from tests.support.fakes import START_AT

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
        ([(4, 4)], None),  # too few to be distinguished from chance
        ([(4, 2), (4, 2), (4, 2)], 3),
        ([(4, 2), (4, 2), (4, 1)], None),
        ([(4, 1), (4, 4), (4, 4), (4, 4)], None),  # not in the epoch itself
        ([(4, 2), (9, 0), (9, 0), (9, 0), (4, 2), (4, 2)], 3),
        ([(4, 2), (9, 0), (9, 0), (9, 0), (9, 0), (4, 2), (4, 2)], None),  # further back than the rule looks
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


PUBLISHED = {"19103": 700, "19104": 500, "19106": 900, "07030": 800}
TRAP = {"07030": FalseCount(real=30, published=800)}
GENUINE = {"19103": 70_000, "19104": 50_000, "19106": 90_000}


@pytest.mark.parametrize(
    ("size", "listings"), [(80_000, 800), (40_100, 401), (40_000, None), (3_000, None), (0, None)]
)
def test_an_upload_far_larger_than_a_honeypot_is_a_hit(size: int, listings: int | None) -> None:
    details = honeypot_uploads(GENUINE | {"07030": size}, PUBLISHED, TRAP)
    assert (details and details["uploads"][0]["impliedListings"]) == listings


def test_nothing_is_said_of_uploads_that_name_no_honeypot_or_few_other_zipcodes() -> None:
    assert honeypot_uploads(GENUINE, PUBLISHED, TRAP) is None
    few = {"19103": 70_000, "19104": 50_000, "07030": 80_000}
    assert honeypot_uploads(few, PUBLISHED, TRAP) is None
    assert honeypot_uploads({}, PUBLISHED, TRAP) is None
    empty = dict.fromkeys(GENUINE, 0) | {"07030": 80_000}
    assert honeypot_uploads(empty, PUBLISHED, TRAP) is None
