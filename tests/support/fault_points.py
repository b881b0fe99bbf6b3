"""Kills a scheduler at the point of its work that a file names. The process that reaches the point first
removes the file and kills itself with SIGKILL. So exactly one of several replicas dies.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from schedulers.epochs.fault_points import FaultPoint


@dataclass(frozen=True, slots=True)
class ArmedFaultPoints:
    """The fault points of one process. The file `armed` contains the name of the point. Without the file,
    nothing happens."""

    armed: Path

    def reached(self, point: FaultPoint) -> None:
        """Kill this process if the file contains the point's name and no other process was faster."""
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
