"""Watches processes from outside, for tests that kill them."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

# For all tests except those of the limits, which have their own stacks.
GENEROUS = {
    "LIMIT_ADDRESS_PER_MINUTE": "1000000",
    "LIMIT_CURRENT_PER_MINUTE": "1000000",
    "LIMIT_STATS_PER_MINUTE": "1000000",
    "LIMIT_UPLOAD_PER_HOUR": "1000000",
    "LIMIT_RESULTS_PER_HOUR": "1000000",
    "LIMIT_CONSENSUS_PER_HOUR": "1000000",
    "DAILY_LIMIT_PER_MINER": "1000000",
    "CALLOUT_ADDRESS_BURST": "1000000",
    "CALLOUT_FAILURE_BURST": "1000000",
    "CALLOUT_HOTKEY_BURST": "1000000",
    "CALLOUT_FLOOD_MESSAGES_PER_SECOND": "1000000",
    "CALLOUT_FLOOD_BYTES_PER_SECOND": "1000000000",
}

TIMEOUT_SECONDS = 60.0
"""How many seconds a test waits for something that must happen, even on a busy machine. Only a failing test
waits that long."""


async def wait_until(
    condition: Callable[[], object], timeout_seconds: float = TIMEOUT_SECONDS, *, every: float = 0.02
) -> None:
    """Poll until `condition()` is true; fail the test after `timeout_seconds`."""
    assert await comes_true(condition, timeout_seconds, every=every), "waited in vain"


async def comes_true(
    condition: Callable[[], object], timeout_seconds: float = TIMEOUT_SECONDS, *, every: float = 0.02
) -> bool:
    """Poll until `condition()` is true. Return False if it is not true within `timeout_seconds`."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(every)
    return True


def is_alive(pid: int) -> bool:
    """Return whether the process runs. A process that ended and was not waited for does not run."""
    return _state(pid) not in {None, "Z"}


def is_frozen(pid: int) -> bool:
    """Return whether the process was stopped by a signal and not continued."""
    return _state(pid) == "T"


def _state(pid: int) -> str | None:
    """Return the kernel's letter for the state of the process, or None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def working_below(folder: Path) -> set[int]:
    """Return the processes whose working folder is in `folder`: the servers and their children."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                inside = (entry / "cwd").readlink().is_relative_to(folder)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if inside:
                found.add(int(entry.name))
    return found


def family(pid: int) -> list[int]:
    """Return the process and all its descendants, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def _parent(process: Path) -> int | None:
    """Return the parent, or None if the process has just ended."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
