"""Defines a part of the stack: a program to keep running, and how to check that it works."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LAUNCH = Path(__file__).with_name("child_launcher.py")
TAIL_LINES = 10
_TAIL_BYTES = 16_384


async def _nothing() -> None:
    return None


async def _recovers() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Part:
    """A part. `is_ready` is polled until it returns true. `before_start` and `after_stop` are called at every
    run."""

    name: str
    address: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    folder: Path
    is_ready: Callable[[], Awaitable[bool]]
    before_start: Callable[[], Awaitable[None]] = _nothing
    after_stop: Callable[[], Awaitable[None]] = _nothing
    cannot_recover: Callable[[], Awaitable[bool]] = _recovers
    """Returns true if the part runs but cannot recover by itself; then it is restarted."""
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    """The signal that the program gets when the stack is killed."""
    user: tuple[int, int] | None = None
    """The (uid, gid) to run as if it must not be root."""
    start_timeout_seconds: float = 30.0
    internal: str = ""
    """The URL of its `/metrics` and `/health`, if it has them."""


def launch_command(
    argv: tuple[str, ...], death_signal: signal.Signals, user: tuple[int, int] | None
) -> list[str]:
    """Return the command that runs `argv` through `child_launcher.py`, as a child of this process."""
    switch = [f"{user[0]}:{user[1]}"] if user else []
    launcher = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), str(int(death_signal))]
    return [*launcher, *switch, "--", *argv]


def log_tail(log: Path) -> tuple[str, ...]:
    """Return the last lines of a log, at most ten."""
    if not log.exists():
        return ()
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    return tuple(lines[-TAIL_LINES:])
