"""Tests requests of the SDK: replies, refusals, and errors that are reported apart from a request."""

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import nats.errors
import pytest
from nats.aio.msg import Msg

from tests.support.fakes import (
    MINER,
    MINER_HOTKEY,
    SIGNER_HOTKEY,
    START_AT,
    VALIDATOR_HOTKEY,
    FakeClock,
)
from zipcast.client.signed_requests import Requester
from zipcast.protocol import btauth, subjects
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.access import MinerUploadReply, MinerUploadRequest
from zipcast.protocol.messages.base import HEADER_ERROR, error_body
from zipcast.protocol.verbs import Verb

Answer = Callable[[dict[str, str]], Awaitable[Msg]]
TWO_SIGNERS = frozenset({SIGNER_HOTKEY, VALIDATOR_HOTKEY})
SUBJECT = subjects.request(MINER_HOTKEY, Verb.EPOCH_CURRENT)
DENIAL = nats.errors.Error(f'nats: permissions violation for publish to "{SUBJECT.lower()}"')


class FakeConnection:
    """Passes the headers of each request to `answer`."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.receivers: list[str] = []

    async def request(self, subject: str, body: bytes, *, timeout: float, headers: dict[str, str]) -> Msg:  # noqa: ASYNC109 - nats-py's own
        self.receivers.append(headers[btauth.HEADER_RECEIVER])
        return await self._answer(headers)


def reply(body: bytes, headers: dict[str, str] | None = None) -> Msg:
    return Msg(_client=None, data=body, headers=headers)  # type: ignore[arg-type]


def refused(body: object) -> Msg:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return reply(raw, {HEADER_ERROR: "whatever"})


def requester(
    answer: Answer, receivers: frozenset[Hotkey] = frozenset({SIGNER_HOTKEY})
) -> tuple[Requester, FakeConnection]:
    connection = FakeConnection(answer)

    async def connected() -> FakeConnection:
        return connection

    return Requester(MINER, receivers, FakeClock(), connected), connection  # type: ignore[arg-type]


async def never(_: dict[str, str]) -> Msg:
    await asyncio.Event().wait()
    raise AssertionError


def only_for(receiver: Hotkey) -> Answer:
    async def answer(headers: dict[str, str]) -> Msg:
        if headers[btauth.HEADER_RECEIVER] == receiver:
            return reply(b"{}")
        return refused(error_body(ServiceError(ErrorCode.WRONG_RECEIVER, "Another.")))

    return answer


async def until_waiting(connection: FakeConnection, count: int) -> None:
    while len(connection.receivers) < count:  # noqa: ASYNC110 - what is waited for is no event
        await asyncio.sleep(0)


@pytest.mark.parametrize("taken_by", sorted(TWO_SIGNERS))
async def test_whichever_pinned_signer_the_service_is_it_is_found_and_remembered(taken_by: Hotkey):
    asking, connection = requester(only_for(taken_by), TWO_SIGNERS)
    await asking.ask(Verb.EPOCH_CURRENT, b"{}")
    await asking.ask(Verb.EPOCH_CURRENT, b"{}")
    assert connection.receivers[-2:] == [taken_by, taken_by]


@pytest.mark.parametrize("preferred", sorted(TWO_SIGNERS))
async def test_a_request_is_addressed_to_the_signer_of_the_newest_epoch(preferred: Hotkey):
    asking, connection = requester(only_for(preferred), TWO_SIGNERS)
    asking.prefer(preferred)
    await asking.ask(Verb.EPOCH_CURRENT, b"{}")
    assert connection.receivers == [preferred]


async def test_a_service_that_is_none_of_the_pinned_signers_is_an_error():
    asking, connection = requester(only_for(MINER_HOTKEY), TWO_SIGNERS)
    with pytest.raises(ServiceError) as error:
        await asking.ask(Verb.EPOCH_CURRENT, b"{}")
    assert error.value.code is ErrorCode.WRONG_RECEIVER
    assert connection.receivers == sorted(TWO_SIGNERS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        {"error": ["internal_error"]},
        {"error": "stale_request", "serverTime": "noon"},
        {"error": "stale_request", "serverTime": 1e300},
        {"error": "stale_request", "serverTime": []},
        {"error": "service_unavailable", "retryAfter": "soon"},
        {"error": "service_unavailable", "retryAfter": [1]},
        {"error": "service_unavailable", "retryAfter": 10**400},
        {"error": "service_unavailable", "retryAfter": -1},
    ],
)
async def test_an_error_reply_that_cannot_be_read_is_an_internal_error(body: object):
    async def answer(_: dict[str, str]) -> Msg:
        return refused(body)

    asking, _ = requester(answer)
    with pytest.raises(ServiceError) as error:
        await asking.ask(Verb.EPOCH_CURRENT, b"{}")
    assert error.value.code is ErrorCode.INTERNAL


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"success": true}'])
async def test_a_reply_that_cannot_be_read_is_an_internal_error(body: bytes):
    async def answer(_: dict[str, str]) -> Msg:
        return reply(body)

    asking, _ = requester(answer)
    with pytest.raises(ServiceError) as error:
        await asking.call(Verb.S3_MINER_UPLOAD, MinerUploadRequest(), MinerUploadReply)
    assert error.value.code is ErrorCode.INTERNAL


async def test_a_wrong_clock_is_corrected_once_by_the_time_the_service_states():
    server_time = START_AT + timedelta(minutes=50)

    async def answer(headers: dict[str, str]) -> Msg:
        if int(headers[btauth.HEADER_NONCE]) == int(server_time.timestamp()) * 10**9:
            return reply(b"{}")
        stale = ServiceError(ErrorCode.STALE_REQUEST, "Old.")
        return refused(error_body(stale, server_time=server_time))

    asking, connection = requester(answer)
    await asking.ask(Verb.EPOCH_CURRENT, b"{}")
    await asking.ask(Verb.EPOCH_CURRENT, b"{}")
    assert len(connection.receivers) == 3
    assert asking.now() == server_time


@pytest.mark.parametrize("told", [timedelta(days=-30), timedelta(minutes=-61), timedelta(days=3650)])
async def test_a_time_far_from_our_own_is_not_followed(told: timedelta):
    """The stated time is not signed. A request signed for the far future could be kept and used later."""
    stale = error_body(ServiceError(ErrorCode.STALE_REQUEST, "Old."), server_time=START_AT + told)
    signed: list[str] = []

    async def answer(headers: dict[str, str]) -> Msg:
        signed.append(headers[btauth.HEADER_NONCE])
        return refused(stale)

    asking, _ = requester(answer)
    with pytest.raises(ServiceError, match="clock") as error:
        await asking.ask(Verb.EPOCH_CURRENT, b"{}")
    assert error.value.code is ErrorCode.STALE_REQUEST
    assert signed == [str(int(START_AT.timestamp()) * 10**9)]
    assert asking.now() == START_AT


async def test_a_denied_subject_ends_every_request_that_waits_on_it_and_no_other():
    asking, connection = requester(never)
    waiting = [asyncio.create_task(asking.ask(Verb.EPOCH_CURRENT, b"{}")) for _ in range(3)]
    other = asyncio.create_task(asking.ask(Verb.S3_MINER_UPLOAD, b"{}"))
    await until_waiting(connection, 4)
    await asking.on_error(
        nats.errors.Error(f'nats: permissions violation for publish to "{SUBJECT.lower()}"')
    )
    for one in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(one, ServiceError)
        assert one.code is ErrorCode.VALIDATOR_REQUIRED
    assert not other.done()
    other.cancel()


async def test_a_denial_is_not_held_against_the_next_request():
    async def later(_: dict[str, str]) -> Msg:
        await asyncio.sleep(0)
        return reply(b"{}")

    asking, _ = requester(later)
    await asking.on_error(DENIAL)
    assert (await asking.ask(Verb.EPOCH_CURRENT, b"{}")).data == b"{}"


async def test_a_lost_connection_ends_what_waits():
    asking, connection = requester(never)
    waiting = asyncio.create_task(asking.ask(Verb.EPOCH_CURRENT, b"{}"))
    await until_waiting(connection, 1)
    asking.interrupt(nats.errors.ConnectionClosedError())
    with pytest.raises(nats.errors.ConnectionClosedError):
        await waiting


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_cancelled_call_leaves_no_request_behind():
    before = asyncio.all_tasks()
    asking, connection = requester(never)
    waiting = asyncio.create_task(asking.ask(Verb.EPOCH_CURRENT, b"{}"))
    await until_waiting(connection, 1)
    waiting.cancel()
    await turns()
    assert asyncio.all_tasks() == before


async def test_a_request_that_fails_while_its_call_is_cancelled_is_no_unseen_error():
    unseen: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    tasks: list[asyncio.Task[Msg]] = []

    async def failing(_: dict[str, str]) -> Msg:
        await asyncio.sleep(0)
        loop.call_soon(tasks[0].cancel)  # runs after this has failed, before the caller notices
        raise nats.errors.TimeoutError

    asking, _ = requester(failing)
    tasks.append(asyncio.create_task(asking.ask(Verb.EPOCH_CURRENT, b"{}")))
    await turns()
    assert tasks.pop().cancelled()
    gc.collect()
    loop.set_exception_handler(None)
    assert unseen == []


def test_without_a_pinned_signer_there_is_no_client():
    with pytest.raises(ValueError, match="signer"):
        requester(never, frozenset())


async def test_a_request_that_its_responder_took_to_the_grave_is_sent_again_unchanged():
    sent: list[dict[str, str]] = []

    async def dies_once(headers: dict[str, str]) -> Msg:
        sent.append(headers)
        if len(sent) == 1:
            raise nats.errors.TimeoutError
        return reply(b"{}")

    asking, _ = requester(dies_once)
    assert (await asking.ask(Verb.EPOCH_CURRENT, b"{}")).data == b"{}"
    assert len(sent) == 2
    assert sent[0] == sent[1]


async def test_a_request_is_sent_twice_at_most_before_it_counts_as_unanswered():
    sent: list[dict[str, str]] = []

    async def dead(headers: dict[str, str]) -> Msg:
        sent.append(headers)
        raise nats.errors.TimeoutError

    asking, _ = requester(dead)
    with pytest.raises(nats.errors.TimeoutError):
        await asking.ask(Verb.EPOCH_CURRENT, b"{}")
    assert len(sent) == 2
