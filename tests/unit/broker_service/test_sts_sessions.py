"""Tests the cache of STS sessions: who shares one, for how long, and that a failure is not cached."""

import asyncio
from datetime import timedelta

import pytest
from pydantic import SecretStr

from broker_service.responder.sts_sessions import LIFETIME, Sessions, SessionScope
from storage.objects.store import ObjectStoreUnavailableError, SessionCredentials
from tests.support.fakes import EPOCH_ID, MINER_HOTKEY, VALIDATOR_HOTKEY, FakeClock, FakeObjectStore
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.access import S3Credentials

SCOPE = SessionScope("validators", "validators/x/", "{}")


class CountingStore(FakeObjectStore):
    """Every session has its own name. The first `failures` calls fail."""

    def __init__(self, clock: FakeClock, failures: int = 0) -> None:
        super().__init__()
        self.asked, self._clock, self._failures = 0, clock, failures

    async def session(self, policy: str, name: str, lifetime_seconds: int) -> SessionCredentials:
        self.asked += 1
        number = self.asked
        await asyncio.sleep(0)
        if number <= self._failures:
            raise ObjectStoreUnavailableError("TimeoutError")
        expires_at = self._clock.now() + timedelta(seconds=lifetime_seconds)
        return SessionCredentials(f"key-{number}", SecretStr("secret"), SecretStr("token"), expires_at)


def make(failures: int = 0) -> tuple[Sessions, CountingStore, FakeClock]:
    clock = FakeClock()
    store = CountingStore(clock, failures)
    return Sessions(store, clock), store, clock  # type: ignore[arg-type]


async def one(
    sessions: Sessions, hotkey: str = VALIDATOR_HOTKEY, epoch: str = EPOCH_ID, purpose: str = "upload"
) -> S3Credentials:
    ends_at = sessions.clock.now() + LIFETIME
    found = await sessions.credentials(hotkey, epoch, purpose, SCOPE, ends_at)  # type: ignore[arg-type]
    assert found is not None
    return found


async def test_a_session_is_handed_out_again_until_half_its_life_and_not_beyond() -> None:
    sessions, store, clock = make()
    first = await one(sessions)
    await clock.sleep(LIFETIME.total_seconds() / 2 - 1)
    assert await one(sessions) == first
    await clock.sleep(1)
    renewed = await one(sessions)
    assert renewed.access_key != first.access_key
    assert renewed.expiry - clock.now() == LIFETIME
    assert store.asked == 2


async def test_a_session_ends_with_the_grant_that_it_is_made_for() -> None:
    sessions, _, clock = make()
    ends_at = clock.now() + LIFETIME - timedelta(minutes=9)
    found = await sessions.credentials(VALIDATOR_HOTKEY, EPOCH_ID, "upload", SCOPE, ends_at)
    assert found is not None
    assert found.expiry == ends_at


async def test_no_session_is_longer_than_the_role_allows_if_our_clock_is_behind() -> None:
    sessions, _, clock = make()
    ends_at = clock.now() + LIFETIME + timedelta(seconds=2)
    found = await sessions.credentials(VALIDATOR_HOTKEY, EPOCH_ID, "upload", SCOPE, ends_at)
    assert found is not None
    assert found.expiry - clock.now() == LIFETIME


async def test_nobody_is_given_anothers_session() -> None:
    sessions, store, _ = make()
    keys = [
        await one(sessions),
        await one(sessions, hotkey=MINER_HOTKEY),
        await one(sessions, epoch="2026-11-22T08-00-00"),
        await one(sessions, purpose="read"),
    ]
    assert len({found.access_key for found in keys}) == len(keys) == store.asked


async def test_who_asks_at_once_shares_one_answer_also_when_the_first_gives_up() -> None:
    sessions, store, _ = make()
    waiting = [asyncio.create_task(one(sessions)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    rest = await asyncio.gather(*waiting[1:])
    assert store.asked == len({found.access_key for found in rest}) == 1


async def test_a_failure_is_told_and_forgotten() -> None:
    sessions, store, _ = make(failures=1)
    with pytest.raises(ServiceError) as refused:
        await one(sessions)
    assert refused.value.code is ErrorCode.CREDENTIALS_UNAVAILABLE
    assert (await one(sessions)).access_key == "key-2"
    assert store.asked == 2


async def test_what_is_past_half_its_life_is_not_kept() -> None:
    sessions, _, clock = make()
    for number in range(50):
        await one(sessions, epoch=str(number))
        await clock.sleep(600)
    assert len(sessions._held) <= LIFETIME.total_seconds() / 2 / 600
