"""Tests servers that are not the service's nats-server, and a stack whose responder is away."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import nats.errors
import pytest
import pytest_asyncio

from devstack.options import StackOptions
from devstack.stack import Stack
from service.nats_client import HardenedClient
from tests.support.long_epochs import amid_an_epoch
from tests.support.people import client, keypair, quiet, trust_of
from tests.support.processes import wait_until
from zipcast.client.client import ZipcastClient
from zipcast.client.connection import HotkeyRefusedError, Server, StrangeServerError
from zipcast.client.local_stack import Ready
from zipcast.client.nats_client import MAX_MESSAGE_BYTES, EncryptedClient, UnencryptedServerError
from zipcast.protocol.hotkeys import Keypair


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def victim(tmp_path_factory) -> AsyncIterator[Stack]:
    """Run a stack that tests may harm."""
    options = StackOptions(epoch_seconds=14_400, state=tmp_path_factory.mktemp("victim") / "state")
    async with amid_an_epoch(options) as stack:
        yield stack


@asynccontextmanager
async def server_saying(info: dict[str, object]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Yield its address, and the list of what each connection sent until it was closed."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        heard.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


@pytest.mark.parametrize("nonce", ["zipcast:connect:v1:", "", 7])
async def test_a_server_whose_nonce_is_none_is_left_without_a_signature(ready: Ready, nonce: object):
    signer = Keypair.create_from_uri("//Alice")
    async with server_saying({"auth_required": True, "nonce": nonce, "headers": True}) as (url, heard):
        with pytest.raises(StrangeServerError):
            await ZipcastClient([url], signer, trust_of(ready)).__aenter__()
        await wait_until(lambda: heard)
        assert heard == [b""]


@pytest.mark.parametrize(
    "field", [{"max_payload": "x"}, {"max_payload": True}, {"headers": 1}, {"client_id": "x"}]
)
async def test_a_server_whose_info_has_a_field_of_the_wrong_kind_is_left_for_the_next(
    ready: Ready, field: dict[str, object]
):
    signer = keypair(ready, "miner-1")
    info = {"auth_required": True, "nonce": "a" * 22, "headers": True, "max_payload": 1_048_576, **field}
    async with (
        server_saying(info) as (url, heard),
        ZipcastClient([url, ready.nats], signer, trust_of(ready)) as client,
    ):
        assert (await client.current()).message.epoch_id
        assert heard == [b""]


async def test_the_next_server_is_tried_at_once_where_nothing_listens(ready: Ready):
    async with server_saying({}) as (url, _):
        pass
    # Much less than the minutes for which nats-py would try again.
    async with asyncio.timeout(60):
        with pytest.raises(nats.errors.NoServersError):
            await ZipcastClient([url, url], Keypair.create_from_uri("//Alice"), trust_of(ready)).__aenter__()


async def test_nobody_signs_for_a_tls_address_that_does_not_encrypt(ready: Ready):
    """This is what a client meets if somebody on the way has removed TLS from the server's first message."""
    info = {"auth_required": True, "nonce": "c29tZW5vbmNl", "headers": True}
    signer = Keypair.create_from_uri("//Alice")
    async with server_saying(info) as (url, heard):
        encrypted = url.replace("nats://127.0.0.1", "tls://localhost")
        with pytest.raises(UnencryptedServerError):
            await ZipcastClient([encrypted], signer, trust_of(ready)).__aenter__()
        for own in (EncryptedClient(), HardenedClient()):
            with pytest.raises(UnencryptedServerError):
                await own.connect(
                    encrypted, signature_cb=lambda _: b"signed", allow_reconnect=False, connect_timeout=3
                )
            await own.close()
        await wait_until(lambda: len(heard) == 3)
        assert heard == [b"", b"", b""]


@pytest.mark.parametrize(
    "begun",
    [b"MSG zipcast.v1.epoch 1 99999999999999\r\n", b"", b"HMSG zipcast.v1.epoch 1 99999999999999 9\r\n"],
)
async def test_a_message_or_line_without_end_is_not_waited_for(begun: bytes):
    """The client would have to keep in memory all that the server sends."""
    info, endless = {"headers": True, "max_payload": 1 << 18}, b"x" * (2 * MAX_MESSAGE_BYTES)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\n" + begun + endless)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        own = EncryptedClient()
        await own.connect(
            f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", allow_reconnect=False, error_cb=quiet
        )
        await wait_until(lambda: own.is_closed)
    assert isinstance(own.last_error, nats.errors.ProtocolError)


async def test_servers_that_a_server_names_are_not_gone_to():
    """A list of thousands would stop the event loop for minutes."""
    info: dict[str, object] = {"headers": True, "max_payload": 1 << 18}
    names = [f"10.0.0.1:{port}" for port in range(1, 6000)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(info | {"connect_urls": names[:9]}).encode() + b"\r\n")
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\nINFO " + json.dumps(info | {"connect_urls": names}).encode() + b"\r\n")
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        own = EncryptedClient()
        await own.connect(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", error_cb=quiet)
        await own.flush()
        assert own.discovered_servers == []
        await own.close()


async def test_a_stranger_is_told_that_he_is_refused(ready: Ready):
    stranger = Keypair.create_from_uri("//Eve")
    with pytest.raises(nats.errors.AuthorizationError):
        await ZipcastClient([ready.nats], stranger, trust_of(ready)).__aenter__()


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_an_address_without_a_usable_port_is_refused(port: str):
    with pytest.raises(ValueError, match=r"[Pp]ort|nats://"):
        Server.parse(f"nats://127.0.0.1:{port}")


@pytest.mark.parametrize("wrong", [{"network": "test"}, {"netuid": 45}])
async def test_a_wrong_network_or_netuid_is_named_among_the_causes(ready: Ready, wrong: dict[str, Any]):
    trust = replace(trust_of(ready), **wrong)
    named = f"subnet {trust.netuid} of network {trust.network}.*another network or netuid"
    with pytest.raises(HotkeyRefusedError, match=named):
        await ZipcastClient([ready.nats], keypair(ready, "miner-1"), trust).__aenter__()


@pytest.mark.long
async def test_the_running_epoch_arrives_once_the_responder_is_back(victim: Stack):
    supervisor = victim.servers.supervisor
    await supervisor.take_down("responder")
    async with client(victim.ready, "miner-1") as connected:
        await wait_until(lambda: connected.unanswered_questions >= 2)
        await supervisor.bring_up("responder")
        async with asyncio.timeout(60):
            received = await anext(connected.epochs())
        assert received.via == "request"
        assert (await connected.current()).envelope == received.epoch.envelope


@pytest.mark.long
async def test_it_is_asked_for_again_on_a_new_connection(victim: Stack):
    supervisor = victim.servers.supervisor
    async with client(victim.ready, "miner-1") as connected:
        async with asyncio.timeout(60):
            await anext(connected.epochs())
        await supervisor.take_down("responder")
        await supervisor.take_down("nats")
        unanswered = connected.unanswered_questions
        await supervisor.bring_up("nats")
        await wait_until(lambda: connected.connections == 2)
        await wait_until(lambda: connected.unanswered_questions > unanswered)
        await supervisor.bring_up("responder")
        await wait_until(lambda: connected.connections >= 2 and connected.is_informed)


@pytest.mark.long
async def test_a_responder_that_says_it_is_ready_can_be_asked(victim: Stack):
    """When it says that it is ready, its subscriptions have reached nats-server."""
    supervisor, mark = victim.servers.supervisor, victim.servers.state.run / "responder.ready"
    async with client(victim.ready, "miner-1") as connected:
        for _ in range(4):
            await supervisor.take_down("responder")
            starting = asyncio.create_task(supervisor.bring_up("responder"))
            await wait_until(mark.exists, every=0.001)
            assert (await connected.current()).message.epoch_id
            await starting
