"""Tests valid and invalid requests over NATS, against a running stack: each gets its own error code."""

import asyncio
import json
from datetime import datetime, timedelta

import nats.errors
import pytest

from tests.support.people import ask, client, keypair, raw_connection, signed_headers, trust_of
from tests.support.processes import is_alive
from zipcast.client.client import ZipcastClient
from zipcast.client.local_stack import Ready
from zipcast.clock import SystemClock
from zipcast.protocol import subjects
from zipcast.protocol.calendar import EpochCalendar
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.messages.base import parse_error, stated_server_time
from zipcast.protocol.messages.status import StatusRequest
from zipcast.protocol.verbs import Verb


async def refusal(ready: Ready, name: str, verb: Verb, body: bytes, **changed: object) -> ErrorCode:
    signer = keypair(ready, name)
    connection = await raw_connection(ready, signer)
    try:
        return parse_error((await ask(ready, connection, signer, verb, body, **changed)).data).code
    finally:
        await connection.close()


async def test_a_hotkey_that_is_not_registered_cannot_connect(ready: Ready):
    with pytest.raises(nats.errors.AuthorizationError):
        await raw_connection(ready, Keypair.create_from_uri("//Stranger"))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", ErrorCode.MALFORMED_REQUEST),
        (b"[]", ErrorCode.MALFORMED_REQUEST),
        (b"\xff\xfe", ErrorCode.MALFORMED_REQUEST),
        (b'{"epochId": 7}', ErrorCode.MALFORMED_REQUEST),
        (b'{"epochId": "a", "epochId": "b"}', ErrorCode.MALFORMED_REQUEST),
        (b"[" * 5000, ErrorCode.MALFORMED_REQUEST),
        (b'{"epochId": "tomorrow"}', ErrorCode.MALFORMED_EPOCH_ID),
        (b'{"epochId": "2020-01-01T00-00-00"}', ErrorCode.EPOCH_NOT_FOUND),
        (b'{"epochId": "*"}', ErrorCode.MALFORMED_EPOCH_ID),
    ],
)
async def test_a_body_that_cannot_be_answered_is_told_why(ready: Ready, body: bytes, code: ErrorCode):
    assert await refusal(ready, "miner-1", Verb.S3_MINER_UPLOAD, body) is code


async def test_a_signature_over_something_else_is_refused(ready: Ready):
    other = signed_headers(ready, keypair(ready, "miner-1"), "zipcast.elsewhere", b"{}")
    changed = {"headers": other}
    assert await refusal(ready, "miner-1", Verb.EPOCH_CURRENT, b"{}", **changed) is ErrorCode.BAD_SIGNATURE


async def test_a_body_swapped_under_a_signature_is_refused(ready: Ready):
    signer = keypair(ready, "miner-1")
    subject = subjects.request(parse_hotkey(signer.ss58_address), Verb.S3_MINER_UPLOAD)
    connection = await raw_connection(ready, signer)
    headers = signed_headers(ready, signer, subject, b"{}")
    reply = await connection.request(subject, b'{"epochId":null}', timeout=5, headers=headers)
    await connection.close()
    assert parse_error(reply.data).code is ErrorCode.BAD_SIGNATURE


async def test_a_request_for_another_service_is_refused(ready: Ready):
    signer = keypair(ready, "miner-1")
    subject = subjects.request(parse_hotkey(signer.ss58_address), Verb.EPOCH_CURRENT)
    elsewhere = signed_headers(ready, signer, subject, b"{}") | {"X-Bittensor-Receiver": signer.ss58_address}
    code = await refusal(ready, "miner-1", Verb.EPOCH_CURRENT, b"{}", headers=elsewhere)
    assert code is ErrorCode.WRONG_RECEIVER


async def test_a_request_without_signature_headers_is_refused(ready: Ready):
    signer = keypair(ready, "miner-1")
    connection = await raw_connection(ready, signer)
    subject = subjects.request(parse_hotkey(signer.ss58_address), Verb.EPOCH_CURRENT)
    reply = await connection.request(subject, b"{}", timeout=5)
    await connection.close()
    assert parse_error(reply.data).code is ErrorCode.MALFORMED_AUTH


async def test_a_stale_request_is_told_the_servers_time(ready: Ready):
    signer = keypair(ready, "miner-1")
    connection = await raw_connection(ready, signer)
    reply = await ask(ready, connection, signer, Verb.EPOCH_CURRENT, b"{}", seconds_ago=30)
    await connection.close()
    assert parse_error(reply.data).code is ErrorCode.STALE_REQUEST
    assert stated_server_time(reply.data) is not None


class SlowClock(SystemClock):
    """A clock that is three quarters of an hour late. If it were wrong by more than an hour, the client would
    not follow the service's time."""

    def now(self) -> datetime:
        return super().now() - timedelta(minutes=45)


async def test_an_sdk_whose_clock_is_wrong_corrects_itself(ready: Ready):
    signer = keypair(ready, "miner-4")
    async with ZipcastClient([ready.nats], signer, trust_of(ready), clock=SlowClock()) as connected:
        assert (await connected.current()).message.network == ready.network


async def test_a_miner_may_not_ask_what_only_validators_may(ready: Ready):
    async with client(ready, "miner-1") as connected:
        epoch_id = (await connected.current()).message.epoch_id
        with pytest.raises(ServiceError) as caught:
            await connected.validator_upload(epoch_id)
    assert caught.value.code is ErrorCode.VALIDATOR_REQUIRED


async def test_an_epoch_that_is_prepared_but_has_not_started_does_not_exist(ready: Ready):
    calendar = EpochCalendar(ready.epoch_seconds)
    async with client(ready, "validator-1") as connected:
        running = (await connected.current()).message
        upcoming = calendar.after(calendar.starting(running.epoch_id)).epoch_id
        for ask_for in (connected.validator_upload, connected.miner_upload):
            with pytest.raises(ServiceError) as caught:
                await ask_for(upcoming)
            never = caught.value.message
            assert caught.value.code is ErrorCode.EPOCH_NOT_FOUND
            with pytest.raises(ServiceError) as caught:
                await ask_for("2099-01-01T00-00-00")
            assert caught.value.message == never


async def test_nobody_reads_uploads_of_an_epoch_that_still_runs(ready: Ready):
    miner = keypair(ready, "miner-1").ss58_address
    async with client(ready, "validator-1") as connected:
        epoch_id = (await connected.current()).message.epoch_id
        with pytest.raises(ServiceError) as caught:
            await connected.validator_read(epoch_id, miner)
    assert caught.value.code is ErrorCode.EPOCH_NOT_ENDED


@pytest.mark.parametrize("reply", ["zipcast.v1.epoch", "$JS.API.STREAM.PURGE.EPOCHS", "other inbox"])
async def test_a_reply_subject_that_is_not_the_callers_own_gets_nothing(ready: Ready, reply: str):
    victim, attacker = keypair(ready, "miner-5"), keypair(ready, "miner-6")
    if reply == "other inbox":
        reply = f"_INBOX.{victim.ss58_address}.stolen"
    listener = await raw_connection(ready, victim)
    heard: list[str] = []

    async def hear(message):
        heard.append(message.subject)

    await listener.subscribe(f"_INBOX.{victim.ss58_address}.>", cb=hear)
    await listener.flush()
    connection = await raw_connection(ready, attacker)
    subject = subjects.request(parse_hotkey(attacker.ss58_address), Verb.EPOCH_CURRENT)
    headers = signed_headers(ready, attacker, subject, b"{}")
    await connection.publish(subject, b"{}", reply=reply, headers=headers)
    # The same responder replied to this request after the hostile one, so it has handled the hostile one.
    answer = await ask(ready, connection, attacker, Verb.EPOCH_CURRENT, b"{}")
    await listener.flush()
    await asyncio.gather(connection.close(), listener.close())
    assert json.loads(answer.data)["epochId"]
    assert heard == []


async def test_a_huge_correlation_id_is_refused_and_costs_nobody_the_responder(ready: Ready):
    """FastStream would copy the id into the reply, and nats-server would then close our connection."""
    responder = ready.pids["responder"]
    changed = {"headers": {"correlation_id": "x" * 250_000}}
    code = await refusal(ready, "miner-1", Verb.EPOCH_CURRENT, b"{}", **changed)
    assert code is ErrorCode.PAYLOAD_TOO_LARGE
    async with client(ready, "miner-2") as connected:
        assert (await connected.current()).message.network == ready.network
    assert is_alive(responder)


async def test_a_miner_reports_how_far_he_is_through_the_sdk(ready: Ready):
    async with client(ready, "miner-5") as connected:
        running = (await connected.current()).message
        report = StatusRequest(
            epoch_id=running.epoch_id, nonce=running.nonce, status="IN_PROGRESS", listings_scraped=7
        )
        told = await connected.report_status(report)
        assert (told.epoch_id, told.status) == (running.epoch_id, "IN_PROGRESS")
        with pytest.raises(ServiceError) as refused:
            await connected.report_status(report.model_copy(update={"nonce": "00" * 32}))
    assert refused.value.code is ErrorCode.NONCE_MISMATCH
