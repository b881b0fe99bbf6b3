"""Names the points in the scheduler's work at which a test can interfere.

At each point the process calls `reached`, which does nothing outside tests. docs/reliability.md shows the
effect of a kill at each point.
"""

from enum import StrEnum
from typing import Protocol


class FaultPoint(StrEnum):
    """The points. At `before_…_commit`, everything is written but nothing is committed."""

    BEFORE_PREPARE = "before_prepare"
    BEFORE_PREPARE_COMMIT = "before_prepare_commit"
    AFTER_PREPARE_COMMIT = "after_prepare_commit"
    BEFORE_OPEN_COMMIT = "before_open_commit"
    AFTER_OPEN = "after_open"  # the other processes see the epoch, but the stream may not have it yet
    BEFORE_PUBLISH = "before_publish"
    AFTER_PUBLISH = (
        "after_publish"  # stored and sent to all subscribers; the acknowledgement is not processed yet
    )
    BEFORE_MARK_COMMIT = "before_mark_commit"
    AFTER_MARK = "after_mark"
    BEFORE_COMPLETE = "before_complete"
    BEFORE_COMPLETE_COMMIT = "before_complete_commit"
    AFTER_COMPLETE = "after_complete"
    BEFORE_MISSED_COMMIT = "before_missed_commit"
    BEFORE_ADOPT_COMMIT = "before_adopt_commit"
    AFTER_ADOPT = "after_adopt"
    REBUILD_BEGUN = "rebuild_begun"  # the stream accepts only old epochs and republishes nothing
    REBUILD_APPENDED = "rebuild_appended"  # one of several old epochs is in the stream
    REBUILD_FILLED = "rebuild_filled"  # all old epochs are in the stream, which is not open yet
    REBUILD_OPENED = "rebuild_opened"


class FaultPoints(Protocol):
    """Called by the process at each point."""

    def reached(self, point: FaultPoint) -> None: ...


class _NoFaults:
    def reached(self, point: FaultPoint) -> None:
        """Do nothing."""


NO_FAULTS: FaultPoints = _NoFaults()
