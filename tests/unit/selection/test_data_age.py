"""Tests for how long an import can fill epochs, and when a warning is given."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from tests.support.candidates import DAY, START_AT, candidate
from zipcast.selection.data_age import DataGroup, count_too_old, outlook
from zipcast.selection.model import Candidate, SelectionSettings

SETTINGS = SelectionSettings(target_listings=1000, cooldown=timedelta(hours=24))
EPOCH = timedelta(hours=4)
POOL = [candidate(f"{number:05d}", 500, last_scraped_at=START_AT - 20 * DAY) for number in range(20)]


def groups_of(candidates: Iterable[Candidate], settings: SelectionSettings) -> list[DataGroup]:
    """Return the candidates that may be drawn, grouped by when their data was collected."""
    found: dict[datetime, list[int]] = defaultdict(list)
    for one in candidates:
        if settings.may_be_drawn(one):
            found[one.last_scraped_at].append(one.expected_listings)
    return [DataGroup(at, len(listings), sum(listings)) for at, listings in found.items()]


def test_data_of_one_day_lasts_until_that_day_is_too_old() -> None:
    found = outlook(groups_of(POOL, SETTINGS), SETTINGS, EPOCH, START_AT)
    assert (found.zipcodes, found.too_old, found.newest_at) == (20, 0, START_AT - 20 * DAY)
    assert found.enough_until == START_AT + 10 * DAY
    assert found.epochs_left == 60
    assert found.fault(START_AT) is None
    assert found.note(START_AT).startswith("20 ")
    warned = found.fault(START_AT + 3 * DAY)
    assert warned is not None
    assert "168 more hours" in warned


def test_what_rests_counts_too() -> None:
    """Seven times 1,100 listings are needed. 20 zipcodes of 500 have them, and 15 do not."""
    aged = [replace(one, last_scraped_at=START_AT - 29 * DAY) for one in POOL[:5]]
    found = outlook(groups_of([*aged, *POOL[5:]], SETTINGS), SETTINGS, EPOCH, START_AT)
    assert found.enough_until == START_AT + DAY
    assert found.epochs_left == 6


def test_old_data_is_counted_and_told() -> None:
    later = START_AT + 11 * DAY
    found = outlook(groups_of(POOL, SETTINGS), SETTINGS, EPOCH, later)
    assert (found.too_old, found.enough_until, found.epochs_left) == (20, None, 0)
    assert "20 of 20" in str(found.fault(later))
    assert "2 days" in str(found.fault(later, relaxed_age_days=2))
    assert count_too_old(POOL, SETTINGS, later) == 20
    assert count_too_old(POOL, SETTINGS, START_AT) == 0


def test_a_pool_without_zipcodes_says_so() -> None:
    found = outlook([], SETTINGS, EPOCH, START_AT)
    assert (found.zipcodes, found.epochs_left, found.enough_until) == (0, 0, None)
    assert "STATE_PRIORITIES" in str(found.fault(START_AT))


def test_a_short_limit_is_not_warned_of_all_the_time() -> None:
    short = replace(SETTINGS, max_data_age=2 * DAY)
    fresh = [replace(one, last_scraped_at=START_AT) for one in POOL]
    found = outlook(groups_of(fresh, short), short, EPOCH, START_AT)
    assert found.fault(START_AT) is None
    assert found.fault(START_AT + DAY) is not None
