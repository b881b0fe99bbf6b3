"""Tests that a miner whose listing fails is left out, and that the whole attempt fails if the store is away
or may be away."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from broker_service.responder.miner_listings import (
    MAX_ATTEMPTS,
    MAX_FAIL_ATTEMPTS,
    REST_SECONDS,
    ListingReader,
    MinerListing,
    Part,
)
from storage.objects.credential_policies import Folder, Listing
from storage.objects.store import ObjectStore, ObjectStoreUnavailableError
from tests.support.fakes import MINER_HOTKEY, STRANGER_HOTKEY, VALIDATOR_HOTKEY
from zipcast.clock import SystemClock
from zipcast.protocol.hotkeys import Hotkey

HOTKEYS = (MINER_HOTKEY, STRANGER_HOTKEY, VALIDATOR_HOTKEY)


class InstantClock(SystemClock):
    """A clock whose sleeps take no time and are counted."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Store:
    """A store that lists folders, unless it is `away`, or `busy` with abandoned listings."""

    away = False

    def __init__(self, busy: Callable[[], bool] = lambda: False) -> None:
        self._busy = busy

    async def list_folders(
        self, listing: Listing | Folder, after: str | None
    ) -> tuple[list[str], str | None]:
        if self.away or self._busy():
            raise ObjectStoreUnavailableError("TimeoutError")
        return [], None


def part(fails: Callable[[], bool] = lambda: False) -> Part[str]:
    async def read() -> str:
        if fails():
            raise ObjectStoreUnavailableError("TimeoutError")
        return "read"

    return Part(read, 60)


def always() -> bool:
    return True


def first(times: int) -> Callable[[], bool]:
    """Return a listing that fails this many times first."""
    left = iter(range(times))
    return lambda: next(left, None) is not None


def listing(hotkey: str, *parts: Part[str]) -> MinerListing[str]:
    return MinerListing(Hotkey(hotkey), parts)


def reader(store: Store | None = None, clock: SystemClock | None = None) -> ListingReader:
    places = asyncio.Semaphore(4)
    return ListingReader(cast(ObjectStore, store or Store()), clock or InstantClock(), "bucket", places)


async def test_a_miner_whose_listing_always_fails_keeps_what_could_be_read_and_the_others_are_whole() -> None:
    failing = listing(HOTKEYS[0], part(), part(always), part())
    others = [listing(hotkey, part(), part()) for hotkey in HOTKEYS[1:]]
    clock = InstantClock()
    await reader(clock=clock).read([failing, *others], 1)
    assert failing.results == ["read"]
    assert not failing.is_complete()
    assert [one.results for one in others] == [["read", "read"]] * 2
    assert clock.slept == [REST_SECONDS] * MAX_ATTEMPTS
    assert sum(clock.slept) > 60


async def test_a_store_is_left_to_rest_before_it_is_asked_whether_it_is_there() -> None:
    """The store may still work on abandoned listings, and gives no replies meanwhile."""
    clock, failed_at = InstantClock(), 0

    def fails() -> bool:
        nonlocal failed_at
        failed_at = len(clock.slept)
        return True

    store = Store(busy=lambda: len(clock.slept) == failed_at)
    listings = [listing(HOTKEYS[0], part(fails)), *(listing(hotkey, part()) for hotkey in HOTKEYS[1:])]
    await reader(store, clock).read(listings, 1)
    assert [one.is_complete() for one in listings] == [False, True, True]


async def test_a_part_that_takes_too_long_fails() -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    slow = listing(HOTKEYS[0], part(), Part(never, 0.0))
    whole = listing(HOTKEYS[1], part())
    await reader().read([slow, whole], 1)
    assert slow.results == ["read"]
    assert whole.is_complete()


async def test_a_short_outage_cuts_nobody_and_nothing_is_read_twice() -> None:
    reads = 0

    async def counted() -> str:
        nonlocal reads
        reads += 1
        return "read"

    shortly = listing(HOTKEYS[0], Part(counted, 60), part(first(MAX_ATTEMPTS - 1)))
    await reader().read([shortly, listing(HOTKEYS[1], part())], 1)
    assert shortly.is_complete()
    assert reads == 1


async def test_a_store_that_is_away_fails_the_whole() -> None:
    store = Store()
    store.away = True
    listings = [listing(HOTKEYS[0], part(always)), listing(HOTKEYS[1], part())]
    with pytest.raises(ObjectStoreUnavailableError):
        await reader(store).read(listings, MAX_FAIL_ATTEMPTS)


@pytest.mark.parametrize("attempt", [1, 10 * MAX_FAIL_ATTEMPTS])
async def test_where_no_listing_succeeds_nobody_is_cut_however_often(attempt: int) -> None:
    clock = InstantClock()
    listings = [listing(hotkey, part(), part(always)) for hotkey in HOTKEYS]
    with pytest.raises(ObjectStoreUnavailableError):
        await reader(clock=clock).read(listings, attempt)
    assert clock.slept == []


async def test_where_most_fail_they_are_cut_only_after_many_attempts() -> None:
    def most() -> list[MinerListing[str]]:
        return [listing(HOTKEYS[0], part()), *(listing(hotkey, part(always)) for hotkey in HOTKEYS[1:])]

    with pytest.raises(ObjectStoreUnavailableError):
        await reader().read(most(), MAX_FAIL_ATTEMPTS - 1)
    listings = most()
    await reader().read(listings, MAX_FAIL_ATTEMPTS)
    assert [one.is_complete() for one in listings] == [True, False, False]


async def test_without_miners_there_is_nothing_to_read() -> None:
    await reader().read([], 1)


async def test_another_error_ends_the_reading_of_all() -> None:
    cancelled = asyncio.Event()

    async def broken() -> str:
        raise RuntimeError("broken")

    async def long() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    listings = [listing(HOTKEYS[0], Part(long, 60)), listing(HOTKEYS[1], Part(broken, 60))]
    with pytest.raises(RuntimeError):
        await reader().read(listings, 1)
    await cancelled.wait()
