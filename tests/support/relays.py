"""Relays of the beacon with every behaviour that a relay may have: real HTTP servers on loopback."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from devstack.beacon_relay import stand_in_signature

Answer = Callable[[int], tuple[int, bytes]]
"""Status and body of the reply about a round."""


def honest(number: int) -> tuple[int, bytes]:
    return 200, document(number, stand_in_signature(number))


def document(number: int, signature: str) -> bytes:
    return f'{{"round":{number},"randomness":"00","signature":"{signature}"}}'.encode()


ANSWERS: dict[str, Answer] = {
    "honest": honest,
    "too early": lambda _: (425, b"{}"),
    "404": lambda _: (404, b"{}"),
    "429": lambda _: (429, b"{}"),
    "500": lambda _: (500, b"{}"),
    "redirect": lambda _: (302, b""),
    "lying: another round's signature": lambda n: (200, document(n, stand_in_signature(n + 1))),
    "lying: another round": lambda n: (200, document(n + 3, stand_in_signature(n))),
    "upper-case signature": lambda n: (200, document(n, stand_in_signature(n).upper())),
    "trailing bytes": lambda n: (200, document(n, stand_in_signature(n) + "00")),
    "truncated signature": lambda n: (200, document(n, stand_in_signature(n)[:-2])),
    "not JSON": lambda _: (200, b"<html>"),
    "endless": lambda _: (200, b" " * 100_000),
}


@contextmanager
def relay(kind: str) -> Iterator[str]:
    """Yield the address of a relay. One that is `down` refuses connections, one that is `slow` never answers
    while it runs."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if kind == "slow":
                ended.wait()
                return
            status, body = ANSWERS[kind](int(self.path.rpartition("/")[2]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    address = f"http://127.0.0.1:{server.server_port}"
    if kind == "down":
        server.server_close()
        yield address
        return
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield address
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
