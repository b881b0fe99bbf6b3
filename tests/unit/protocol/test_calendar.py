"""Tests epoch ids and the times of epochs, with the vectors of docs/protocol.md."""

import json
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipcast.protocol.calendar import (
    EpochCalendar,
    EpochInterval,
    MalformedEpochIdError,
    as_utc,
    format_epoch_id,
    parse_epoch_id,
    preparation_lead,
    scaled,
)

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"
DIVISORS = [seconds for seconds in range(1, 86_401) if 86_400 % seconds == 0]
FOUR_HOURS = EpochCalendar(14_400)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

calendars = st.sampled_from(DIVISORS).map(EpochCalendar)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=zones)  # noqa: DTZ001


def vectors() -> dict[str, Any]:
    section = PROTOCOL.read_text().split("\n## Epoch ids\n")[1].split("\n## ")[0]
    read: dict[str, Any] = json.loads(section.split("```json\n")[1].split("```")[0])
    return read


@pytest.mark.parametrize("vector", vectors()["epochs"], ids=lambda vector: vector["instant"])
def test_the_documented_epochs_hold(vector: dict[str, Any]) -> None:
    epoch = EpochCalendar(vector["epochSeconds"]).at(datetime.fromisoformat(vector["instant"]))
    assert epoch.epoch_id == vector["epochId"]
    assert epoch.start_at.isoformat() == vector["start"]
    assert epoch.end_at.isoformat() == vector["end"]


@pytest.mark.parametrize("text", vectors()["malformed"])
def test_the_documented_malformed_ids_are_refused(text: str) -> None:
    with pytest.raises(MalformedEpochIdError):
        parse_epoch_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T04-00-00\n",
        "２０２６-11-22T04-00-00",
        "٢٠٢٦-11-22T04-00-00",
        "+026-11-22T04-00-00",
        "2026-11-22T04-00-0 ",
        "2026-11-22T04-00-00/../x",
        "0000-01-01T00-00-00",
    ],
)
def test_ids_that_int_or_a_careless_expression_would_accept_are_refused(text: str) -> None:
    with pytest.raises(MalformedEpochIdError):
        parse_epoch_id(text)


@given(instants, st.integers(0, 18), st.characters())
def test_a_changed_character_makes_another_id_or_none(instant: datetime, place: int, put: str) -> None:
    epoch_id = format_epoch_id(instant.replace(microsecond=0))
    changed = epoch_id[:place] + put + epoch_id[place + 1 :]
    try:
        parsed = parse_epoch_id(changed)
    except MalformedEpochIdError:
        assert changed != epoch_id
    else:
        assert format_epoch_id(parsed) == changed


@given(instants)
def test_format_and_parse_are_inverse_in_every_zone(instant: datetime) -> None:
    whole = instant.replace(microsecond=0)
    parsed = parse_epoch_id(format_epoch_id(whole))
    assert parsed == whole
    assert parsed.tzinfo is UTC


def test_years_before_1000_keep_four_digits() -> None:
    assert format_epoch_id(datetime(7, 1, 2, tzinfo=UTC)) == "0007-01-02T00-00-00"


def test_an_id_of_a_broken_second_is_refused() -> None:
    with pytest.raises(ValueError, match="whole second"):
        format_epoch_id(NOON.replace(microsecond=1))


@given(calendars, instants)
def test_the_epoch_at_an_instant_contains_it_and_starts_on_the_grid_of_its_day(
    calendar: EpochCalendar, instant: datetime
) -> None:
    epoch = calendar.at(instant)
    length = timedelta(seconds=calendar.epoch_seconds)
    midnight = epoch.start_at.replace(hour=0, minute=0, second=0, microsecond=0)
    assert epoch.contains(instant)
    assert epoch.end_at - epoch.start_at == length
    assert (epoch.start_at - midnight) % length == timedelta(0)


@given(calendars, instants)
def test_neighbouring_epochs_touch_without_overlap(calendar: EpochCalendar, instant: datetime) -> None:
    epoch = calendar.at(instant)
    following = calendar.after(epoch)
    assert following.start_at == epoch.end_at
    assert calendar.before(following) == epoch
    assert epoch < following
    assert not epoch.contains(following.start_at)
    assert not following.contains(following.start_at - timedelta.resolution)


@given(calendars, instants)
def test_an_epoch_is_found_again_by_its_id(calendar: EpochCalendar, instant: datetime) -> None:
    epoch = calendar.at(instant)
    assert calendar.starting(epoch.epoch_id) == epoch


def test_the_last_microsecond_belongs_to_the_epoch_and_the_end_does_not() -> None:
    epoch = FOUR_HOURS.at(NOON)
    assert FOUR_HOURS.at(epoch.end_at - timedelta.resolution) == epoch
    assert FOUR_HOURS.at(epoch.end_at) == FOUR_HOURS.after(epoch)


@pytest.mark.parametrize("text", ["2026-11-22T04-00-01", "2026-11-22T02-00-00", "9999-12-31T20-00-00", "x"])
def test_an_id_at_which_no_epoch_starts_is_refused(text: str) -> None:
    with pytest.raises(MalformedEpochIdError):
        FOUR_HOURS.starting(text)


@pytest.mark.parametrize("seconds", [0, -1, -14_400, 7, 86_399, 86_401, 172_800])
def test_an_epoch_length_that_does_not_divide_the_day_is_refused_by_name(seconds: int) -> None:
    for refused in (EpochCalendar, preparation_lead, lambda length: scaled(timedelta(1), length)):
        with pytest.raises(ValueError, match="epoch_seconds must be a divisor of 86400"):
            refused(seconds)


def test_naive_datetimes_are_refused_everywhere() -> None:
    naive = NOON.replace(tzinfo=None)
    for refused in (as_utc, format_epoch_id, FOUR_HOURS.at, FOUR_HOURS.at(NOON).contains):
        with pytest.raises(ValueError, match="naive"):
            refused(naive)
    with pytest.raises(ValueError, match="naive"):
        EpochInterval(naive, NOON)


def test_an_interval_is_kept_in_utc_whatever_zone_it_came_in() -> None:
    tokyo = timezone(timedelta(hours=9))
    epoch = EpochInterval(NOON.astimezone(tokyo), (NOON + timedelta(hours=4)).astimezone(tokyo))
    assert epoch.start_at.tzinfo is UTC
    assert epoch.end_at.tzinfo is UTC
    assert epoch == FOUR_HOURS.at(NOON)


def test_an_interval_ends_after_it_starts_and_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="start_at must be before end_at"):
        EpochInterval(NOON, NOON)
    with pytest.raises(FrozenInstanceError):
        FOUR_HOURS.at(NOON).start_at = NOON  # type: ignore[misc]


@pytest.mark.parametrize(
    ("epoch_seconds", "lead_seconds"),
    [(86_400, 300), (14_400, 300), (600, 300), (576, 288), (60, 30), (1, 0.5)],
)
def test_an_epoch_is_prepared_five_minutes_or_half_an_epoch_ahead(
    epoch_seconds: int, lead_seconds: float
) -> None:
    assert preparation_lead(epoch_seconds) == timedelta(seconds=lead_seconds)


@pytest.mark.parametrize(
    ("epoch_seconds", "cooldown_seconds"),
    [(86_400, 86_400), (14_400, 86_400), (7_200, 43_200), (60, 360), (1, 6)],
)
def test_a_cooldown_of_a_day_spans_six_epochs_however_short_they_are(
    epoch_seconds: int, cooldown_seconds: int
) -> None:
    assert scaled(timedelta(hours=24), epoch_seconds) == timedelta(seconds=cooldown_seconds)
