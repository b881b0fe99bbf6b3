"""Tests which epoch is running and which is next, also if the epoch length was changed between runs."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from schedulers.epochs.plan import next_interval, running_interval
from storage.database.epochs import Timeline
from zipcast.protocol.calendar import EpochCalendar, EpochInterval

MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
LENGTHS = [10, 60, 600, 3600]


def at(minutes: float) -> datetime:
    return MIDNIGHT + timedelta(minutes=minutes)


def test_with_nothing_prepared_the_calendar_decides():
    timeline = Timeline(at(61), None, None, None)
    running = running_interval(EpochCalendar(3600), timeline)
    assert running == EpochInterval(at(60), at(120))
    following = next_interval(EpochCalendar(3600), Timeline(at(61), running, None, at(120)))
    assert following == EpochInterval(at(120), at(180))


def test_a_prepared_epoch_keeps_its_length_after_the_setting_changed():
    prepared = EpochInterval(at(60), at(70))
    timeline = Timeline(at(61), prepared, None, at(70))
    assert running_interval(EpochCalendar(10), timeline) == prepared
    assert next_interval(EpochCalendar(10), timeline) == EpochInterval(at(70), at(70) + timedelta(seconds=10))


def test_a_longer_epoch_waits_for_its_first_boundary_after_what_is_prepared():
    timeline = Timeline(at(65), None, None, at(61))
    assert running_interval(EpochCalendar(600), timeline) is None
    assert next_interval(EpochCalendar(600), timeline) == EpochInterval(at(70), at(80))


def test_what_is_prepared_ahead_comes_next():
    pending = EpochInterval(at(70), at(80))
    timeline = Timeline(at(65), EpochInterval(at(60), at(70)), pending, at(80))
    assert next_interval(EpochCalendar(10), timeline) == pending


@given(
    st.sampled_from(LENGTHS),
    st.sampled_from(LENGTHS),
    st.integers(0, 86_399),
    st.booleans(),
    st.integers(-5, 2),
)
def test_nothing_that_is_begun_overlaps_what_is_prepared(
    old: int, new: int, second: int, has_pending: bool, ends: int
):
    now = MIDNIGHT + timedelta(seconds=second)
    before = EpochCalendar(old).at(now)
    newest = EpochInterval(
        before.start_at + ends * (before.end_at - before.start_at),
        before.end_at + (ends * (before.end_at - before.start_at)),
    )
    prepared = [newest]
    if has_pending:
        prepared.append(EpochCalendar(old).first_from(newest.end_at))
    running = next((epoch for epoch in prepared if epoch.contains(now)), None)
    pending = next((epoch for epoch in prepared if epoch.start_at > now), None)
    timeline = Timeline(now, running, pending, prepared[-1].end_at)
    begun = running_interval(EpochCalendar(new), timeline)
    if begun is not None and begun not in prepared:
        assert begun.contains(now)
        assert all(begun.start_at >= epoch.end_at or begun.end_at <= epoch.start_at for epoch in prepared)
    following = next_interval(EpochCalendar(new), timeline)
    assert following.start_at >= now
    if following not in prepared:
        assert all(following.start_at >= epoch.end_at for epoch in prepared)
