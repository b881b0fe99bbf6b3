"""Stops a stack from another terminal, as Ctrl-C in its own terminal would.

The process that runs a stack locks its state and writes its process id into the lock file. The id is used
only while the lock is held, so no other process is ever signalled.
"""

import fcntl
import os
import signal
import time
from pathlib import Path

from devstack.errors import StackError

STOP_TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.05


class NotRunningError(StackError):
    """No process runs a stack on this state."""


class StillRunningError(StackError):
    """The stack did not stop in time."""


def stop(state: Path) -> int:
    """Stop the stack on the folder `state`, wait until it has ended, and return its process id.

    Raises NotRunningError and StillRunningError."""
    lock = state / "lock"
    if not _is_held(lock):
        raise NotRunningError(f"no `zipcast up` runs on {state}")
    try:
        pid = int(lock.read_text())
        os.kill(pid, signal.SIGTERM)
    except (ValueError, ProcessLookupError):
        raise NotRunningError(f"another program uses {state}, or `zipcast up` has just ended") from None
    ends_at = time.monotonic() + STOP_TIMEOUT_SECONDS
    while _is_held(lock):
        if time.monotonic() > ends_at:
            raise StillRunningError(
                f"`zipcast up` (process {pid}) has not stopped yet. Run `zipcast down` again"
            )
        time.sleep(POLL_SECONDS)
    return pid


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
    return False
