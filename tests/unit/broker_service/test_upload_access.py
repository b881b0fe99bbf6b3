"""Minting access: what is recorded first, and that no form outlives its epoch's deadline."""

import json
from datetime import datetime, timedelta

import pytest

from access.requests import Caller
from broker_service.responder.issuance import Terms
from broker_service.responder.sts_sessions import Sessions
from broker_service.responder.upload_access import Issuer
from storage.objects.credential_policies import Scope
from storage.objects.store import ObjectStoreUnavailableError
from tests.contract.documents import epoch_message
from tests.support.fakes import (
    EPOCH_ID,
    MINER_HOTKEY,
    START_AT,
    VALIDATOR_HOTKEY,
    FakeClock,
    FakeCurrent,
    FakeObjectStore,
    FakeRecord,
    FakeRequest,
)
from zipcast.protocol.errors import ErrorCode, ServiceError

DEADLINE = START_AT + timedelta(hours=4)
MINER = Caller(MINER_HOTKEY, "miner", "request-1", "nats")
VALIDATOR = Caller(VALIDATOR_HOTKEY, "validator", "request-2", "nats")


class DeadStore(FakeObjectStore):
    async def session(self, policy: str, name: str, lifetime_seconds: int):
        raise ObjectStoreUnavailableError("EndpointConnectionError")


def issuer(clock: FakeClock, store: FakeObjectStore | None = None) -> Issuer:
    store, current = store or FakeObjectStore(), FakeCurrent(epoch_message())
    return Issuer(store, Sessions(store, clock), FakeRecord(), current, clock, "miners", "validators")


@pytest.mark.parametrize("epoch_id", [None, EPOCH_ID])
@pytest.mark.parametrize("left", [timedelta(hours=4), timedelta(seconds=10, milliseconds=1)])
async def test_a_form_ends_at_the_deadline(epoch_id: str | None, left: timedelta) -> None:
    clock = FakeClock(DEADLINE - left)
    reply = await issuer(clock).miner_upload(FakeRequest(MINER, clock), epoch_id)
    form = json.loads(reply.fields["policy"])
    assert datetime.fromisoformat(form["at"]) + timedelta(seconds=form["lifetime"]) == DEADLINE
    assert reply.expires_at == DEADLINE
    assert reply.prefix == f"data/hotkey={MINER_HOTKEY}/epoch={EPOCH_ID}/"


@pytest.mark.parametrize("left", [timedelta(milliseconds=999), timedelta(0), timedelta(hours=-1)])
async def test_within_the_last_second_and_after_it_nothing_is_granted(left: timedelta) -> None:
    clock = FakeClock(DEADLINE - left)
    request = FakeRequest(MINER, clock)
    with pytest.raises(ServiceError) as refused:
        await issuer(clock).miner_upload(request, EPOCH_ID)
    assert refused.value.code is ErrorCode.EPOCH_NOT_OPEN
    assert request.terms == []


async def test_access_is_granted_before_the_object_store_is_asked() -> None:
    request = FakeRequest(VALIDATOR, FakeClock())
    with pytest.raises(ServiceError) as refused:
        await issuer(FakeClock(), DeadStore()).validator_upload(request, EPOCH_ID)
    assert refused.value.code is ErrorCode.CREDENTIALS_UNAVAILABLE
    scope = Scope("validators", f"validators/{VALIDATOR_HOTKEY}/epoch={EPOCH_ID}/")
    assert request.terms == [Terms(scope, EPOCH_ID, lifetime=timedelta(hours=4))]


async def test_a_miners_form_needs_no_answer_from_the_object_store() -> None:
    clock = FakeClock()
    reply = await issuer(clock, DeadStore()).miner_upload(FakeRequest(MINER, clock), EPOCH_ID)
    assert reply.prefix == f"data/hotkey={MINER_HOTKEY}/epoch={EPOCH_ID}/"


async def test_a_folder_form_lasts_as_long_as_its_row_says() -> None:
    clock = FakeClock()
    request = FakeRequest(MINER, clock)
    reply = await issuer(clock).folder_access(request)
    assert reply.expiry == START_AT + timedelta(hours=24)
    assert json.loads(reply.fields["policy"])["lifetime"] == 24 * 3600
    scope = Scope("miners", f"data/hotkey={MINER_HOTKEY}/")
    assert request.terms == [Terms(scope, None, lifetime=timedelta(hours=24))]


async def test_a_validator_gets_his_own_folder_for_four_hours() -> None:
    clock = FakeClock()
    request = FakeRequest(VALIDATOR, clock)
    reply = await issuer(clock).validator_upload(request, EPOCH_ID)
    prefix = f"validators/{VALIDATOR_HOTKEY}/epoch={EPOCH_ID}/"
    assert reply.metadata.folder_path == prefix
    assert reply.metadata.expires_at == START_AT + timedelta(hours=4)
    assert json.loads(reply.fields["policy"])["lifetime"] == 4 * 3600
    assert reply.s3_credentials is not None
    assert reply.s3_credentials.prefix == prefix
    assert [terms.scope for terms in request.terms] == [Scope("validators", prefix)]
