"""Runs registered miners that flood NATS over raw sockets, in a separate process.

Run as `python -m tests.support.flooder` with a JSON plan on standard input; after SIGTERM it prints what
happened. Buffers are built beforehand and sent in large writes, so that the process needs little processor
time.
"""

import asyncio
import base64
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from zipcast.client.local_stack import Ready
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.signed_texts import connection_text

TICK_SECONDS = 0.01
RETRY_SECONDS = 0.5
TIMEOUT_SECONDS = 3


@dataclass(frozen=True)
class Plan:
    """The plan of a flood. `messages` has, for the URI of each hotkey, the message that it sends `per_second`
    times per second, in base64."""

    host: str
    port: int
    network: str
    netuid: int
    messages: dict[str, str]
    per_second: int


@dataclass
class Outcome:
    """The outcome for one hotkey. Times are in seconds since the flood began."""

    sent: int = 0
    kicked: list[float] = field(default_factory=list)
    refused: int = 0
    let_in: list[float] = field(default_factory=list)


class KickedError(Exception):
    """The server closed the connection."""


class Connection:
    """A connection with a blocking handshake and, after that, non-blocking writes of whole messages."""

    def __init__(self, plan: Plan, signer: Keypair) -> None:
        self._socket = socket.create_connection((plan.host, plan.port), timeout=TIMEOUT_SECONDS)
        try:
            self._prove(plan, signer)
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self._left = memoryview(b"")

    def _prove(self, plan: Plan, signer: Keypair) -> None:
        info = json.loads(self._read_until(b"\r\n").removeprefix(b"INFO "))
        text = connection_text(plan.network, plan.netuid, "loopback", signer.ss58_address, info["nonce"])
        options = {"verbose": False, "pedantic": False, "protocol": 1, "headers": True}
        options |= {"auth_token": signer.ss58_address, "sig": base64.b64encode(signer.sign(text)).decode()}
        self._socket.sendall(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        if b"PONG" not in self._read_until(b"\r\n"):
            raise KickedError

    def _read_until(self, end: bytes) -> bytes:
        heard = b""
        while end not in heard:
            part = self._socket.recv(65536)
            if not part:
                raise KickedError
            heard += part
        return heard.split(end)[0]

    def send(self, data: bytes) -> bool:
        """Send as much as the server accepts. Return False if earlier data still waits."""
        self._discard_input()
        fresh = not self._left
        if fresh:
            self._left = memoryview(data)
        with suppress(BlockingIOError):
            while self._left:
                self._left = self._left[self._socket.send(self._left) :]
        return fresh

    def _discard_input(self) -> None:
        with suppress(BlockingIOError):
            while True:
                heard = self._socket.recv(262144)
                if not heard:
                    raise KickedError

    def close(self) -> None:
        self._socket.close()


class Flooder:
    """Floods with one hotkey, and reconnects when the connection is closed."""

    def __init__(self, plan: Plan, name: str, began: float) -> None:
        self.outcome = Outcome()
        self._plan, self._began = plan, began
        self._signer = Keypair.create_from_uri(name)
        self._each = max(1, int(plan.per_second * TICK_SECONDS))
        self._data = base64.b64decode(plan.messages[name]) * self._each
        self._connection: Connection | None = None
        self._retry_at = 0.0

    def tick(self) -> None:
        try:
            if self._connection is None:
                self._come_back()
            elif self._connection.send(self._data):
                self.outcome.sent += self._each
        except (OSError, KickedError):
            if self._connection is None:
                self.outcome.refused += 1
            else:
                self.outcome.kicked.append(self._now())
                self._connection.close()
                self._connection = None
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def _come_back(self) -> None:
        if time.monotonic() >= self._retry_at:
            self._connection = Connection(self._plan, self._signer)
            self.outcome.let_in.append(self._now())

    def _now(self) -> float:
        return round(time.monotonic() - self._began, 2)


def run(plan: Plan) -> dict[str, Outcome]:
    """Flood until SIGTERM."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    began = next_at = time.monotonic()
    flooders = {name: Flooder(plan, name, began) for name in plan.messages}
    while not stopped:
        for flooder in flooders.values():
            flooder.tick()
        next_at = max(next_at + TICK_SECONDS, time.monotonic() - 0.2)
        time.sleep(max(0.0, next_at - time.monotonic()))
    return {name: flooder.outcome for name, flooder in flooders.items()}


@dataclass
class Flood:
    """A flood that runs in its own process. `outcomes` are known once it has ended."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)


@asynccontextmanager
async def flooding(ready: Ready, messages: dict[str, bytes], per_second: int) -> AsyncIterator[Flood]:
    """While the context is entered, each hotkey of `messages`, named by its URI, sends its message at this
    rate."""
    parts = urlsplit(ready.nats)
    encoded = {name: base64.b64encode(message).decode() for name, message in messages.items()}
    plan = Plan(str(parts.hostname), parts.port or 0, ready.network, ready.netuid, encoded, per_second)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(plan)).encode())
    process.stdin.close()
    flood = Flood()
    try:
        yield flood
    finally:
        process.terminate()
        output, _ = await process.communicate()
        flood.outcomes = {name: Outcome(**outcome) for name, outcome in json.loads(output).items()}


def main() -> None:
    outcomes = run(Plan(**json.load(sys.stdin)))
    print(json.dumps({name: asdict(outcome) for name, outcome in outcomes.items()}))  # noqa: T201


if __name__ == "__main__":
    main()
