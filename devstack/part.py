"""One part of the stack: a program to keep running, and how to tell that it works."""

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
    """`is_ready` is polled until true; `before_start` and `after_stop` run around every single run."""

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
    """True if the part runs, but does not work and will not by itself: then it is started again."""
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    """The signal that the program gets when the whole stack is killed."""
    user: tuple[int, int] | None = None
    """(uid, gid) to run as, where it must not be root."""
    start_timeout_seconds: float = 30.0
    internal: str = ""
    """The address of its `/metrics` and `/health`, if it has them."""


def launch_command(
    argv: tuple[str, ...], death_signal: signal.Signals, user: tuple[int, int] | None
) -> list[str]:
    """`argv` by way of `child_launcher.py`, as a child of this process."""
    switch = [f"{user[0]}:{user[1]}"] if user else []
    launcher = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), str(int(death_signal))]
    return [*launcher, *switch, "--", *argv]


def log_tail(log: Path) -> tuple[str, ...]:
    """The last lines of a log, at most ten."""
    if not log.exists():
        return ()
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    return tuple(lines[-TAIL_LINES:])
