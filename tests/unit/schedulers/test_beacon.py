"""Tests waiting for a round of the beacon, without servers."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from schedulers.epochs import beacon
from schedulers.epochs.beacon import Beacon
from tests.support.signed_epochs import TRUST
from zipcast.client.relays import Relays
from zipcast.clock import SystemClock
from zipcast.protocol.beacon import LOCAL_CHAIN, Purpose


class HangingDatabase:
    """A database that never connects. It counts the attempts."""

    def __init__(self) -> None:
        self.asked = 0

    def connect(self) -> "HangingDatabase":
        return self

    async def __aenter__(self) -> None:
        self.asked += 1
        await asyncio.Event().wait()

    async def __aexit__(self, *_: object) -> None:
        return


def beacon_on(database: HangingDatabase) -> Beacon:
    parts: Any = None
    return Beacon(database, Relays((), LOCAL_CHAIN), SystemClock(), parts, parts, TRUST)  # type: ignore[arg-type]


async def test_a_database_that_hangs_does_not_hold_up_an_epoch_for_ever(monkeypatch) -> None:
    monkeypatch.setattr(beacon, "DATABASE_TIMEOUT_SECONDS", 0.01)
    with pytest.raises(TimeoutError):
        await beacon_on(HangingDatabase()).obtain(3, datetime.now(UTC))


async def test_a_round_that_is_published_after_the_wait_is_not_asked_for() -> None:
    database = HangingDatabase()
    now = datetime.now(UTC)
    await beacon_on(database).obtain(LOCAL_CHAIN.first_from(now, Purpose.DRAW) + 3_000_000, now)
    assert database.asked == 0
