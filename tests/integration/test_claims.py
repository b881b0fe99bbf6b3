"""A signed request mints once, whichever door it comes by and however often it is sent."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import func, select, update

from broker_service.responder.claims import ABANDONED, Claims
from devstack.logins import login_url
from devstack.servers import Servers
from runtime.identity import Admission, Caller, Proof
from runtime.limits import Limits, Quota
from runtime.settings import LimitSettings
from storage.database import open_engine
from storage.tables import CredentialIssuance, RequestClaim
from tests.integration.people import keypair, legacy, raw_connection, signed_headers
from tests.integration.test_folder_access import PATH, asked
from tests.unit.fakes import MINER_HOTKEY
from zipcast import auth
from zipcast.clock import SystemClock
from zipcast.errors import ErrorCode, ServiceError
from zipcast.hotkeys import parse_hotkey
from zipcast.ready import Ready
from zipcast.subjects import EPOCH, Verb, request

UPLOAD = "/api/v1/s3-access/validator-upload"
SEAL_KEY = b"k" * 32


async def issuances(ready: Ready, hotkey: str) -> int:
    engine = open_engine(ready.postgres, application_name="test")
    query = select(func.count()).select_from(CredentialIssuance).where(CredentialIssuance.hotkey == hotkey)
    async with engine.connect() as connection:
        found = (await connection.execute(query)).scalar_one()
    await engine.dispose()
    return found


async def running(ready: Ready, http: httpx.AsyncClient) -> str:
    statistics = (await http.get("/api/v1/zipcode-assignments/stats")).json()
    return str(statistics["epochStatus"]["currentEpoch"]["id"])


async def test_the_same_request_again_gets_the_identical_answer_and_one_row(
    ready: Ready, http: httpx.AsyncClient
):
    signer, body = keypair(ready, "miner-8"), asked(ready, "miner-8")
    before = await issuances(ready, signer.ss58_address)
    first = await http.post(PATH, json=body)
    assert first.status_code == 200
    again = [await http.post(PATH, json=body) for _ in range(3)]
    assert [answer.content for answer in again] == [first.content] * 3
    assert await issuances(ready, signer.ss58_address) == before + 1


async def test_the_same_text_in_its_other_form_is_the_same_request(ready: Ready, http: httpx.AsyncClient):
    body = asked(ready, "miner-7", seconds_ago=20)
    text = f"s3:data:access:{body['coldkey']}:{body['hotkey']}:{body['timestamp']}"
    wrapped = keypair(ready, "miner-7").sign(f"<Bytes>{text}</Bytes>".encode()).hex()
    first = await http.post(PATH, json=body)
    second = await http.post(PATH, json=body | {"signature": "0x" + wrapped})
    assert (first.status_code, second.content) == (200, first.content)


async def test_sts_credentials_come_again_as_they_were(ready: Ready, http: httpx.AsyncClient):
    body = legacy(keypair(ready, "validator-2"), auth.VALIDATOR_UPLOAD_COMMITMENT, seconds_ago=30)
    body["epochId"] = await running(ready, http)
    first = await http.post(UPLOAD, json=body)
    assert first.json()["s3Credentials"]["sessionToken"]
    assert (await http.post(UPLOAD, json=body)).content == first.content


async def test_another_body_under_the_same_text_is_a_conflict(ready: Ready, http: httpx.AsyncClient):
    body = legacy(keypair(ready, "validator-1"), auth.VALIDATOR_UPLOAD_COMMITMENT, seconds_ago=40)
    body["epochId"] = await running(ready, http)
    assert (await http.post(UPLOAD, json=body)).status_code == 200
    other = await http.post(UPLOAD, json={**body, "purpose": "another"})
    assert (other.status_code, other.json()["error"]) == (409, "request_reused")


async def test_a_request_that_failed_may_be_sent_again(ready: Ready, http: httpx.AsyncClient):
    body = legacy(keypair(ready, "validator-1"), auth.VALIDATOR_UPLOAD_COMMITMENT, seconds_ago=50)
    body["epochId"] = "2020-01-01T00-00-00"
    answers = [await http.post(UPLOAD, json=body) for _ in range(2)]
    assert [answer.json()["error"] for answer in answers] == ["epoch_not_found"] * 2
    # Nothing was minted for that text, so that it is still good for something else.
    body["epochId"] = await running(ready, http)
    assert (await http.post(UPLOAD, json=body)).status_code == 200


async def test_twins_at_the_same_instant_mint_once(ready: Ready, http: httpx.AsyncClient):
    signer = keypair(ready, "miner-5")
    before = await issuances(ready, signer.ss58_address)
    body = asked(ready, "miner-5")
    answers = await asyncio.gather(*(http.post(PATH, json=body) for _ in range(10)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json()["error"] == "request_under_way"
            assert answer.headers["retry-after"] == "1"
    assert await issuances(ready, signer.ss58_address) == before + 1


async def test_over_nats_a_nonce_mints_once_too(ready: Ready):
    signer = keypair(ready, "miner-6")
    connection = await raw_connection(ready, signer)
    subject, body = request(parse_hotkey(signer.ss58_address), Verb.S3_MINER_UPLOAD), b"{}"
    begun = await connection.subscribe(EPOCH)
    await begun.next_msg(timeout=2 * ready.epoch_seconds)  # in an epoch's last second none is issued
    headers = signed_headers(ready, signer, subject, body)
    answers = [await connection.request(subject, body, timeout=5, headers=headers) for _ in range(3)]
    assert b'"success":true' in answers[0].data
    assert [answer.data for answer in answers] == [answers[0].data] * 3
    await connection.close()


@pytest_asyncio.fixture(loop_scope="session")
async def database(servers: Servers, database_url: str):
    engine = open_engine(login_url(servers.state, database_url, "responder"), application_name="test")
    yield engine
    await engine.dispose()


def admission(key: str = "btauth:1", body: str = "0" * 64) -> Admission:
    caller = Caller(MINER_HOTKEY, "miner", "request-1", "nats")
    return Admission(caller, Proof(key, datetime.now(UTC), body))


def quota_of(**limits: int) -> Quota:
    """A validator's, of a process that has counted nothing yet."""
    counting = Limits.of(LimitSettings(**limits), SystemClock())
    return Quota(counting, Verb.S3_VALIDATOR_UPLOAD, MINER_HOTKEY)


class Mint:
    """Mints another answer each time; `held` until it is set."""

    def __init__(self) -> None:
        self.count = 0
        self.held = asyncio.Event()
        self.held.set()
        self.begun = asyncio.Event()

    async def __call__(self) -> bytes:
        self.count += 1
        self.begun.set()
        await self.held.wait()
        return f"answer {self.count}".encode()


async def test_a_twin_on_another_replica_is_told_to_wait_and_then_gets_the_answer(database):
    replicas = [Claims(database, SystemClock(), SEAL_KEY) for _ in range(2)]
    asked_for, mint = admission(), Mint()
    mint.held.clear()
    first = asyncio.create_task(replicas[0].once(asked_for, quota_of(), mint))
    await mint.begun.wait()
    used_up = quota_of(limit_upload_per_hour=1)
    await used_up.charge()
    # Also where it was the last that the hotkey may ask for: what is under way has been charged.
    for quota in (quota_of(), used_up):
        with pytest.raises(ServiceError) as refused:
            await replicas[1].once(asked_for, quota, mint)
        assert refused.value.code is ErrorCode.REQUEST_UNDER_WAY
    mint.held.set()
    assert await first == b"answer 1"
    assert await replicas[1].once(asked_for, quota_of(), mint) == b"answer 1"
    assert mint.count == 1


async def test_what_failed_may_ask_for_something_else_under_the_same_text(database):
    claims, mint = Claims(database, SystemClock(), SEAL_KEY), Mint()

    async def fail() -> bytes:
        raise ServiceError(ErrorCode.CREDENTIALS_UNAVAILABLE, "Away.", retry_after_seconds=5)

    with pytest.raises(ServiceError):
        await claims.once(admission(), quota_of(), fail)
    assert await claims.once(admission(body="1" * 64), quota_of(), mint) == b"answer 1"
    with pytest.raises(ServiceError) as refused:
        await claims.once(admission(), quota_of(), mint)
    assert refused.value.code is ErrorCode.REQUEST_REUSED


async def test_a_claim_whose_holder_died_is_taken_over(database):
    claims, asked_for, mint = Claims(database, SystemClock(), SEAL_KEY), admission(), Mint()
    mint.held.clear()
    dying = asyncio.create_task(claims.once(asked_for, quota_of(), mint))
    await mint.begun.wait()
    async with database.begin() as connection:
        await connection.execute(update(RequestClaim).values(claimed_at=datetime.now(UTC) - ABANDONED * 2))
    mint.held.set()
    assert await claims.once(asked_for, quota_of(), mint) == b"answer 2"
    assert await dying == b"answer 1"
    # Whoever comes next gets what is on record, from whoever holds the claim.
    assert await claims.once(asked_for, quota_of(), mint) == b"answer 2"


async def test_what_was_cancelled_may_be_sent_again_at_once(database):
    claims, asked_for, mint = Claims(database, SystemClock(), SEAL_KEY), admission(), Mint()
    mint.held.clear()
    stopped = asyncio.create_task(claims.once(asked_for, quota_of(), mint))
    await mint.begun.wait()
    stopped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopped
    mint.held.set()
    assert await claims.once(asked_for, quota_of(), mint) == b"answer 2"


async def test_answered_requests_are_not_charged_again_and_refused_ones_may_be_sent_again(database):
    claims, mint = Claims(database, SystemClock(), SEAL_KEY), Mint()
    quota = quota_of(limit_upload_per_hour=1)
    for _ in range(3):
        assert await claims.once(admission("btauth:1"), quota, mint) == b"answer 1"
    with pytest.raises(ServiceError) as refused:
        await claims.once(admission("btauth:2"), quota, mint)
    assert refused.value.code is ErrorCode.RATE_LIMITED
    assert await claims.once(admission("btauth:2"), quota_of(), mint) == b"answer 2"


async def test_what_came_to_nothing_is_not_charged(database):
    claims, quota, mint = Claims(database, SystemClock(), SEAL_KEY), quota_of(limit_upload_per_hour=1), Mint()

    async def fail() -> bytes:
        raise ServiceError(ErrorCode.CREDENTIALS_UNAVAILABLE, "Away.", retry_after_seconds=1)

    for number in range(4):
        with pytest.raises(ServiceError, match="Away"):
            await claims.once(admission(f"btauth:{number}"), quota, fail)
    assert await claims.once(admission("btauth:4"), quota, mint) == b"answer 1"
    with pytest.raises(ServiceError, match="At most 1"):
        await claims.once(admission("btauth:5"), quota, mint)


async def test_what_is_stored_shows_nothing_and_opens_in_its_own_row_alone(database):
    claims, mint = Claims(database, SystemClock(), SEAL_KEY), Mint()
    for key in ("btauth:1", "btauth:2"):
        await claims.once(admission(key), quota_of(), mint)
    async with database.begin() as connection:
        stored = list((await connection.execute(select(RequestClaim.sealed_answer))).scalars())
        assert len(stored) == 2
        assert not any(b"answer" in bytes(sealed) for sealed in stored)
        await connection.execute(update(RequestClaim).values(sealed_answer=stored[0]))
    answers = {await claims.once(admission(key), quota_of(), mint) for key in ("btauth:1", "btauth:2")}
    assert len(answers) == 2
    assert mint.count == 3  # the one that was moved did not open, and was minted anew


async def test_after_a_change_of_key_it_is_minted_anew(database):
    asked_for, mint = admission(), Mint()
    assert await Claims(database, SystemClock(), SEAL_KEY).once(asked_for, quota_of(), mint) == b"answer 1"
    other = Claims(database, SystemClock(), b"o" * 32)
    assert [await other.once(asked_for, quota_of(), mint) for _ in range(2)] == [b"answer 2"] * 2


async def test_expired_claims_are_cleared_away(servers: Servers, database_url: str, database):
    await Claims(database, SystemClock(), SEAL_KEY).once(admission(), quota_of(), Mint())
    scheduler = open_engine(login_url(servers.state, database_url, "schedulers"), application_name="test")
    owner = open_engine(database_url, application_name="test")

    async def left() -> int:
        async with scheduler.begin() as connection:
            await connection.execute(select(func.zipcast.maintain_request_claims()))
        async with owner.connect() as connection:
            return (await connection.execute(select(func.count()).select_from(RequestClaim))).scalar_one()

    assert await left() == 1
    async with owner.begin() as connection:
        past = datetime.now(UTC) - timedelta(hours=1)
        await connection.execute(
            update(RequestClaim).values(claimed_at=past, expires_at=past + timedelta(minutes=1))
        )
    assert await left() == 0
    await scheduler.dispose()
    await owner.dispose()
