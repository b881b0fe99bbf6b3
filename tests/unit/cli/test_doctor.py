"""Tests what `zipcast doctor` reads from a bridge, which may be hostile."""

import asyncio
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from zipcast.cli.doctor import Check, _clock

ENOUGH_BYTES = 64 * 2**20


@pytest.fixture
def endless() -> Iterator[tuple[str, "queue.Queue[int]"]]:
    """Yield the address of a bridge whose reply does not end, and a queue that gets how much it could
    send."""
    sent: queue.Queue[int] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            total = 0
            try:
                while total < ENOUGH_BYTES:
                    total += self.wfile.write(b" " * 65_536)
            except OSError:
                pass
            sent.put(total)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_the_time_is_read_from_the_head_of_a_reply_without_end(endless: tuple[str, "queue.Queue[int]"]):
    address, sent = endless
    assert isinstance(await _clock(address), str)
    assert await asyncio.to_thread(sent.get, timeout=10) < ENOUGH_BYTES


@pytest.mark.parametrize("address", ["https://127.0.0.1:99999", "https://[::1", "https://x\x00y"])
async def test_an_address_that_cannot_be_asked_is_a_skipped_check(address: str):
    found = await _clock(address)
    assert isinstance(found, Check)
    assert found.state == "skipped"
