"""Names the points in the scheduler's work at which a test may interfere.

A process calls `reached` at each of them; outside tests that does nothing. docs/reliability.md lists what a
death at each point leaves behind.
"""

from enum import StrEnum
from typing import Protocol


class FaultPoint(StrEnum):
    """At `before_…_commit` everything is written and nothing is committed."""

    BEFORE_PREPARE = "before_prepare"
    BEFORE_PREPARE_COMMIT = "before_prepare_commit"
    AFTER_PREPARE_COMMIT = "after_prepare_commit"
    BEFORE_OPEN_COMMIT = "before_open_commit"
    AFTER_OPEN = "after_open"  # the other processes see the epoch, and the stream may lack it
    BEFORE_PUBLISH = "before_publish"
    AFTER_PUBLISH = "after_publish"  # stored and sent to all subscribers; the acknowledgement is not used yet
    BEFORE_MARK_COMMIT = "before_mark_commit"
    AFTER_MARK = "after_mark"
    BEFORE_COMPLETE = "before_complete"
    BEFORE_COMPLETE_COMMIT = "before_complete_commit"
    AFTER_COMPLETE = "after_complete"
    BEFORE_MISSED_COMMIT = "before_missed_commit"
    BEFORE_ADOPT_COMMIT = "before_adopt_commit"
    AFTER_ADOPT = "after_adopt"
    REBUILD_BEGUN = "rebuild_begun"  # the stream takes old epochs only, and passes nothing on
    REBUILD_APPENDED = "rebuild_appended"  # one old epoch of several is in
    REBUILD_FILLED = "rebuild_filled"  # all are in, and the stream is not open yet
    REBUILD_OPENED = "rebuild_opened"


class FaultPoints(Protocol):
    """What a process calls at each point."""

    def reached(self, point: FaultPoint) -> None: ...


class _NoFaults:
    def reached(self, point: FaultPoint) -> None:
        """Do nothing."""


NO_FAULTS: FaultPoints = _NoFaults()
