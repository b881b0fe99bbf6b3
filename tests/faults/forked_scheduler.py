"""Forks a scheduler from a process that has imported its modules, so that it starts in a tenth of a second.

It does all that `python -m schedulers` does, without two seconds of imports. It can be killed like any other
process, and it ends with the process that started it.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.support.fault_points import ArmedFaultPoints
from tests.support.processes import wait_until

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["schedulers.__main__"])


class ForkedScheduler:
    """One replica. `start` runs it again after its end, with the same environment, and continues its log."""

    def __init__(self, name: str, environment: Mapping[str, str], mark: Path, log: Path, armed: Path) -> None:
        self.name = name
        self._environment = {**environment, "READY_FILE": str(mark), "INTERNAL_PORT": "0"}
        self._mark, self._log, self._armed = mark, log, armed
        self._process: ForkServerProcess | None = None

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    @property
    def is_ready(self) -> bool:
        return self.is_alive and self._mark.exists()

    def start(self) -> None:
        self._mark.unlink(missing_ok=True)
        self._process = _CONTEXT.Process(
            target=_run, args=(self._environment, self._log, self._armed), name=self.name, daemon=True
        )
        self._process.start()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    async def ended(self) -> None:
        await wait_until(lambda: not self.is_alive)


def _die_with_the_driver() -> None:
    """End with the driver. The parent is the process from which this one was forked, and that one outlives
    the driver."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        connection.wait([driver.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def _run(environment: Mapping[str, str], log: Path, armed: Path) -> None:
    """Run the scheduler, in the child."""
    threading.Thread(target=_die_with_the_driver, daemon=True).start()
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(written, sys.stdout.fileno())
    os.dup2(written, sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(environment)
    from schedulers.__main__ import main

    sys.exit(main(ArmedFaultPoints(armed)))
