"""Tests the running epoch in memory: never early, never unverified, and without a gap at an epoch's end."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from service import current_epoch
from service.current_epoch import CurrentEpoch
from tests.support.current_epochs import FIRST, FOUR_HOURS, MESSAGE, SECOND, current
from tests.support.fakes import MINER, SIGNER, START_AT, FakeClock
from zipcast.protocol.envelope import seal
from zipcast.protocol.errors import ErrorCode, ServiceError


def is_none_running(held: CurrentEpoch) -> bool:
    with pytest.raises(ServiceError) as refused:
        held.running()
    return refused.value.code is ErrorCode.NO_CURRENT_EPOCH


def test_an_epoch_runs_from_its_start_until_its_end() -> None:
    clock = FakeClock(START_AT - timedelta.resolution)
    held = current(clock, FIRST)
    assert is_none_running(held)
    clock.wall = START_AT
    assert held.running().envelope == FIRST
    clock.wall = START_AT + FOUR_HOURS - timedelta.resolution
    assert held.running().envelope == FIRST
    clock.wall = START_AT + FOUR_HOURS
    assert is_none_running(held)


async def test_a_request_at_the_boundary_waits_for_the_epoch_that_is_on_its_way() -> None:
    held = current(FakeClock(START_AT + FOUR_HOURS), FIRST)
    asked = [asyncio.create_task(held.awaited()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in asked)
    held.offer(SECOND)
    assert [one.envelope for one in await asyncio.gather(*asked)] == [SECOND] * 3


async def test_it_waits_for_a_second_at_most_and_only_at_a_boundary(monkeypatch) -> None:
    monkeypatch.setattr(current_epoch, "BOUNDARY_SECONDS", 0.05)
    ended = current(FakeClock(START_AT + FOUR_HOURS), FIRST)
    for held in (ended, current(FakeClock())):
        with pytest.raises(ServiceError) as refused:
            await held.awaited()
        assert refused.value.code is ErrorCode.NO_CURRENT_EPOCH
    late = asyncio.create_task(current(FakeClock(START_AT + 2 * FOUR_HOURS), FIRST).awaited())
    await asyncio.sleep(0)
    assert late.done()
    assert isinstance(late.exception(), ServiceError)


def test_nothing_runs_before_anything_was_heard() -> None:
    assert is_none_running(current(FakeClock()))


def test_what_does_not_verify_is_never_held() -> None:
    forged = seal(MESSAGE, MINER)
    renamed = replace(FIRST, epoch_id="2026-11-22T08-00-00")
    assert is_none_running(current(FakeClock(), forged, renamed))
    assert current(FakeClock(), FIRST, renamed).running().envelope == FIRST


def test_the_next_epoch_takes_over_at_its_start_and_an_older_one_does_not_return() -> None:
    clock = FakeClock(START_AT + FOUR_HOURS)
    assert current(clock, FIRST, SECOND, FIRST).running().envelope == SECOND


def test_the_first_bytes_of_an_epoch_stay() -> None:
    again = seal(MESSAGE, SIGNER)
    assert again != FIRST
    assert current(FakeClock(), FIRST, again).running().envelope == FIRST


def test_an_epoch_heard_while_our_clock_is_behind_does_not_hide_the_one_that_runs() -> None:
    clock = FakeClock(START_AT + FOUR_HOURS - timedelta(milliseconds=50))
    held = current(clock, FIRST, SECOND)
    assert held.running().envelope == FIRST
    clock.wall = START_AT + FOUR_HOURS
    assert held.running().envelope == SECOND
