"""Tests a server between client and nats-server: the signature that it gets gives access to nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import nats.errors
import pytest

from tests.support.people import ask, keypair, quiet
from zipcast.client.connection import InsecureServerError, Server, connect
from zipcast.client.local_stack import Ready
from zipcast.protocol.verbs import Verb


@asynccontextmanager
async def relay(ready: Ready) -> AsyncIterator[tuple[str, bytearray]]:
    """Run a server that poses as a nats-server and passes on every byte, including the real server's nonce.
    Yield its address, and what it received from the client."""
    seen = bytearray()
    parts = urlsplit(ready.nats)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: bool) -> None:
        try:
            while data := await reader.read(65536):
                if note:
                    seen.extend(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # one side closed the connection
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(pump(reader, server_writer, True), pump(server_reader, writer, False))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen


async def connect_through(ready: Ready, url: str, audience: str):
    return await connect(
        Server(url, audience),
        keypair(ready, "miner-4"),
        network=ready.network,
        netuid=ready.netuid,
        on_error=quiet,
        on_close=quiet,
    )


async def test_the_relay_relays(ready: Ready):
    """With a proof for the relay's name, the real server lets the client in. So the refusal below is due to
    the name."""
    async with relay(ready) as (url, seen):
        connection = await connect_through(ready, url, "loopback")
        answer = await ask(ready, connection, keypair(ready, "miner-4"), Verb.EPOCH_CURRENT, b"{}")
        await connection.close()
    assert b'"epochId"' in answer.data
    assert keypair(ready, "miner-4").ss58_address.encode() in seen


@pytest.mark.parametrize("audience", ["relay.example.org", "127.0.0.1", "localhost", "Loopback", "loopback "])
async def test_a_proof_that_names_the_relay_is_refused_by_the_real_server(ready: Ready, audience: str):
    async with relay(ready) as (url, seen):
        with pytest.raises(nats.errors.AuthorizationError):
            await connect_through(ready, url, audience)
    assert b'"sig"' in seen


@pytest.mark.parametrize(
    "url", ["nats://relay.example.org:4222", "nats://10.0.0.1:4222", "nats://[::2]:4222"]
)
def test_the_sdk_speaks_to_no_relay_without_tls(url: str):
    with pytest.raises(InsecureServerError):
        Server.parse(url)


def test_what_is_signed_names_the_host_that_was_verified():
    assert Server.parse("tls://nats.example.org:4222").audience == "nats.example.org"
    assert Server.parse("tls://127.0.0.1:4222").audience == "127.0.0.1"
