"""Tests upload access: its row is written first, and no form outlives its epoch's deadline."""

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
from zipcast.protocol.messages.access import FileToUpload, MinerUploadRequest, ValidatorUploadRequest

TOO_LARGE = FileToUpload(name="x", size_bytes=5 * 1024**3 + 1)
LISTINGS = MinerUploadRequest(epoch_id=EPOCH_ID)
RESULTS = ValidatorUploadRequest(epoch_id=EPOCH_ID)
DEADLINE = START_AT + timedelta(hours=4)
MINER = Caller(MINER_HOTKEY, "miner", "request-1", "nats")
VALIDATOR = Caller(VALIDATOR_HOTKEY, "validator", "request-2", "nats")


class DeadStore(FakeObjectStore):
    async def session(self, policy: str, name: str, lifetime_seconds: int):
        raise ObjectStoreUnavailableError("EndpointConnectionError")


class SessionRecorder(FakeObjectStore):
    """Keeps policy and duration of each session."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[tuple[str, int]] = []

    async def session(self, policy: str, name: str, lifetime_seconds: int):
        self.sessions.append((policy, lifetime_seconds))
        return await super().session(policy, name, lifetime_seconds)


def issuer(clock: FakeClock, store: FakeObjectStore | None = None) -> Issuer:
    store, current = store or FakeObjectStore(), FakeCurrent(epoch_message())
    return Issuer(store, Sessions(store, clock), FakeRecord(), current, clock, "miners", "validators")


@pytest.mark.parametrize("epoch_id", [None, EPOCH_ID])
@pytest.mark.parametrize("left", [timedelta(hours=4), timedelta(seconds=10, milliseconds=1)])
async def test_a_form_ends_at_the_deadline(epoch_id: str | None, left: timedelta) -> None:
    clock = FakeClock(DEADLINE - left)
    reply = await issuer(clock).miner_upload(FakeRequest(MINER, clock), MinerUploadRequest(epoch_id=epoch_id))
    form = json.loads(reply.fields["policy"])
    assert datetime.fromisoformat(form["at"]) + timedelta(seconds=form["lifetime"]) == DEADLINE
    assert reply.expires_at == DEADLINE
    assert reply.prefix == f"data/hotkey={MINER_HOTKEY}/epoch={EPOCH_ID}/"


@pytest.mark.parametrize("left", [timedelta(milliseconds=999), timedelta(0), timedelta(hours=-1)])
async def test_within_the_last_second_and_after_it_nothing_is_granted(left: timedelta) -> None:
    clock = FakeClock(DEADLINE - left)
    request = FakeRequest(MINER, clock)
    with pytest.raises(ServiceError) as refused:
        await issuer(clock).miner_upload(request, LISTINGS)
    assert refused.value.code is ErrorCode.EPOCH_NOT_OPEN
    assert request.terms == []


async def test_access_is_granted_before_the_object_store_is_asked() -> None:
    request = FakeRequest(VALIDATOR, FakeClock())
    with pytest.raises(ServiceError) as refused:
        await issuer(FakeClock(), DeadStore()).validator_upload(
            request, ValidatorUploadRequest(epoch_id=EPOCH_ID)
        )
    assert refused.value.code is ErrorCode.CREDENTIALS_UNAVAILABLE
    scope = Scope("validators", f"validators/{VALIDATOR_HOTKEY}/epoch={EPOCH_ID}/")
    assert request.terms == [Terms(scope, EPOCH_ID, lifetime=timedelta(hours=4))]


async def test_a_miners_form_needs_no_answer_from_the_object_store() -> None:
    clock = FakeClock()
    reply = await issuer(clock, DeadStore()).miner_upload(
        FakeRequest(MINER, clock), MinerUploadRequest(epoch_id=EPOCH_ID)
    )
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
    reply = await issuer(clock).validator_upload(request, RESULTS)
    prefix = f"validators/{VALIDATOR_HOTKEY}/epoch={EPOCH_ID}/"
    assert reply.metadata.folder_path == prefix
    assert reply.metadata.expires_at == START_AT + timedelta(hours=4)
    assert json.loads(reply.fields["policy"])["lifetime"] == 4 * 3600
    assert reply.s3_credentials is not None
    assert reply.s3_credentials.prefix == prefix
    assert [terms.scope for terms in request.terms] == [Scope("validators", prefix)]


async def test_a_miners_credentials_end_at_the_deadline_and_open_its_folder_of_the_epoch() -> None:
    clock = FakeClock(DEADLINE - timedelta(minutes=15))
    asked = MinerUploadRequest(epoch_id=EPOCH_ID, with_credentials=True)
    store = SessionRecorder()
    reply = await issuer(clock, store).miner_upload(FakeRequest(MINER, clock), asked)
    assert reply.s3_credentials is not None
    assert reply.s3_credentials.prefix == f"data/hotkey={MINER_HOTKEY}/epoch={EPOCH_ID}/"
    ((policy, seconds),) = store.sessions
    assert seconds == 15 * 60
    allowed = [one["Resource"] for one in json.loads(policy)["Statement"] if one["Effect"] == "Allow"]
    assert allowed == [f"arn:aws:s3:::miners/{reply.s3_credentials.prefix}*", "arn:aws:s3:::miners"]


@pytest.mark.parametrize(
    ("left", "wanted", "sts"),
    [
        (timedelta(minutes=15) - timedelta(milliseconds=1), True, True),  # STS makes no shorter session
        (timedelta(hours=4), False, True),
        (timedelta(hours=4), True, False),
    ],
)
async def test_a_miner_gets_no_credentials(left: timedelta, wanted: bool, sts: bool) -> None:
    clock = FakeClock(DEADLINE - left)
    asked = MinerUploadRequest(epoch_id=EPOCH_ID, with_credentials=wanted)
    reply = await issuer(clock, FakeObjectStore(sts=sts)).miner_upload(FakeRequest(MINER, clock), asked)
    assert reply.s3_credentials is None
    assert reply.method == "POST"


async def test_a_store_without_forms_gives_a_url_for_the_named_file() -> None:
    clock, store = FakeClock(), FakeObjectStore(takes_forms=False)
    file = FileToUpload(name="19103/listings.csv", size_bytes=2048)
    asked = MinerUploadRequest(epoch_id=EPOCH_ID, file=file)
    reply = await issuer(clock, store).miner_upload(FakeRequest(MINER, clock), asked)
    assert reply.method == "PUT"
    assert f"/miners/{reply.prefix}19103/listings.csv?" in reply.url
    assert reply.fields == {"content-length": "2048"}
    assert json.loads(reply.to_bytes())["method"] == "PUT"
    stated = ValidatorUploadRequest(epoch_id=EPOCH_ID, file=FileToUpload(name="r.json", size_bytes=1))
    results = await issuer(clock, store).validator_upload(FakeRequest(VALIDATOR, clock), stated)
    assert results.fields["x-amz-meta-epoch-id"] == EPOCH_ID


@pytest.mark.parametrize("file", [None, FileToUpload(name="x", size_bytes=1023), TOO_LARGE])
async def test_a_store_without_forms_needs_a_file_of_an_allowed_size(file: FileToUpload | None) -> None:
    request = FakeRequest(MINER, FakeClock())
    with pytest.raises(ServiceError, match=r"^file") as refused:
        asked = MinerUploadRequest(epoch_id=EPOCH_ID, file=file)
        await issuer(FakeClock(), FakeObjectStore(takes_forms=False)).miner_upload(request, asked)
    assert refused.value.code is ErrorCode.MALFORMED_REQUEST
    assert request.terms == []


async def test_a_store_without_forms_has_no_legacy_uploads() -> None:
    request = FakeRequest(MINER, FakeClock())
    with pytest.raises(ServiceError) as refused:
        await issuer(FakeClock(), FakeObjectStore(takes_forms=False)).folder_access(request)
    assert refused.value.code is ErrorCode.CREDENTIALS_UNAVAILABLE
    assert request.terms == []


async def test_a_validator_that_is_also_a_miner_has_two_sessions() -> None:
    clock, store = FakeClock(), SessionRecorder()
    both = issuer(clock, store)
    asked = MinerUploadRequest(epoch_id=EPOCH_ID, with_credentials=True)
    listings = await both.miner_upload(FakeRequest(VALIDATOR, clock), asked)
    results = await both.validator_upload(FakeRequest(VALIDATOR, clock), RESULTS)
    assert listings.s3_credentials is not None
    assert results.s3_credentials is not None
    assert [listings.s3_credentials.bucket, results.s3_credentials.bucket] == ["miners", "validators"]
    buckets = [json.loads(policy)["Statement"][1]["Resource"] for policy, _ in store.sessions]
    assert buckets == ["arn:aws:s3:::miners", "arn:aws:s3:::validators"]
