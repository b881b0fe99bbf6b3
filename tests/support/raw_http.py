"""Sends HTTP as raw bytes, like an attacker whom no client library restricts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from zipcast.client.local_stack import Ready

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# The wait after the last reply. A second reply would arrive within this time.
QUIET_SECONDS = 0.5


@asynccontextmanager
async def connected(ready: Ready, source: str | None = None) -> AsyncIterator[Stream]:
    parts = urlsplit(ready.http)
    local = None if source is None else (source, 0)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, local_addr=local)
    try:
        yield reader, writer
    finally:
        writer.close()


async def all_said(ready: Ready, data: bytes, *, end: bool = False) -> bytes:
    """Return everything that the bridge replies, until it closes the connection or sends nothing more. With
    `end`, tell the bridge that no more data follows."""
    heard = bytearray()
    async with connected(ready) as (reader, writer):
        try:
            writer.write(data)
            await writer.drain()
            if end:
                writer.write_eof()
            patience = 5.0  # for the first answer
            while True:
                part = await asyncio.wait_for(reader.read(65536), patience)
                if not part:
                    break
                heard += part
                patience = QUIET_SECONDS
        except (TimeoutError, ConnectionError):
            pass  # it sends nothing more, or closed the connection before it read everything
    return bytes(heard)


def statuses(heard: bytes) -> list[int]:
    """Return the status of each reply. No body of ours contains a line that looks like a status line."""
    return [int(part[2:5]) for part in heard.split(b"HTTP/1.")[1:]]


def http_request(method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of a request that is the last one of its connection. `X_Request_Id="a"` is the header
    X-Request-Id. Nothing is escaped."""
    given = {"Host": "bridge", "Connection": "close", "Content-Length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body
