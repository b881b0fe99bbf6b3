"""Starting and stopping one process: signals, the ready file, the internal listener, and what ends it.

A process that cannot go on ends with status 1 and is started again by whatever supervises it. Work that it
can do without is begun again in place (`spawn_beside`).
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

from service import internal_listener, logs
from service.process_status import Vitals
from service.settings import ServiceSettings
from zipcast.clock import SystemClock

log = logs.logger()

GRACE_SECONDS = 2.0
CANCEL_SECONDS = 0.2
CANCEL_AGAIN_SECONDS = 0.5
BEGIN_AGAIN_SECONDS = 5.0
# Work that has not failed for so long is no longer shown as failing.
WELL_AGAIN_SECONDS = 600.0


class Lifecycle:
    """Handed to a process's main: it says when it is ready and learns when to stop. `vitals` is what the
    process shows of itself."""

    def __init__(self, ready_file: Path | None, vitals: Vitals | None = None) -> None:
        self.vitals = vitals or Vitals("unnamed", SystemClock())
        self._ready_file = ready_file
        self._stop = asyncio.Event()
        self.failure: str | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def ready(self) -> None:
        if self.stopping:
            return
        # Objects loaded by now live until the end. Each time the garbage collector looks through them, it
        # takes 100 ms and more, in which no epoch is published and no request is answered.
        gc.collect()
        gc.freeze()
        self.vitals.serving = True
        log.info("ready")
        if self._ready_file is not None:
            self._ready_file.touch()

    def stop(self) -> None:
        self._stop.set()

    def fail(self, reason: str) -> None:
        """End the process with status 1; the first reason counts."""
        self.failure = self.failure or reason
        self._stop.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    async def until(self, event: asyncio.Event) -> None:
        """Returns when the event is set, or when the process is to stop."""
        waits = [asyncio.create_task(waiter.wait()) for waiter in (event, self._stop)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()

    async def wait(self) -> None:
        await self._stop.wait()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Run in the background until `end_tasks`. Work that ends before that has failed, and so has
        the process."""

        def ended(done: "asyncio.Task[None]") -> None:
            if done.cancelled() or self.stopping:
                return
            error = done.exception()
            log.error("task_ended", task=done.get_name(), exc_info=error)
            self.fail(f"{done.get_name()} ended")

        task = asyncio.create_task(work, name=name)
        task.add_done_callback(ended)
        self._tasks.append(task)
        return task

    def spawn_beside(self, make: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """As `spawn`, for work that the process can do without: if it fails, it is begun again. An error over
        one row of the database must not end the process, and with it the epochs."""
        self.spawn(self._repeated(make, name), name)

    async def _repeated(self, make: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        loop, well_again = asyncio.get_running_loop(), None
        while True:
            try:
                await make()
            except Exception as error:
                log.error("task_failed", task=name, exc_info=error)
                self.vitals.failing[name] = type(error).__name__
                if well_again is not None:
                    well_again.cancel()
                well_again = loop.call_later(WELL_AGAIN_SECONDS, self.vitals.failing.pop, name, None)
            await asyncio.sleep(BEGIN_AGAIN_SECONDS)

    async def end_tasks(self) -> None:
        """Cancel what `spawn` began, and wait until it has ended."""
        await end(self._tasks)

    def withdraw(self) -> None:
        self.vitals.serving = False
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)


async def end(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel the tasks until all have ended. Once is not always enough: `wait_for` of Python 3.11, which
    nats-py uses, may lose a cancellation."""
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
    """Run `main` until SIGINT or SIGTERM, or until it fails; then it has `grace_seconds` to end by itself.
    Returns the exit status."""
    try:
        listener = internal_listener.bind(settings.internal_host, settings.internal_port)
    except OSError as error:
        address = f"{settings.internal_host}:{settings.internal_port}"
        sys.stderr.write(f"INTERNAL_PORT: cannot listen on {address}: {error.strerror}\n")
        return 2
    # It would be a second line for every counter, which nothing here reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    vitals = Vitals(name, SystemClock())
    logs.configure(name, settings.log_level, vitals.tally)
    with listener:
        return asyncio.run(_run(settings, listener, vitals, main, grace_seconds))


async def _run(
    settings: ServiceSettings,
    listener: socket.socket,
    vitals: Vitals,
    main: Callable[[Lifecycle], Awaitable[None]],
    grace_seconds: float,
) -> int:
    life = Lifecycle(settings.ready_file, vitals)
    life.spawn(internal_listener.serve(listener, vitals), "internal_listener")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, life.stop)
    port = listener.getsockname()[1]
    log.info("starting", network=settings.bt_network, netuid=settings.net_uid, internal_port=port)
    work = asyncio.ensure_future(main(life))
    try:
        stop = asyncio.create_task(life.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        # Asked to stop while it still waits for a server at its start, say: it gets a little time.
        await asyncio.wait({work}, timeout=grace_seconds)
        stop.cancel()
        # More than once: a library in the middle of connecting may swallow a cancellation.
        while not work.done():
            work.cancel()
            await asyncio.wait({work}, timeout=CANCEL_SECONDS)
        if not work.cancelled():
            work.result()
    finally:
        life.withdraw()
    log.info("stopped", failure=life.failure)
    return 1 if life.failure else 0
