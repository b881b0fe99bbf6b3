"""Tests requests that come while the database still opens the row of a published epoch: they wait for the
row."""

import pytest

from service.current_epoch import OPENING_READS
from service.database_reads import require_started
from tests.support.current_epochs import FIRST, MESSAGE, SECOND, current
from tests.support.fakes import START_AT, FakeClock
from zipcast.protocol.errors import ErrorCode, ServiceError


class LateRow:
    """A row that is found by the reading number `opened_at` and all later ones."""

    def __init__(self, opened_at: int) -> None:
        self.opened_at, self.reads = opened_at, 0

    async def read(self) -> str:
        self.reads += 1
        if self.reads <= self.opened_at:
            require_started(None)
        return "found"


async def read(row: LateRow, epoch_id: str) -> str:
    return await current(FakeClock(START_AT), FIRST, SECOND).when_stored(epoch_id, row.read)


async def refusal(row: LateRow, epoch_id: str) -> ErrorCode:
    with pytest.raises(ServiceError) as refused:
        await read(row, epoch_id)
    return refused.value.code


@pytest.mark.parametrize("opened_at", [0, 1, OPENING_READS - 1])
async def test_the_row_of_a_received_epoch_is_awaited(opened_at: int) -> None:
    assert await read(LateRow(opened_at), MESSAGE.epoch_id) == "found"


async def test_a_row_that_stays_closed_does_not_mean_that_there_is_no_epoch() -> None:
    assert await refusal(LateRow(1000), MESSAGE.epoch_id) is ErrorCode.SERVICE_UNAVAILABLE


@pytest.mark.parametrize("epoch_id", [SECOND.epoch_id, "2020-01-01T00-00-00"])
async def test_an_epoch_that_has_not_started_or_is_unknown_is_not_awaited(epoch_id: str) -> None:
    row = LateRow(1000)
    assert await refusal(row, epoch_id) is ErrorCode.EPOCH_NOT_FOUND
    assert row.reads == 1


async def test_other_errors_are_raised_at_once() -> None:
    async def fail() -> None:
        raise ServiceError(ErrorCode.NOT_YET_REVEALED, "later")

    with pytest.raises(ServiceError, match="later"):
        await current(FakeClock(START_AT), FIRST).when_stored(MESSAGE.epoch_id, fail)
