"""Keeps one part of the local stack running. It starts the part, restarts it when it ends, and stops it.

It owns one child process at a time, with its process group.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import PartFailedError
from devstack.part import Part, launch_command, log_tail

_POLL_SECONDS = 0.05
MAX_LOG_BYTES = 64 * 1024**2
"""The size in bytes from which a log is emptied. One copy of its content is kept."""
# How often a running part is checked.
_INTERVAL_SECONDS = 2.0
# How long a part may not work before it is restarted.
_HOPELESS_SECONDS = 10.0
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PartStarted:
    """A part is ready, for the first time or again."""

    name: str
    pid: int
    restarted: bool


@dataclass(frozen=True, slots=True)
class PartDied:
    """A part ended unexpectedly; `tail` is the end of its log."""

    name: str
    status: str
    tail: tuple[str, ...]
    restart_in_seconds: float


@dataclass(frozen=True, slots=True)
class StepBegan:
    """A step of the stack's start began; `text` says what is being done."""

    text: str


Event = PartStarted | PartDied | StepBegan


class Backoff:
    """The pause before the next start: 0.5 s, doubling up to 15 s. After 30 s without a failure, it is 0.5 s
    again."""

    FIRST, LONGEST, HEALTHY = 0.5, 15.0, 30.0

    def __init__(self) -> None:
        self._next = self.FIRST

    def after(self, uptime_seconds: float) -> float:
        """Return the pause in seconds after a run of this length."""
        if uptime_seconds >= self.HEALTHY:
            self._next = self.FIRST
        delay, self._next = self._next, min(self._next * 2, self.LONGEST)
        return delay


class KeptPart:
    """A part and the task that restarts it."""

    def __init__(self, part: Part, report: Callable[[Event], None]) -> None:
        self.part = part
        self.watch: asyncio.Task[None] | None = None
        self._report = report
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Return the id of the running process, or, between two runs, that of the last one. Return None
        before the first run."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the part with a new log, and keep the previous log. Return when the part is ready. From then
        on, restart it whenever it ends. Raises PartFailedError."""
        if self.part.log.exists():
            self.part.log.replace(self.part.log.with_suffix(".log.old"))
        await self._launch()
        self._report(PartStarted(self.part.name, self._running().pid, restarted=False))
        self.watch = asyncio.create_task(self._keep_alive(), name=f"watch {self.part.name}")

    async def stop(self, kill_at: float) -> None:
        """Stop the part. If it still runs at the loop's time `kill_at`, kill its process group."""
        if self.watch is not None:
            self.watch.cancel()
            await asyncio.wait([self.watch])
        if self._process is not None:
            if self._process.returncode is None:
                # Do not use `send_signal`: it first checks whether the child has ended. That check would take
                # the exit status away from asyncio, and asyncio would then report a wrong one.
                with suppress(ProcessLookupError):
                    os.kill(self._process.pid, self.part.stop_signal)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(kill_at):
                    await self._process.wait()
            await self._reap()

    async def _keep_alive(self) -> None:
        loop, backoff = asyncio.get_running_loop(), Backoff()
        while True:
            started = loop.time()
            status = await self._ended()
            await self._revive(backoff, status, loop.time() - started)

    async def _ended(self) -> str:
        """Wait until the process has ended, or end it if it cannot recover. Return how it ended.

        In the meantime, its log is kept small."""
        ended = asyncio.create_task(self._running().wait())
        try:
            hopeless_looks = 0
            while not ended.done():
                await asyncio.wait({ended}, timeout=_INTERVAL_SECONDS)
                await asyncio.to_thread(shorten, self.part.log)
                hopeless_looks = hopeless_looks + 1 if await self.part.cannot_recover() else 0
                if hopeless_looks * _INTERVAL_SECONDS >= _HOPELESS_SECONDS and not ended.done():
                    with suppress(ProcessLookupError):
                        os.kill(self._running().pid, self.part.stop_signal)
                    await asyncio.wait({ended}, timeout=_STOP_SECONDS)
                    return f"did not work for {_HOPELESS_SECONDS:g} s"
        finally:
            ended.cancel()
        return self._status()

    async def _revive(self, backoff: Backoff, status: str, uptime_seconds: float) -> None:
        """Start the part again until it runs."""
        failure = PartFailedError(self.part.name, status, log_tail(self.part.log))
        while True:
            await self._reap()
            delay = backoff.after(uptime_seconds)
            self._report(PartDied(failure.name, failure.status, failure.tail, delay))
            await asyncio.sleep(delay)
            try:
                await self._launch()
            except PartFailedError as error:
                failure, uptime_seconds = error, 0.0
            else:
                self._report(PartStarted(self.part.name, self._running().pid, restarted=True))
                return

    async def _launch(self) -> None:
        await self.part.before_start()
        self._process = await spawn(self.part)
        status = await self._failure_to_become_ready()
        if status is not None:
            await self._reap()
            raise PartFailedError(self.part.name, status, log_tail(self.part.log))

    async def _failure_to_become_ready(self) -> str | None:
        try:
            async with asyncio.timeout(self.part.start_timeout_seconds):
                await self._ready_or_ended()
        except TimeoutError:
            return f"not ready after {self.part.start_timeout_seconds:g} s"
        return None if self.is_running else self._status()

    async def _ready_or_ended(self) -> None:
        while self.is_running:
            if await self.part.is_ready():
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _reap(self) -> None:
        """Kill the remaining processes of the part's group, and clean up."""
        process = self._running()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await self.part.after_stop()

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.part.name} was never started")
        return self._process

    def _status(self) -> str:
        code = self._running().returncode
        if code is None:
            return "still running"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def shorten(log: Path) -> None:
    """Empty a log that is too large, and keep its content in `.log.1`. The part continues to append to the
    same file. This function blocks."""
    if log.stat().st_size > MAX_LOG_BYTES:
        shutil.copyfile(log, log.with_suffix(".log.1"))
        os.truncate(log, 0)


async def spawn(part: Part) -> asyncio.subprocess.Process:
    """Start the part's program in a separate session, so that Ctrl-C reaches only the stack."""
    with part.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *launch_command(part.argv, part.death_signal, part.user),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(part.environment),
            cwd=part.folder,
            start_new_session=True,
        )
