"""Starts and stops a process: signals, the ready file, the internal listener, and fatal failures.

A process that cannot continue exits with status 1, and its supervisor restarts it. Tasks that the process can
do without are restarted within the process (`spawn_beside`).
"""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from prometheus_client import disable_created_metrics

from service import internal_listener, logs, tracing
from service.process_status import ProcessStatus
from service.settings import ServiceSettings
from zipcast.clock import SystemClock

log = logs.logger()

GRACE_SECONDS = 2.0
CANCEL_SECONDS = 0.2
CANCEL_AGAIN_SECONDS = 0.5
BEGIN_AGAIN_SECONDS = 5.0
# A task is no longer shown as failing if it has not failed for this long.
WELL_AGAIN_SECONDS = 600.0


class Lifecycle:
    """The life of a process. Its main function receives this object, reports with it that it is ready, and
    learns from it when to stop. `process_status` collects what the process shows on its internal listener."""

    def __init__(self, ready_file: Path | None, process_status: ProcessStatus | None = None) -> None:
        self.process_status = process_status or ProcessStatus("unnamed", SystemClock())
        self._ready_file = ready_file
        self._stop = asyncio.Event()
        self.started = asyncio.Event()
        """Set when the process is ready for the first time."""
        self.failure: str | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def ready(self) -> None:
        """Report that the process is ready, unless it is stopping."""
        if self.stopping:
            return
        # Exclude all objects that exist now from garbage collection, because they live until the process
        # ends. Each collection of them would pause the process for 100 ms or more. In such a pause, no epoch
        # is published and no request is served.
        gc.collect()
        gc.freeze()
        self.process_status.serving = True
        self.started.set()
        log.info("ready")
        if self._ready_file is not None:
            self._ready_file.touch()

    def stop(self) -> None:
        """Make the process stop."""
        self._stop.set()

    def fail(self, reason: str) -> None:
        """End the process with status 1. Only the first reason is kept."""
        self.failure = self.failure or reason
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Return whether the process is stopping."""
        return self._stop.is_set()

    async def until(self, event: asyncio.Event) -> None:
        """Wait until the event is set or the process gets a signal to stop."""
        waits = [asyncio.create_task(waiter.wait()) for waiter in (event, self._stop)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()

    async def wait(self) -> None:
        """Wait until the process is stopping."""
        await self._stop.wait()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Run a task in the background until `end_tasks` is called. If the task ends before that, the process
        has failed and ends too."""

        def ended(done: "asyncio.Task[None]") -> None:
            if done.cancelled() or self.stopping:
                return
            error = done.exception()
            log.error("task_ended", task=done.get_name(), exc_info=error)
            self.fail(f"the task {done.get_name()} ended")

        task = asyncio.create_task(work, name=name)
        task.add_done_callback(ended)
        self._tasks.append(task)
        return task

    def spawn_beside(self, make: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Run a task in the background that the process can do without. If the task fails, it is restarted.
        Then an error about a single row of the database cannot end the process and stop the epochs."""
        self.spawn(self._repeated(make, name), name)

    async def _repeated(self, make: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        loop, well_again = asyncio.get_running_loop(), None
        while True:
            try:
                await make()
            except Exception as error:
                log.error("task_failed", task=name, exc_info=error)
                self.process_status.failing[name] = type(error).__name__
                if well_again is not None:
                    well_again.cancel()
                well_again = loop.call_later(WELL_AGAIN_SECONDS, self.process_status.failing.pop, name, None)
            await asyncio.sleep(BEGIN_AGAIN_SECONDS)

    async def end_tasks(self) -> None:
        """Cancel all background tasks, and wait until they have ended."""
        await end(self._tasks)

    def withdraw(self) -> None:
        """Report that the process is no longer ready."""
        self.process_status.serving = False
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)


async def end(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel the tasks repeatedly until all have ended. `wait_for` of Python 3.11, which nats-py uses, may
    lose a cancellation."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_SECONDS)


def run(
    name: str,
    settings: ServiceSettings,
    main: Callable[[Lifecycle], Awaitable[None]],
    *,
    grace_seconds: float = GRACE_SECONDS,
) -> int:
    """Run `main` until SIGINT or SIGTERM, or until it fails. Then it has `grace_seconds` to end by itself.
    Return the exit status."""
    try:
        listener = internal_listener.bind(settings.internal_host, settings.internal_port)
    except OSError as error:
        address = f"{settings.internal_host}:{settings.internal_port}"
        sys.stderr.write(f"INTERNAL_PORT: cannot listen on {address}: {error.strerror}\n")
        return 2
    # Leave out the creation times of counters: they would add a second line for each counter, and nothing
    # here reads them.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    process_status = ProcessStatus(name, SystemClock())
    logs.configure(name, settings.log_level, process_status.log_counts)
    with listener, tracing.sending(name, settings):
        return asyncio.run(_run(settings, listener, process_status, main, grace_seconds))


async def _run(
    settings: ServiceSettings,
    listener: socket.socket,
    process_status: ProcessStatus,
    main: Callable[[Lifecycle], Awaitable[None]],
    grace_seconds: float,
) -> int:
    life = Lifecycle(settings.ready_file, process_status)
    life.spawn(internal_listener.serve(listener, process_status), "internal_listener")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, life.stop)
    port = listener.getsockname()[1]
    log.info("starting", network=settings.bt_network, netuid=settings.net_uid, internal_port=port)
    work = asyncio.ensure_future(main(life))
    try:
        stop = asyncio.create_task(life.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        # `main` may still be starting, for example waiting for a server, so give it some time to end.
        await asyncio.wait({work}, timeout=grace_seconds)
        stop.cancel()
        # Cancel until `main` has ended, because a library that is connecting may swallow a cancellation.
        while not work.done():
            work.cancel()
            await asyncio.wait({work}, timeout=CANCEL_SECONDS)
        if not work.cancelled():
            work.result()
    finally:
        life.withdraw()
    log.info("stopped", failure=life.failure)
    return 1 if life.failure else 0
