"""Tests a client with simulated connections: how it keeps one, and what ends it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import nats.errors
import pytest
from nats.aio.msg import Msg

from tests.contract.documents import epoch_message
from tests.support.fakes import MINER, SIGNER, SIGNER_HOTKEY, START_AT, FakeClock
from zipcast.client import client as client_module
from zipcast.client.client import ZipcastClient
from zipcast.client.connection import HotkeyRefusedError, Server
from zipcast.errors import NotRegisteredError
from zipcast.protocol import subjects
from zipcast.protocol.envelope import EnvelopeError, Trust, UnverifiedEnvelope, seal
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import HEADER_ERROR, error_body
from zipcast.protocol.verbs import Verb

MESSAGE = epoch_message()
SEALED = seal(MESSAGE, SIGNER)
Answer = Callable[[], Awaitable[Msg]]


class YieldingClock(FakeClock):
    """A clock whose sleeps take no time, but let other tasks run."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await asyncio.sleep(0)


class FakeConnection:
    """A connection that can subscribe and flush. `answer` replies to its requests."""

    def __init__(self, network: "Network", on_close: Callable[[], Awaitable[None]]) -> None:
        self._network, self._on_close = network, on_close
        self.closed = False
        self.flush_error: Exception | None = None
        self.hear: Callable[[Msg], Awaitable[None]] | None = None

    async def subscribe(self, subject: str, cb: Callable[[Msg], Awaitable[None]]) -> None:
        if subject == subjects.EPOCH:
            self.hear = cb

    async def flush(self, timeout: int) -> None:  # noqa: ASYNC109 - nats-py's own
        if self.flush_error is not None:
            raise self.flush_error

    async def request(self, subject: str, *_: object, **__: object) -> Msg:
        if subject.endswith(Verb.EPOCH_SEALED):
            return await silence()
        return await self._network.answer()

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            await self._on_close()


class Network:
    """Replaces `connect`. The errors in `refusals` are raised first, one for each attempt."""

    def __init__(self) -> None:
        self.connections: list[FakeConnection] = []
        self.refusals: list[BaseException] = []
        self.open_at_connect: list[int] = []
        self.flush_error: Exception | None = None
        self.answer: Answer = silence

    async def connect(self, server: Server, *_: object, on_close: Any, **__: object) -> FakeConnection:
        self.open_at_connect.append(len([one for one in self.connections if not one.closed]))
        if self.refusals:
            raise self.refusals.pop(0)
        connection = FakeConnection(self, on_close)
        connection.flush_error = self.flush_error
        self.connections.append(connection)
        return connection


async def silence() -> Msg:
    raise nats.errors.NoRespondersError


async def reply_with_epoch() -> Msg:
    return message(SEALED)


def message(envelope: UnverifiedEnvelope) -> Msg:
    return Msg(_client=None, data=envelope.payload, headers=envelope.headers())  # type: ignore[arg-type]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(client_module, "connect", network.connect)
    monkeypatch.setattr(client_module, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(client_module, "MAX_PAUSE_SECONDS", 0.002)
    return network


def new_client() -> ZipcastClient:
    trust = Trust(frozenset({SIGNER_HOTKEY}), MESSAGE.network, MESSAGE.netuid)
    return ZipcastClient(["nats://127.0.0.1:4222"], MINER, trust, clock=YieldingClock())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110 - what is waited for is no event
            await asyncio.sleep(0)


async def test_entering_does_not_wait_for_the_running_epoch(network: Network):
    async def never() -> Msg:
        await asyncio.Event().wait()
        raise AssertionError

    network.answer = never
    async with asyncio.timeout(1), new_client():
        pass
    assert [one.closed for one in network.connections] == [True]


async def test_a_failure_to_subscribe_leaves_no_connection_open(network: Network):
    network.flush_error = nats.errors.FlushTimeoutError()
    with pytest.raises(nats.errors.TimeoutError):
        await new_client().__aenter__()
    assert [one.closed for one in network.connections] == [True]


async def test_the_old_connection_is_closed_before_a_new_one_is_made(network: Network):
    async with new_client() as connected:
        network.refusals = [nats.errors.NoServersError(), ConnectionRefusedError(), TimeoutError()]
        await network.connections[0].close()
        await until(lambda: connected.connections == 2)
    assert network.open_at_connect == [0] * 5
    assert all(one.closed for one in network.connections)


@pytest.mark.parametrize(
    "code", [ErrorCode.NO_CURRENT_EPOCH, ErrorCode.REGISTRY_UNAVAILABLE, ErrorCode.SERVICE_UNAVAILABLE]
)
async def test_the_running_epoch_is_asked_for_until_it_is_told(network: Network, code: ErrorCode):
    answers = iter(
        [
            nats.errors.NoRespondersError(),
            nats.errors.TimeoutError(),
            Msg(
                _client=None,  # type: ignore[arg-type]
                data=str(error_body(ServiceError(code, "Not now."))).replace("'", '"').encode(),
                headers={HEADER_ERROR: str(code)},
            ),
            Msg(_client=None, data=b"forged", headers=SEALED.headers()),  # type: ignore[arg-type]
            message(SEALED),
        ]
    )

    async def answer() -> Msg:
        given = next(answers)
        if isinstance(given, Exception):
            raise given
        return given

    network.answer = answer
    async with asyncio.timeout(2), new_client() as connected:
        received = await anext(connected.epochs())
        assert (received.epoch.envelope, received.via) == (SEALED, "request")
        assert connected.unanswered_questions == 3  # after a timeout, the same request is sent once more
        assert connected.refused_messages == 1


async def test_a_push_of_the_running_epoch_ends_the_asking(network: Network):
    asked = 0

    async def answer() -> Msg:
        nonlocal asked
        asked += 1
        raise nats.errors.NoRespondersError

    network.answer = answer
    async with asyncio.timeout(2), new_client() as connected:
        await until(lambda: asked)
        hear = network.connections[0].hear
        assert hear is not None
        await hear(message(SEALED))
        assert (await anext(connected.epochs())).via == "push"
        before = asked
        for _ in range(50):
            await asyncio.sleep(0.0005)
        assert asked <= before + 1


async def test_after_each_new_connection_it_is_asked_again(network: Network):
    asked_on: list[int] = []

    async def answer() -> Msg:
        asked_on.append(len(network.connections))
        return message(SEALED)

    network.answer = answer
    async with new_client() as connected:
        await until(lambda: asked_on)
        await network.connections[0].close()
        await until(lambda: 2 in asked_on)
        received = [await anext(connected.epochs())]
        assert len(received) == 1
    assert asked_on == [1, 2]


async def test_an_epoch_that_ended_without_a_successor_is_asked_about(network: Network):
    length = timedelta(hours=4)
    following = MESSAGE.model_copy(
        update={
            "epoch_id": "2026-11-22T08-00-00",
            "epoch_start": START_AT + length,
            "epoch_end": START_AT + 2 * length,
        }
    )
    clock = YieldingClock(START_AT + length - timedelta(seconds=1))
    trust = Trust(frozenset({SIGNER_HOTKEY}), MESSAGE.network, MESSAGE.netuid)
    answers = [message(SEALED), message(seal(following, SIGNER))]

    async def answer() -> Msg:
        clock.wall += timedelta(seconds=10)  # the next request is due when this one has its reply
        return answers.pop(0)

    network.answer = answer
    connected = ZipcastClient(["nats://127.0.0.1:4222"], MINER, trust, clock=clock)
    async with asyncio.timeout(2), connected:
        epochs = connected.epochs()
        assert (await anext(epochs)).epoch.envelope == SEALED
        assert (await anext(epochs)).epoch.message == following


async def test_what_nobody_expected_is_raised_out_of_epochs_and_of_requests(network: Network):
    async with asyncio.timeout(2), new_client() as connected:
        network.refusals = [ZeroDivisionError("a fault")]
        waiting = asyncio.create_task(anext(connected.epochs()))  # type: ignore[arg-type]
        await network.connections[0].close()
        with pytest.raises(ZeroDivisionError):
            await waiting
        with pytest.raises(ZeroDivisionError):
            await anext(connected.epochs())
        with pytest.raises(ZeroDivisionError):
            await connected.current()


async def test_a_request_waits_for_the_next_connection(network: Network):
    """If a miner's own code blocks the event loop, the server closes the connection."""
    async with new_client() as client:
        await until(lambda: network.connections)

        async def lost() -> Msg:
            network.answer = reply_with_epoch
            await network.connections[-1].close()
            raise nats.errors.ConnectionClosedError

        network.answer = lost
        assert (await client.current()).envelope == SEALED
        assert len(network.connections) == 2


async def test_a_refusal_that_lasts_ends_the_client_with_its_reason(
    network: Network, caplog: pytest.LogCaptureFixture
):
    refused = HotkeyRefusedError(Server.parse("nats://127.0.0.1:4222"), "5Hotkey", "test", 46)
    async with new_client() as client:
        network.refusals = [refused] * 1000
        await network.connections[0].close()
        left = f"{MINER.ss58_address}.*not registered on subnet 46 of network test any longer"
        with pytest.raises(NotRegisteredError, match=left):
            await anext(client.epochs())
        with pytest.raises(NotRegisteredError):
            await client.current()
    assert len([line for line in caplog.messages if "not registered on subnet 46" in line]) == 1


async def test_a_refusal_that_passes_ends_nothing(network: Network):
    refused = HotkeyRefusedError(Server.parse("nats://127.0.0.1:4222"), "5Hotkey", "test", 46)
    network.answer = reply_with_epoch
    async with new_client() as client:
        await anext(client.epochs())
        network.refusals = [refused] * 3
        await network.connections[0].close()
        assert (await client.current()).envelope == SEALED


async def test_an_old_epoch_is_refused_where_a_newer_one_is_known(network: Network):
    older = MESSAGE.model_copy(
        update={
            "epoch_id": "2026-11-22T00-00-00",
            "epoch_start": START_AT - timedelta(hours=4),
            "epoch_end": START_AT,
        }
    )

    async def answer() -> Msg:
        return message(seal(older, SIGNER))

    async with asyncio.timeout(2), new_client() as connected:
        hear = network.connections[0].hear
        assert hear is not None
        await hear(message(SEALED))
        network.answer = answer
        with pytest.raises(EnvelopeError):
            await connected.current()
        await hear(message(seal(older, SIGNER)))
        assert connected.refused_messages >= 1
        assert (await anext(connected.epochs())).epoch.envelope == SEALED


async def test_an_epoch_that_is_opened_after_its_end_is_skipped(network: Network):
    client = new_client()
    assert isinstance(client._clock, YieldingClock)
    await client._clock.sleep((MESSAGE.epoch_end - START_AT).total_seconds())
    client._sealed._offer(SEALED)
    assert client.newest is not None
    assert client.newest.envelope == SEALED
    assert client._arrivals.take() is None


async def test_outside_of_its_context_a_client_is_closed(network: Network):
    connected = new_client()
    with pytest.raises(nats.errors.ConnectionClosedError):
        await anext(connected.epochs())
    async with connected:
        waiting = asyncio.create_task(anext(connected.epochs()))  # type: ignore[arg-type]
        await asyncio.sleep(0)
    with pytest.raises(nats.errors.ConnectionClosedError):
        await waiting
    with pytest.raises(nats.errors.ConnectionClosedError):
        await connected.current()


async def test_a_server_that_never_replies_is_left_for_the_next_one(network: Network):
    """A hostile server could accept the connection and send nothing."""
    dialed: list[str] = []
    connect = network.connect

    async def noting(server: Server, *arguments: object, **options: Any) -> FakeConnection:
        dialed.append(server.url)
        return await connect(server, *arguments, **options)

    async def answer() -> Msg:
        if dialed[-1].endswith(":1"):
            raise nats.errors.TimeoutError
        return message(SEALED)

    network.answer = answer
    trust = Trust(frozenset({SIGNER_HOTKEY}), MESSAGE.network, MESSAGE.netuid)
    servers = ["nats://127.0.0.1:1", "nats://127.0.0.1:2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_module, "connect", noting)
        async with (
            asyncio.timeout(5),
            ZipcastClient(servers, MINER, trust, clock=YieldingClock()) as connected,
        ):
            assert connected.is_responsive
            assert (await anext(connected.epochs())).epoch.envelope == SEALED
            assert connected.is_responsive
    assert dialed == servers


async def test_a_client_is_not_responsive_while_its_server_provides_no_epoch(network: Network):
    async with asyncio.timeout(5), new_client() as connected:
        await until(lambda: connected.is_connected and not connected.is_responsive)
        # An epoch that came in another way does not make the server responsive, so it is still probed.
        connected.offer(SEALED, "request")
        asked = connected.unanswered_questions
        await until(lambda: connected.unanswered_questions > asked)
        assert not connected.is_responsive
        network.answer = reply_with_epoch
        await until(lambda: connected.is_responsive)
