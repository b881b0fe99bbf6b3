"""Lists the uploads of each miner, and distinguishes a miner whose uploads cannot be listed from a store that
is unavailable.

A miner can upload so many keys that the store cannot list them in time. This must not delay others, so after
several attempts the miner is left out, and the caller decides what follows. If the store is unavailable,
listing fails for all miners, and the results must not be used.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service import logs
from storage.objects import credential_policies
from storage.objects.store import ObjectStore, ObjectStoreUnavailableError
from zipcast.clock import Clock
from zipcast.protocol.hotkeys import Hotkey

log = logs.logger()

Result = TypeVar("Result")

# Listing one miner is attempted this many times, with this pause after each attempt. All attempts together
# take more than a minute, so that no miner loses uploads in a short outage. During the pause no request is
# sent, because the store may still be working on the one that failed.
MAX_ATTEMPTS, REST_SECONDS = 4, 20.0
# If the lists of more than half of the miners stay incomplete, the store itself may be at fault. Then
# incomplete lists are accepted only after this many attempts to list all miners.
MAX_FAIL_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Part(Generic[Result]):
    """One step of listing a miner's uploads. `read` may raise ObjectStoreUnavailableError."""

    read: Callable[[], Awaitable[Result]]
    timeout_seconds: float


@dataclass(slots=True)
class MinerListing(Generic[Result]):
    """The steps of listing one miner's uploads, and the `results` of those that succeeded, in the same
    order."""

    hotkey: Hotkey
    parts: Sequence[Part[Result]]
    results: list[Result] = field(default_factory=list)

    def is_complete(self) -> bool:
        return len(self.results) == len(self.parts)

    async def read(self) -> None:
        """Read the missing parts, until one fails."""
        for part in self.parts[len(self.results) :]:
            try:
                async with asyncio.timeout(part.timeout_seconds):
                    self.results.append(await part.read())
            except (ObjectStoreUnavailableError, TimeoutError) as error:
                log.warning("miner_listing_failed", hotkey=self.hotkey, error=type(error).__name__)
                return


@dataclass(frozen=True, slots=True)
class ListingReader:
    """Lists the uploads of miners. `places` limits how many miners are read at the same time."""

    store: ObjectStore
    clock: Clock
    bucket: str
    places: asyncio.Semaphore

    async def read(self, listings: Sequence[MinerListing[Result]], attempt: int) -> None:
        """Complete the lists. A list that is incomplete afterwards failed repeatedly, while the store
        responded for other miners. `attempt` is the number of this attempt for all miners, from 1.

        Raises ObjectStoreUnavailableError if the store is or may be unavailable: its folders cannot be
        listed, or listing fails for all or most miners."""
        failed = await self._read_once(listings)
        if failed and len(failed) == len(listings):
            raise ObjectStoreUnavailableError("no miner's listing succeeds")
        for attempt_of_miner in range(1, MAX_ATTEMPTS + 1):
            if not failed:
                return
            await self.clock.sleep(REST_SECONDS)
            await self.store.list_folders(credential_policies.all_miners(self.bucket), None)
            if attempt_of_miner < MAX_ATTEMPTS:
                for listing in failed:  # one after the other, so that they do not make others fail
                    await listing.read()
                failed = [listing for listing in failed if not listing.is_complete()]
        if 2 * len(failed) > len(listings) and attempt < MAX_FAIL_ATTEMPTS:
            raise ObjectStoreUnavailableError("listing the uploads failed for most miners")

    async def _read_once(self, listings: Sequence[MinerListing[Result]]) -> list[MinerListing[Result]]:
        """Read all lists, several at the same time. Return the incomplete ones."""

        async def in_turn(listing: MinerListing[Result]) -> None:
            async with self.places:
                await listing.read()

        tasks = [asyncio.create_task(in_turn(listing)) for listing in listings]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return [listing for listing in listings if not listing.is_complete()]
