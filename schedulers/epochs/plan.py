"""Computes which epoch runs now and which comes next, given the rows of the database. Pure.

After a change of epoch length, prepared epochs keep their interval, and the new length begins at its first
boundary after that. Epochs never overlap.
"""

from storage.database.epochs import Timeline
from zipcast.protocol.calendar import EpochCalendar, EpochInterval


def running_interval(calendar: EpochCalendar, timeline: Timeline) -> EpochInterval | None:
    """The epoch that runs: as prepared, else this calendar's, unless something prepared lies in its way."""
    if timeline.running is not None:
        return timeline.running
    candidate = calendar.at(timeline.now)
    blocked = timeline.frontier is not None and timeline.frontier > candidate.start_at
    return None if blocked else candidate


def next_interval(calendar: EpochCalendar, timeline: Timeline) -> EpochInterval:
    """The epoch after `now`: as prepared, else this calendar's first one after all that is prepared."""
    if timeline.pending is not None:
        return timeline.pending
    free_from = max(timeline.now, timeline.frontier or timeline.now)
    return calendar.first_from(free_from)
