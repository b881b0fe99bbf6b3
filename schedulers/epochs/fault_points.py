"""Defines points in the scheduler's work at which a test can kill the process. Production refuses to use
them.

A test writes the name of a point to the file that the setting `SCHEDULERS_FAULT_POINT_FILE` names. The first
process that reaches this point removes the file and kills itself with SIGKILL. So exactly one of several
replicas dies. docs/reliability.md shows the effect of each point.
"""

import os
import signal
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


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


@dataclass(frozen=True, slots=True)
class FaultPoints:
    """Kills this process at the point that the file `armed` names. Does nothing if `armed` is None."""

    armed: Path | None = None

    def reached(self, point: FaultPoint) -> None:
        """Kill this process if the file names this point and no other process was faster."""
        if self.armed is not None and self._is_taken(self.armed, point):
            os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def _is_taken(armed: Path, point: FaultPoint) -> bool:
        try:
            if armed.read_text() != point:
                return False
            armed.rename(armed.with_suffix(".reached"))
        except FileNotFoundError:
            return False
        return True


NO_FAULTS = FaultPoints()
