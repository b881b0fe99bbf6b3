"""Named points in the scheduler's work at which a test may have the process killed. Off in production.

Owns the names and the killing. Which point is armed stands in a file that a setting names
(`SCHEDULERS_FAULT_POINT_FILE`); the process that reaches it first takes the file away and kills itself
with SIGKILL, so that of several replicas exactly one dies. docs/reliability.md has what each death leaves.
"""

import os
import signal
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class FaultPoint(StrEnum):
    """`before_…_commit`: all is written, nothing of it is committed. The rest speaks for itself."""

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


@dataclass(frozen=True, slots=True)
class FaultPoints:
    """`armed` None: nothing ever happens."""

    armed: Path | None = None

    def reached(self, point: FaultPoint) -> None:
        """Kill this process if the file holds the point's name and no other process was quicker."""
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
