"""Tests the client's estimate of the service's time."""

from datetime import timedelta

import pytest

from tests.support.fakes import START_AT, FakeClock
from zipcast.client.service_time import MAX_CLOCK_OFFSET, ServiceTime
from zipcast.protocol.errors import ErrorCode, ServiceError

STEPS = pytest.mark.parametrize("step", [timedelta(minutes=10), timedelta(minutes=-10)])
SECOND = timedelta(seconds=1)


@STEPS
async def test_until_the_service_accepts_a_request_the_local_clock_counts(step: timedelta):
    clock = FakeClock(steps=[step])
    time = ServiceTime(clock)
    await clock.sleep(1)
    assert time.now() == START_AT + SECOND + step


@STEPS
async def test_a_clock_that_is_set_later_changes_nothing(step: timedelta):
    clock = FakeClock(steps=[step, -step])
    time = ServiceTime(clock)
    time.confirm()
    for number in (1, 2):
        await clock.sleep(1)
        assert time.now() == START_AT + number * SECOND
        time.confirm()


async def test_a_stated_time_goes_on_by_the_monotonic_clock():
    clock = FakeClock(steps=[timedelta(minutes=-3)])
    time = ServiceTime(clock)
    time.follow(START_AT + MAX_CLOCK_OFFSET)
    await clock.sleep(1)
    assert time.now() == START_AT + MAX_CLOCK_OFFSET + SECOND


def test_a_time_that_differs_too_much_is_refused_and_changes_nothing():
    time = ServiceTime(FakeClock())
    with pytest.raises(ServiceError) as error:
        time.follow(START_AT + MAX_CLOCK_OFFSET + timedelta.resolution)
    assert error.value.code is ErrorCode.STALE_REQUEST
    assert time.now() == START_AT
