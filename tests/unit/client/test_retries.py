"""Tests which failed requests are repeated, after which pauses, and how the requests of many clients are
spread."""

from datetime import timedelta

import pytest

from tests.contract.documents import epoch_message
from tests.support.fakes import FakeClock
from zipcast.client.retries import MAX_SPREAD_SECONDS, Retries
from zipcast.errors import ErrorCode, ServiceError, TooLateError, UnavailableError, ZipcastError


def failing(*errors: ZipcastError):
    """Return work that fails with these errors, then succeeds."""
    left = list(errors)

    async def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


async def test_pauses_grow_and_are_random():
    for chance, expected in ((0.0, [0.5, 0.5, 0.5]), (1.0, [0.75, 0.75, 1.5])):
        clock = FakeClock()
        retries = Retries(clock, 60, lambda chance=chance: chance)
        work = failing(*(UnavailableError("down", retry_after=0.5) for _ in range(3)))
        assert await retries.run(work) == "done"
        assert clock.naps == expected


async def test_a_stated_pause_is_never_cut_short():
    clock = FakeClock()
    limited = ServiceError(ErrorCode.RATE_LIMITED, "too many", retry_after_seconds=7)
    assert await Retries(clock, 60, lambda: 0.0).run(failing(limited)) == "done"
    assert clock.naps == [7]


@pytest.mark.parametrize(
    "error",
    [
        TooLateError("late"),
        ServiceError(ErrorCode.EPOCH_NOT_OPEN, "closed"),
        ServiceError(ErrorCode.RATE_LIMITED, "an hour", retry_after_seconds=3600),
    ],
)
async def test_what_cannot_succeed_in_time_is_not_repeated(error: ZipcastError):
    clock = FakeClock()
    with pytest.raises(type(error)) as raised:
        await Retries(clock, 60).run(failing(error))
    assert raised.value is error
    assert clock.naps == []


async def test_it_gives_up_in_time_with_the_last_error():
    clock = FakeClock()
    errors = [UnavailableError(str(number), retry_after=1) for number in range(100)]
    with pytest.raises(UnavailableError) as raised:
        await Retries(clock, 10, lambda: 0.0).run(failing(*errors))
    assert raised.value.message == str(len(clock.naps))
    assert 9 <= clock.monotonic() <= 10


async def test_only_the_first_request_after_a_start_waits():
    clock = FakeClock()
    message = epoch_message()
    retries = Retries(clock, 60, lambda: 1.0)
    await retries.spread(message, message.epoch_start)
    await retries.spread(message, message.epoch_start)
    assert clock.naps == [MAX_SPREAD_SECONDS]
    later = message.model_copy(update={"epoch_id": "later"})
    await retries.spread(later, message.epoch_start + timedelta(seconds=MAX_SPREAD_SECONDS))
    await retries.spread(None, message.epoch_start)
    assert clock.naps == [MAX_SPREAD_SECONDS]
