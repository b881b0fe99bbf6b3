"""Computes which epoch runs now and which comes next, given the rows of the database. Pure.

If the length of epochs is changed, prepared epochs keep their interval. The new length applies from the first
boundary of the new calendar after them. Epochs never overlap.
"""

from storage.database.epochs import Timeline
from zipcast.protocol.calendar import EpochCalendar, EpochInterval


def running_interval(calendar: EpochCalendar, timeline: Timeline) -> EpochInterval | None:
    """Return the running epoch: the prepared one, otherwise the one of the calendar. Return None if a
    prepared epoch overlaps it."""
    if timeline.running is not None:
        return timeline.running
    candidate = calendar.at(timeline.now)
    blocked = timeline.frontier is not None and timeline.frontier > candidate.start_at
    return None if blocked else candidate


def next_interval(calendar: EpochCalendar, timeline: Timeline) -> EpochInterval:
    """Return the next epoch: the prepared one, otherwise the first epoch of the calendar after all prepared
    ones."""
    if timeline.pending is not None:
        return timeline.pending
    free_from = max(timeline.now, timeline.frontier or timeline.now)
    return calendar.first_from(free_from)
