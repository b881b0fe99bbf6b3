"""Tests that a signed request is granted access once, over NATS or HTTP and however often it is sent."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from access.rate_limits import MAX_REPETITIONS, Limits, Quota
from access.requests import Admission, Caller, Proof
from broker_service.responder.issuance import IssuanceWriter, ProvenRequest, Terms
from devstack.logins import login_url
from devstack.servers import Servers
from service.lifecycle import end
from service.settings import LimitSettings
from storage.database.engine import open_engine, open_pool
from storage.database.issuances import Granted
from storage.database.tables import CredentialIssuance
from storage.objects.credential_policies import Scope
from tests.support.fakes import MINER_HOTKEY
from tests.support.folder_access import PATH, asked
from tests.support.issuing import UPLOAD, running
from tests.support.people import keypair, legacy, raw_connection, signed_headers
from zipcast.client.local_stack import Ready
from zipcast.clock import SystemClock
from zipcast.protocol import signed_texts
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.subjects import EPOCH, request
from zipcast.protocol.verbs import Verb


async def issuances(ready: Ready, hotkey: str) -> int:
    engine = open_engine(ready.postgres, application_name="test")
    query = select(func.count()).select_from(CredentialIssuance).where(CredentialIssuance.hotkey == hotkey)
    async with engine.connect() as connection:
        found = (await connection.execute(query)).scalar_one()
    await engine.dispose()
    return found


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
    body = legacy(keypair(ready, "validator-2"), signed_texts.VALIDATOR_UPLOAD_COMMITMENT, seconds_ago=30)
    body["epochId"] = await running(ready, http)
    first = await http.post(UPLOAD, json=body)
    assert first.json()["s3Credentials"]["sessionToken"]
    assert (await http.post(UPLOAD, json=body)).content == first.content


async def test_another_body_under_the_same_text_is_a_conflict(ready: Ready, http: httpx.AsyncClient):
    body = legacy(keypair(ready, "validator-1"), signed_texts.VALIDATOR_UPLOAD_COMMITMENT, seconds_ago=40)
    body["epochId"] = await running(ready, http)
    assert (await http.post(UPLOAD, json=body)).status_code == 200
    other = await http.post(UPLOAD, json={**body, "purpose": "another"})
    assert (other.status_code, other.json()["error"]) == (409, "request_reused")


async def test_a_request_that_was_refused_may_be_sent_again(ready: Ready, http: httpx.AsyncClient):
    body = legacy(keypair(ready, "validator-1"), signed_texts.VALIDATOR_UPLOAD_COMMITMENT, seconds_ago=50)
    body["epochId"] = "2020-01-01T00-00-00"
    answers = [await http.post(UPLOAD, json=body) for _ in range(2)]
    assert [answer.json()["error"] for answer in answers] == ["epoch_not_found"] * 2
    # Nothing was issued for that text, so it can still be used for something else.
    body["epochId"] = await running(ready, http)
    assert (await http.post(UPLOAD, json=body)).status_code == 200


async def test_twins_at_the_same_instant_get_the_same_and_one_row(ready: Ready, http: httpx.AsyncClient):
    signer = keypair(ready, "miner-5")
    before = await issuances(ready, signer.ss58_address)
    body = asked(ready, "miner-5")
    answers = await asyncio.gather(*(http.post(PATH, json=body) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert await issuances(ready, signer.ss58_address) == before + 1


async def test_over_nats_a_nonce_mints_once_too(ready: Ready):
    signer = keypair(ready, "miner-6")
    connection = await raw_connection(ready, signer)
    subject, body = request(parse_hotkey(signer.ss58_address), Verb.S3_MINER_UPLOAD), b"{}"
    begun = await connection.subscribe(EPOCH)
    await begun.next_msg(timeout=2 * ready.epoch_seconds)  # no access is issued in an epoch's last second
    headers = signed_headers(ready, signer, subject, body)
    answers = [await connection.request(subject, body, timeout=5, headers=headers) for _ in range(3)]
    assert b'"success":true' in answers[0].data
    assert [answer.data for answer in answers] == [answers[0].data] * 3
    await connection.close()


@pytest_asyncio.fixture(loop_scope="session")
async def writers(servers: Servers, database_url: str):
    """Return the writers of two responders."""
    url = login_url(servers.state, database_url, "responder")
    replicas = [IssuanceWriter(await open_pool(url, application_name="test", size=2)) for _ in range(2)]
    tasks = [asyncio.create_task(replica.run()) for replica in replicas]
    yield replicas
    await end(tasks)
    for replica in replicas:
        await replica.pool.close()


SCOPE = Scope("uploads", f"data/hotkey={MINER_HOTKEY}/")
TERMS = Terms(SCOPE, None, lifetime=timedelta(hours=1))


def quota_of(key: str = "btauth:1", **limits: int) -> Quota:
    """Return the quota of a validator in a process that has not counted anything yet."""
    counting = Limits.of(LimitSettings(**limits), SystemClock())
    return Quota(counting, Verb.S3_VALIDATOR_UPLOAD, MINER_HOTKEY, key)


def proven(
    writer: IssuanceWriter, key: str = "btauth:1", body: str = "0" * 64, quota: Quota | None = None
) -> ProvenRequest:
    caller = Caller(MINER_HOTKEY, "miner", "request-1", "nats")
    quota = quota_of(key) if quota is None else replace(quota, request_key=key)
    admission = Admission(caller, Proof(key, datetime.now(UTC), body), quota)
    return ProvenRequest(Verb.S3_VALIDATOR_UPLOAD, admission, writer, SystemClock())


async def grant(request: ProvenRequest, terms: Terms = TERMS) -> Granted:
    async with request.granted(terms) as granted:
        return granted


async def refusal(request: ProvenRequest, terms: Terms = TERMS) -> ErrorCode:
    with pytest.raises(ServiceError) as refused:
        await grant(request, terms)
    return refused.value.code


async def outcome(request: ProvenRequest) -> ErrorCode | None:
    try:
        await grant(request)
    except ServiceError as error:
        return error.code
    return None


async def rows(database_url: str) -> list[CredentialIssuance]:
    engine = open_engine(database_url, application_name="test")
    async with AsyncSession(engine) as session:
        found = list((await session.execute(select(CredentialIssuance))).scalars())
    await engine.dispose()
    return found


async def test_every_replica_grants_what_the_first_one_did(writers, database_url):
    first = await grant(proven(writers[0]))
    assert first.expires_at - first.issued_at == timedelta(hours=1)
    assert first.issued_at.microsecond == 0
    assert abs(first.issued_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert [await grant(proven(writer)) for writer in writers] == [first, first]
    (row,) = await rows(database_url)
    assert (row.issued_at, row.expires_at, row.prefix) == (first.issued_at, first.expires_at, SCOPE.prefix)
    assert (row.hotkey, row.role, row.kind, row.outcome) == (
        *(MINER_HOTKEY, "miner", Verb.S3_VALIDATOR_UPLOAD, None),
    )


async def test_many_at_once_share_statements_and_each_gets_its_own(writers, database_url):
    """Some of the requests are twins, and both responders get all of them, each in another order."""
    keys = [f"btauth:{number % 150}" for number in range(300)]
    tasks = [grant(proven(writers[n % 2 if n < 150 else 1 - n % 2], key)) for n, key in enumerate(keys)]
    granted = await asyncio.gather(*tasks)
    assert granted[:150] == granted[150:]
    assert len(await rows(database_url)) == 150


async def test_who_gives_up_takes_no_other_with_him(writers):
    asking = [asyncio.create_task(grant(proven(writers[0], f"btauth:{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    for task in asking[::2]:
        task.cancel()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(answer, Granted) for answer in answers[1::2])


async def test_one_row_that_is_at_fault_does_not_refuse_the_others(writers, database_url):
    bad = Terms(Scope("uploads", "data/x/"), "no\0text", lifetime=timedelta(hours=1))
    asked_for = [(f"btauth:{n}", bad if n == 5 else TERMS) for n in range(10)]
    answers = await asyncio.gather(
        *(grant(proven(writers[0], key), terms) for key, terms in asked_for), return_exceptions=True
    )
    assert [n for n, answer in enumerate(answers) if isinstance(answer, ServiceError)] == [5]
    assert len(await rows(database_url)) == 9


async def test_nothing_is_granted_whose_end_has_passed_by_the_databases_clock(writers, database_url):
    ended = Terms(SCOPE, None, ends_at=datetime.now(UTC) - timedelta(seconds=1))
    assert await refusal(proven(writers[0]), ended) is ErrorCode.EPOCH_NOT_OPEN
    assert await rows(database_url) == []


async def test_what_has_run_out_is_not_granted_again(writers):
    at = datetime.now(UTC) + timedelta(seconds=2)
    granted = await grant(proven(writers[0]), Terms(SCOPE, None, ends_at=at))
    assert granted.expires_at == at
    await asyncio.sleep((at - datetime.now(UTC)).total_seconds() + 0.01)
    assert await refusal(proven(writers[1]), Terms(SCOPE, None, ends_at=at)) is ErrorCode.EPOCH_NOT_OPEN


async def test_another_body_is_a_conflict_at_every_replica(writers):
    await grant(proven(writers[0]))
    for writer in writers:
        assert await refusal(proven(writer, body="1" * 64)) is ErrorCode.REQUEST_REUSED


async def test_what_could_not_be_handed_out_is_noted_charged_to_nobody_and_may_be_sent_again(
    writers, database_url
):
    quota = quota_of(limit_upload_per_hour=1)
    for _ in range(3):
        with pytest.raises(ServiceError, match="Away"):
            async with proven(writers[0], quota=quota).granted(TERMS):
                raise ServiceError(ErrorCode.CREDENTIALS_UNAVAILABLE, "Away.", retry_after_seconds=5)
        assert [row.outcome for row in await rows(database_url)] == ["credentials_unavailable"]
    await grant(proven(writers[0], quota=quota))
    assert [row.outcome for row in await rows(database_url)] == [None]
    assert await refusal(proven(writers[0], "btauth:2", quota=quota)) is ErrorCode.RATE_LIMITED


async def test_what_is_handed_out_at_last_is_charged(writers):
    quota = quota_of(limit_upload_per_hour=2)
    for number in range(5):
        with pytest.raises(ServiceError, match="Away"):
            async with proven(writers[0], f"btauth:{number}", quota=quota).granted(TERMS):
                raise ServiceError(ErrorCode.CREDENTIALS_UNAVAILABLE, "Away.", retry_after_seconds=5)
    outcomes = [await outcome(proven(writers[0], f"btauth:{number}", quota=quota)) for number in range(5)]
    assert outcomes == [None, None] + [ErrorCode.RATE_LIMITED] * 3


async def test_a_row_that_says_more_than_was_asked_for_grants_no_more(writers, servers, database_url):
    """A thief of the responder's login could write such a row beforehand."""
    url = login_url(servers.state, database_url, "responder")
    forged = (
        "insert into credential_issuances (signed_on, hotkey, request_key, body_sha256, issued_at, "
        "expires_at, role, kind, bucket, prefix, request_id, source) values "
        "((now() at time zone 'UTC')::date, '{hotkey}', 'btauth:1', repeat('0', 64), "
        "date_trunc('second', now()) {issued}, now() {ends}, "
        "'miner', 'k', 'b', 'p', 'r', 'nats')"
    )
    for issued, ends in (("", "+ interval '25 h'"), ("+ interval '9 d'", "+ interval '9 d 1 h'")):
        with pytest.raises(DBAPIError, match="violates check constraint"):
            await ask_as(url, forged.format(hotkey=MINER_HOTKEY, issued=issued, ends=ends))
    await ask_as(url, forged.format(hotkey=MINER_HOTKEY, issued="", ends="+ interval '23 h'"))
    granted = await grant(proven(writers[0]))
    assert granted.expires_at - granted.issued_at == timedelta(hours=1)


async def test_repetitions_are_not_charged_also_where_the_quota_is_used_up(writers):
    quotas = [quota_of(limit_upload_per_hour=1) for _ in writers]
    first = await grant(proven(writers[0], quota=quotas[0]))
    for _ in range(3):
        for writer, quota in zip(writers, quotas, strict=True):
            assert await grant(proven(writer, quota=quota)) == first
    # The second responder charged nothing. At the first one, the hotkey has used up its quota.
    assert await refusal(proven(writers[0], "btauth:2", quota=quotas[0])) is ErrorCode.RATE_LIMITED
    assert await grant(proven(writers[1], "btauth:3", quota=quotas[1]))
    assert await refusal(proven(writers[1], "btauth:4", quota=quotas[1])) is ErrorCode.RATE_LIMITED
    assert await grant(proven(writers[1], quota=quotas[1])) == first


async def test_one_request_is_repeated_ten_times_at_most(writers):
    quota = quota_of()
    for _ in range(1 + MAX_REPETITIONS):
        await grant(proven(writers[0], quota=quota))
    assert await refusal(proven(writers[0], quota=quota)) is ErrorCode.RATE_LIMITED


@pytest.mark.parametrize("kept", [1, 60])
async def test_a_row_that_another_transaction_keeps_refuses_its_own_request_alone(
    writers, servers, database_url, kept: int
):
    """A thief of the responder's login could do this: insert rows of future requests and never commit them.
    To wait for one after the other would take longer than requests wait for a reply."""
    engine = open_engine(login_url(servers.state, database_url, "responder"), application_name="thief")
    async with engine.connect() as thief:
        await thief.execute(
            text(
                "insert into credential_issuances (signed_on, hotkey, request_key, body_sha256, issued_at, "
                "expires_at, role, kind, bucket, prefix, request_id, source) select (now() at time zone "
                "'UTC')::date, :hotkey, 'btauth:' || n, repeat('0', 64), now(), now() + interval '1 h', "
                "'miner', 'k', 'b', 'p', 'r', 'nats' from generate_series(0, :kept - 1) as n"
            ),
            {"hotkey": MINER_HOTKEY, "kept": kept},
        )
        asked_for = (outcome(proven(writers[0], f"btauth:{n}")) for n in range(kept + 20))
        outcomes = await asyncio.gather(*asked_for)
        await thief.rollback()
    await engine.dispose()
    assert outcomes == [ErrorCode.SERVICE_UNAVAILABLE] * kept + [None] * 20
    assert await outcome(proven(writers[0], "btauth:0")) is None


async def test_copies_of_what_another_replica_granted_use_up_no_total(writers):
    """This happens if a stranger repeats an overheard request, or a hotkey signs one nonce for several
    verbs."""
    counting = Limits.of(LimitSettings(total_daily_limit=20), SystemClock())
    for key in ("btauth:1", "btauth:2"):
        await grant(proven(writers[0], key))
        for number in range(15):
            quota = Quota(counting, Verb.S3_VALIDATOR_UPLOAD, MINER_HOTKEY, key)
            body = "0" * 64 if number % 2 else "1" * 64
            with suppress(ServiceError):
                await grant(proven(writers[1], key, body, quota))
    # Each of the two was charged once, and the charges count for the hotkey's next requests.
    askers = [f"other-{number}" for number in range(18)] + [MINER_HOTKEY] * 2
    for number, asker in enumerate(askers):
        await Quota(counting, Verb.S3_MINER_UPLOAD, asker, f"own:{number}").charge()


async def test_connections_that_the_server_has_closed_are_replaced(writers, database_url):
    for number in range(40):
        await grant(proven(writers[0], f"before:{number}"))
        await ask_as(
            database_url,
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'test'",
        )
        await grant(proven(writers[0], f"after:{number}"))
    assert len(await rows(database_url)) == 80


async def test_a_record_that_is_away_refuses_all_who_wait_and_charges_nobody(servers, database_url):
    """Nothing listens at that port."""
    away = database_url.replace(str(urlsplit(database_url).port), "9")
    writer = IssuanceWriter(await open_pool(away, application_name="test", size=1))
    running = asyncio.create_task(writer.run())
    quota = quota_of(limit_upload_per_hour=1)
    for _ in range(2):
        asked_for = [refusal(proven(writer, f"btauth:{n}")) for n in range(10)]
        asked_for.append(refusal(proven(writer, "btauth:last", quota=quota)))
        assert set(await asyncio.gather(*asked_for)) == {ErrorCode.SERVICE_UNAVAILABLE}
    await end([running])


async def ask_as(url: str, statement: str) -> None:
    engine = open_engine(url, application_name="other")
    try:
        async with engine.begin() as connection:
            await connection.execute(text(statement))
    finally:
        await engine.dispose()
