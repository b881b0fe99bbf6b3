"""Keeps several parts running, and stops all of them in time.

Parts started by one call are started and stopped together. The groups are stopped in reverse order, so that
clients are stopped before their servers.
"""

import asyncio
from collections.abc import Callable, Coroutine

from devstack.kept_part import Event, KeptPart
from devstack.part import Part

# Everything is stopped within 5 s: parts that depend on servers are killed after at most 2.5 s, servers after
# at most 4.5 s.
_CLIENTS_SECONDS = 2.5
_ALL_SECONDS = 4.5


async def together(*work: Coroutine[None, None, None]) -> None:
    """Run all coroutines at once. The first failure cancels the others and is raised unchanged."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


class Supervisor:
    """Keeps parts running. `report` is called in the event loop for every start and every unexpected end."""

    def __init__(self, report: Callable[[Event], None]) -> None:
        self._report = report
        self._tiers: list[list[KeptPart]] = []

    @property
    def parts(self) -> list[Part]:
        return [kept.part for kept in self._kept_parts()]

    @property
    def pids(self) -> dict[str, int]:
        """Return the process id of each part. For a part that has just died, this is its last process id."""
        return {kept.part.name: kept.pid for kept in self._kept_parts() if kept.pid is not None}

    async def start(self, *parts: Part) -> None:
        """Start the parts at once, and return when all are ready. Raises the PartFailedError of the first
        that fails; then call `stop`."""
        tier = [KeptPart(part, self._report) for part in parts]
        self._tiers.append(tier)
        await together(*(kept.start() for kept in tier))

    async def stop(self) -> None:
        """Stop everything, within 5 s."""
        loop = asyncio.get_running_loop()
        last = loop.time() + _ALL_SECONDS
        while self._tiers:
            deadline = min(last, loop.time() + _CLIENTS_SECONDS) if len(self._tiers) > 1 else last
            await self._stop(self._tiers[-1], deadline)
            self._tiers.pop()

    async def take_down(self, name: str) -> None:
        """Stop one part until `bring_up` is called."""
        await self._stop([self._kept_part(name)], asyncio.get_running_loop().time() + _CLIENTS_SECONDS)

    async def bring_up(self, name: str) -> None:
        """Start a part that `take_down` stopped. Raises PartFailedError."""
        await self._kept_part(name).start()

    async def watch(self) -> None:
        """Wait until supervision itself fails, and raise that error."""
        watches = [kept.watch for kept in self._kept_parts() if kept.watch is not None]
        done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        for watch in done:
            watch.result()

    async def _stop(self, parts: list[KeptPart], kill_at: float) -> None:
        await together(*(kept.stop(kill_at) for kept in parts))

    def _kept_parts(self) -> list[KeptPart]:
        return [kept for tier in self._tiers for kept in tier]

    def _kept_part(self, name: str) -> KeptPart:
        for kept in self._kept_parts():
            if kept.part.name == name:
                return kept
        raise KeyError(name)
