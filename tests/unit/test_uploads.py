"""Minting access: what is recorded first, and that no form outlives its epoch's deadline."""

import json
from datetime import timedelta

import pytest

from broker_service.responder.sessions import Sessions
from broker_service.responder.uploads import Issuer
from runtime.identity import Caller
from storage.object_store import ObjectStoreUnavailableError
from storage.policies import Scope
from tests.contract.documents import epoch_message
from tests.unit.fakes import (
    EPOCH_ID,
    MINER_HOTKEY,
    START_AT,
    VALIDATOR_HOTKEY,
    FakeClock,
    FakeCurrent,
    FakeObjectStore,
    FakeRecord,
)
from zipcast.errors import ErrorCode, ServiceError

DEADLINE = START_AT + timedelta(hours=4)
MINER = Caller(MINER_HOTKEY, "miner", "request-1", "nats")
VALIDATOR = Caller(VALIDATOR_HOTKEY, "validator", "request-2", "nats")


class SlowRecord(FakeRecord):
    """Takes three seconds for each row."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    async def issuance(self, *columns: object) -> None:
        await self._clock.sleep(3)
        await super().issuance(*columns)


class DeadStore(FakeObjectStore):
    async def session(self, policy: str, name: str, lifetime_seconds: int):
        raise ObjectStoreUnavailableError("EndpointConnectionError")


def issuer(clock: FakeClock, record: FakeRecord, store: FakeObjectStore | None = None) -> Issuer:
    store = store or FakeObjectStore()
    return Issuer(
        store, Sessions(store, clock), record, FakeCurrent(epoch_message()), clock, "miners", "validators"
    )


async def refusal(of: Issuer, epoch_id: str | None = EPOCH_ID) -> ErrorCode:
    with pytest.raises(ServiceError) as refused:
        await of.miner_upload(MINER, epoch_id)
    return refused.value.code


@pytest.mark.parametrize("epoch_id", [None, EPOCH_ID])
@pytest.mark.parametrize("left", [timedelta(hours=4), timedelta(seconds=10, milliseconds=1)])
async def test_a_form_ends_at_the_deadline_also_when_the_record_is_slow(
    epoch_id: str | None, left: timedelta
) -> None:
    clock = FakeClock(DEADLINE - left)
    reply = await issuer(clock, SlowRecord(clock)).miner_upload(MINER, epoch_id)
    lifetime = json.loads(reply.fields["policy"])["lifetime"]
    signed_at = clock.wall
    assert timedelta(seconds=-1) < signed_at + timedelta(seconds=lifetime) - DEADLINE <= timedelta(0)
    assert reply.expires_at <= DEADLINE


@pytest.mark.parametrize("left", [timedelta(milliseconds=999), timedelta(0), timedelta(hours=-1)])
async def test_within_the_last_second_and_after_it_nothing_is_issued_or_recorded(left: timedelta) -> None:
    record = FakeRecord()
    assert await refusal(issuer(FakeClock(DEADLINE - left), record)) is ErrorCode.EPOCH_NOT_OPEN
    assert record.issued == []


async def test_a_deadline_that_passes_while_the_row_is_written_ends_the_request() -> None:
    clock = FakeClock(DEADLINE - timedelta(seconds=2))
    assert await refusal(issuer(clock, SlowRecord(clock))) is ErrorCode.EPOCH_NOT_OPEN


async def test_the_row_is_there_also_when_the_object_store_then_fails() -> None:
    record = FakeRecord()
    with pytest.raises(ServiceError) as refused:
        await issuer(FakeClock(), record, DeadStore()).validator_upload(VALIDATOR, EPOCH_ID)
    assert refused.value.code is ErrorCode.CREDENTIALS_UNAVAILABLE
    (row,) = record.issued
    assert row[0] == VALIDATOR
    assert row[2] == Scope("validators", f"validators/{VALIDATOR_HOTKEY}/epoch={EPOCH_ID}/")


async def test_a_miners_form_needs_no_answer_from_the_object_store() -> None:
    reply = await issuer(FakeClock(), FakeRecord(), DeadStore()).miner_upload(MINER, EPOCH_ID)
    assert reply.prefix == f"data/hotkey={MINER_HOTKEY}/epoch={EPOCH_ID}/"


async def test_a_folder_form_lasts_as_long_as_its_row_says_also_when_the_record_is_slow() -> None:
    clock = FakeClock()
    record = SlowRecord(clock)
    reply = await issuer(clock, record).folder_access(MINER)
    assert reply.expiry == START_AT + timedelta(hours=24)
    assert json.loads(reply.fields["policy"])["lifetime"] == 24 * 3600 - 3
    (row,) = record.issued
    assert row[2:4] == (Scope("miners", f"data/hotkey={MINER_HOTKEY}/"), None)


async def test_a_validator_gets_his_own_folder_for_four_hours() -> None:
    record = FakeRecord()
    reply = await issuer(FakeClock(), record).validator_upload(VALIDATOR, EPOCH_ID)
    prefix = f"validators/{VALIDATOR_HOTKEY}/epoch={EPOCH_ID}/"
    assert reply.metadata.folder_path == prefix
    assert reply.metadata.expires_at == START_AT + timedelta(hours=4)
    assert json.loads(reply.fields["policy"])["lifetime"] == 4 * 3600
    assert reply.s3_credentials is not None
    assert reply.s3_credentials.prefix == prefix
    assert [row[2] for row in record.issued] == [Scope("validators", prefix)]
