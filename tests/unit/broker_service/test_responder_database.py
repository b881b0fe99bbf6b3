"""A message goes out while the record opens its epoch: who acts on it at once waits for the record."""

from dataclasses import dataclass

import pytest

from broker_service.responder.database import OPENING_LOOKS, Record
from storage.database.epochs import StoredEpoch
from tests.support.current_epochs import FIRST, MESSAGE, SECOND, current
from tests.support.fakes import START_AT, FakeClock
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.errors import ErrorCode, ServiceError

STORED = StoredEpoch(EpochInterval(MESSAGE.epoch_start, MESSAGE.epoch_end), "active", FIRST, START_AT)


@dataclass(frozen=True)
class LateRecord(Record):
    """Shows the epoch from the look on that `opened_at` says."""

    opened_at: int = 0
    looks: tuple[list[str], ...] = ([],)

    async def _started(self, epoch_id: str) -> StoredEpoch | None:
        looks = self.looks[0]
        looks.append(epoch_id)
        return STORED if len(looks) > self.opened_at else None


def record(opened_at: int) -> LateRecord:
    heard = current(FakeClock(START_AT), FIRST, SECOND)
    return LateRecord(None, heard, opened_at, looks=([],))  # type: ignore[arg-type]


async def refusal(of: Record, epoch_id: str) -> ErrorCode:
    with pytest.raises(ServiceError) as refused:
        await of.started(epoch_id)
    return refused.value.code


@pytest.mark.parametrize("opened_at", [0, 1, OPENING_LOOKS])
async def test_an_epoch_whose_message_was_heard_is_waited_for(opened_at: int) -> None:
    assert await record(opened_at).started(MESSAGE.epoch_id) is STORED


async def test_a_record_that_stays_behind_is_no_word_that_there_is_no_epoch() -> None:
    assert await refusal(record(1000), MESSAGE.epoch_id) is ErrorCode.SERVICE_UNAVAILABLE


@pytest.mark.parametrize("epoch_id", [SECOND.epoch_id, "2020-01-01T00-00-00"])
async def test_one_that_has_not_started_or_is_unknown_is_not_waited_for(epoch_id: str) -> None:
    of = record(1000)
    assert await refusal(of, epoch_id) is ErrorCode.EPOCH_NOT_FOUND
    assert of.looks[0] == [epoch_id]
