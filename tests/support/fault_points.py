"""Kills a scheduler at a point of its work that a file names.

The process that reaches the point first takes the file away and kills itself with SIGKILL, so that of several
replicas exactly one dies.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from schedulers.epochs.fault_points import FaultPoint


@dataclass(frozen=True, slots=True)
class ArmedFaultPoints:
    """The file `armed` holds the name of the point; while it is absent, nothing happens."""

    armed: Path

    def reached(self, point: FaultPoint) -> None:
        """Kill this process if the file holds the point's name and no other process was quicker."""
        if self._is_taken(point):
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_taken(self, point: FaultPoint) -> bool:
        try:
            if self.armed.read_text() != point:
                return False
            self.armed.rename(self.armed.with_suffix(".reached"))
        except FileNotFoundError:
            return False
        return True
