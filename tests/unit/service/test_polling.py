"""Tests steps that are repeated, and what is logged of failing ones."""

import asyncio

import pytest
from structlog.testing import capture_logs

from service import logs
from service.polling import Outage, poll
from tests.support.fakes import FakeClock


class AwayError(Exception):
    pass


async def test_a_failure_is_logged_once_until_it_works_again():
    clock, failing = FakeClock(), {}
    answers = iter([AwayError, AwayError, None, AwayError, KeyError])

    async def step() -> None:
        if (error := next(answers)) is not None:
            raise error

    outage = Outage(logs.logger(), "record_unread", (AwayError,), "reading", failing)
    with capture_logs() as lines, pytest.raises(KeyError):
        await poll(step, clock, 2.0, outage)
    assert [(line["event"], line["error"], line["module"]) for line in lines] == [
        ("record_unread", "AwayError", "test_polling")
    ] * 2
    assert clock.naps == [2.0] * 4
    # The last error is not an expected one, so it says nothing about the outage.
    assert failing == {"reading": "AwayError"}


async def test_an_outage_ends_with_a_success():
    outage = Outage(logs.logger(), "record_unread", (AwayError,))
    with outage:
        raise AwayError
    assert outage.lasts
    with outage:
        await asyncio.sleep(0)
    assert not outage.lasts
