"""Sends NATS messages as raw bytes, like an attacker whom no client library restricts."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from zipcast.client.local_stack import Ready
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.signed_texts import connection_text

TIMEOUT_SECONDS = 5


@dataclass(slots=True)
class RawNats:
    """One connection. `info` is the server's first message, which contains its nonce."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    info: dict[str, object]

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def connect_as(self, **offered: object) -> bytes:
        """Send CONNECT with these options. Return everything up to the reply to a PING, or up to the end."""
        options = {"verbose": False, "pedantic": False, "protocol": 1, "headers": True, **offered}
        return await self.said(b"CONNECT " + json.dumps(options).encode() + b"\r\n")

    async def said(self, data: bytes) -> bytes:
        """Send `data`, and return what the server sends until it replies to our PING or closes the
        connection."""
        heard = bytearray()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            try:
                await self.send(data + b"PING\r\n")
                while b"PONG\r\n" not in heard and (part := await self.reader.read(65536)):
                    heard += part
            except ConnectionError:
                pass  # it closed the connection before it read everything
        return bytes(heard)

    def proof(self, ready: Ready, signer: Keypair, audience: str = "loopback") -> dict[str, str]:
        """Return the token and the signature of this hotkey for the connection's nonce."""
        text = connection_text(
            ready.network, ready.netuid, audience, signer.ss58_address, str(self.info["nonce"])
        )
        return {"auth_token": signer.ss58_address, "sig": base64.b64encode(signer.sign(text)).decode()}


@asynccontextmanager
async def raw_nats(ready: Ready, source: str | None = None) -> AsyncIterator[RawNats]:
    """Open a connection without a proof. `source` is the loopback address from which to connect."""
    parts = urlsplit(ready.nats)
    local = None if source is None else (source, 0)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, local_addr=local)
    try:
        line = await asyncio.wait_for(reader.readline(), TIMEOUT_SECONDS)
        yield RawNats(reader, writer, json.loads(line.removeprefix(b"INFO ")))
    finally:
        writer.close()


@asynccontextmanager
async def proven(ready: Ready, signer: Keypair) -> AsyncIterator[RawNats]:
    """Open a connection, and prove a registered hotkey."""
    async with raw_nats(ready) as raw:
        answer = await raw.connect_as(**raw.proof(ready, signer))
        assert b"PONG\r\n" in answer, answer
        yield raw


def publication(
    subject: str, body: bytes, *, reply: bytes = b"", headers: Mapping[str, str] | bytes = b""
) -> bytes:
    """Return an HPUB, or, without headers, a PUB. Bytes are sent unchanged."""
    if isinstance(headers, Mapping):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        headers = b"NATS/1.0\r\n" + lines.encode("utf-8", "surrogateescape") + b"\r\n"
    target = subject.encode() + (b" " + reply if reply else b"")
    if not headers:
        return b"PUB " + target + b" %d\r\n" % len(body) + body + b"\r\n"
    size = b" %d %d\r\n" % (len(headers), len(headers) + len(body))
    return b"HPUB " + target + size + headers + body + b"\r\n"
