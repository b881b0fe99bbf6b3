"""Tests the services' NATS client against a server that sends what the client cannot read."""

import asyncio
import json

from service.nats_client import HardenedClient
from tests.support.processes import wait_until

INFO = b"INFO " + json.dumps({"server_id": "x", "max_payload": 1024, "headers": True}).encode() + b"\r\n"


async def test_a_reader_that_ended_is_a_lost_connection_that_comes_back():
    """Otherwise the client would look connected, and receive nothing, until two pings had no reply."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(INFO)
        async for line in reader:
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n" + (b"INFO {unreadable}\r\n" if connections == 1 else b""))
        writer.close()

    async def quiet(*_: object) -> None:
        """Ignore the error: the test checks that the connection comes back."""

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = HardenedClient()
        url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await client.connect(url, reconnect_time_wait=0, max_reconnect_attempts=-1, error_cb=quiet)
        await wait_until(lambda: connections == 2 and client.is_connected)
        await client.flush(5)
        await client.close()
