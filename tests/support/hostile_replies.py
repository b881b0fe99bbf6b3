"""Serves one raw HTTP reply to every request, as a hostile server can."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_REDIRECT = "HTTP/1.1 301 Moved Permanently\r\nLocation: /x\r\nContent-Length: 0\r\n"
COOKIE_ON_REDIRECT = f"{_REDIRECT}Set-Cookie: a=\xff; Path=/\r\n\r\n".encode("latin-1")
"""httpx prepares the redirected request even if it does not follow redirects, and cannot encode it."""


@asynccontextmanager
async def replying(reply: bytes, drips: bytes = b"") -> AsyncIterator[str]:
    """Yield the address of a server that sends `reply` to every request, and then one of `drips` every 50 ms
    until the client disconnects."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            while drips:
                await writer.drain()
                await asyncio.sleep(0.05)
                writer.write(drips)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client disconnected
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
