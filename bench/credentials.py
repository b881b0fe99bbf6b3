"""Measures the cost of credentials: `python -m bench.credentials [SECONDS]`.

It runs the whole system on this machine, with 256 miners that request upload forms over NATS. First all of
them send a request at the same instant; then 1, 32 and 100 requests are in flight. In between, it measures
the unavoidable parts of issuing a credential: a FastStream echo of the same payload, one sr25519
verification, one signature of form and list URL, and one asyncpg statement that writes as many rows as there
are requests in flight. The result is the responder's processor time per request compared with the sum of
these parts, since a busy machine changes both. The aim is at most 1 ms if several requests are in flight, and
replies within 0.5 s to 256 requests at the same instant.

It takes about SECONDS.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from pathlib import Path
from statistics import median

import asyncpg
from nats.aio.client import Client
from nats.errors import Error as NatsError
from pydantic import SecretStr

from bench.figures import Figure, print_figures
from bench.http import cpu_seconds, resident_mebibytes
from broker_service.responder.batches import LOCK_TIMEOUT
from devstack.options import StackOptions
from devstack.stack import Stack
from storage.database import issuances
from storage.database.engine import open_pool
from storage.database.issuances import NewIssuance, RequestId
from storage.objects import credential_policies
from storage.objects.store import ObjectStore, ObjectStoreConfig
from tests.support.people import raw_connection, signed_headers
from tests.support.plain_nats import PlainNats
from tests.support.processes import GENEROUS
from zipcast.client.local_stack import Ready
from zipcast.protocol import subjects
from zipcast.protocol.hotkeys import Keypair, parse_hotkey, signature_is_valid
from zipcast.protocol.messages.base import HEADER_ERROR
from zipcast.protocol.subjects import Verb

SECONDS = 90.0
MINERS, IN_FLIGHT = 256, (1, 32, 100)
EPOCH_SECONDS = 3600
MAX_CPU_MS = 1.0
REQUESTS = {1: 200, 32: 600, 100: 600}
# The responder handles at most this many requests of a verb at once, so a statement writes at most this many
# rows.
MAX_ROWS = 32
SETTINGS = GENEROUS | {"TOTAL_DAILY_LIMIT": "100000000"}
ECHO = """
import asyncio, sys
from faststream.nats import NatsBroker
async def main() -> None:
    broker = NatsBroker(sys.argv[1], logger=None)
    @broker.subscriber("echo", max_workers=32)
    async def echo(body: dict) -> dict:
        return body
    await broker.start()
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Request:
    connection: Client
    subject: str
    body: bytes
    headers: dict[str, str]


@dataclass
class Answers:
    """The results of some requests. `cpu_ms` is the server's processor time per request."""

    per_second: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    refused: int


@dataclass
class Level:
    """The measurements of all rounds with one number of requests in flight."""

    minted: list[Answers] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        parts = {name: median(took) for name, took in self.parts.items()}
        of = {name: median(getattr(one, name) for one in self.minted) for name in Answers.__annotations__}
        total = sum(parts.values())
        return {**of, **parts, "sum": total, "ratio": of["cpu_ms"] / total}


async def ask(requests: Sequence[Request], in_flight: int, pid: int) -> Answers:
    """Send all requests, with `in_flight` of them at a time."""
    waiting, took, refused = iter(requests), [], 0

    async def work() -> None:
        nonlocal refused
        for one in waiting:
            began = time.perf_counter()
            try:
                reply = await one.connection.request(one.subject, one.body, timeout=30, headers=one.headers)
                refused += HEADER_ERROR in (reply.headers or {})
            except (NatsError, TimeoutError):
                refused += 1
            took.append(time.perf_counter() - began)

    worked, began = cpu_seconds(pid), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    seconds, worked = time.perf_counter() - began, cpu_seconds(pid) - worked
    took.sort()
    p50, p99 = (took[len(took) * p // 100] * 1000 for p in (50, 99))
    return Answers(len(took) / seconds, worked * 1000 / len(took), p50, p99, refused)


@dataclass
class Miners:
    """256 connected miners, which send requests in turn."""

    ready: Ready
    signers: Sequence[Keypair]
    connections: Sequence[Client]
    _turns: Iterator[int] = field(default_factory=lambda: cycle(range(MINERS)))

    def requests(self, amount: int) -> list[Request]:
        """Return requests that are signed now; they are valid for ten seconds."""
        return [self._request(next(self._turns)) for _ in range(amount)]

    def _request(self, number: int) -> Request:
        signer = self.signers[number]
        subject = subjects.request(parse_hotkey(signer.ss58_address), Verb.S3_MINER_UPLOAD)
        return Request(
            self.connections[number], subject, b"{}", signed_headers(self.ready, signer, subject, b"{}")
        )


class Parts:
    """The unavoidable parts of issuing credentials, measured separately, in milliseconds of processor time
    per request."""

    def __init__(self, ready: Ready, miners: Miners, pool: asyncpg.Pool, echo: Client, echo_pid: int) -> None:
        self._pool, self._echo, self._echo_pid = pool, echo, echo_pid
        config = ObjectStoreConfig(ready.s3.endpoint, "us-east-1", "key", SecretStr("secret"), None)
        self._store = ObjectStore(config)
        self._hotkey = parse_hotkey(miners.signers[0].ss58_address)
        self._scope = credential_policies.miner_scope(
            ready.s3.miner_bucket, self._hotkey, "2026-11-22T04-00-00"
        )
        text = b"x" * 300
        self._signed = text, miners.signers[0].sign(text)
        self._keys = count()

    async def measure(self, in_flight: int, payload: bytes) -> dict[str, float]:
        requests = [Request(self._echo, "echo", payload, {})] * REQUESTS[in_flight]
        return {
            "echo": (await ask(requests, in_flight, self._echo_pid)).cpu_ms,
            "verify": _milliseconds(self._verify, 100),
            "presign": _milliseconds(self._presign, 100),
            "statement": await self._statement(min(in_flight, MAX_ROWS)),
        }

    def _verify(self) -> None:
        assert signature_is_valid(self._hotkey, *self._signed)

    def _presign(self) -> None:
        now = datetime.now(UTC)
        self._store.post_form(self._scope, {}, now, 3600)
        self._store.list_url(self._scope, now, 3600)

    async def _statement(self, rows: int) -> float:
        turns = 20
        batches = [[self._row() for _ in range(rows)] for _ in range(turns)]
        async with self._pool.acquire() as connection:
            worked = time.process_time()
            for batch in batches:
                assert len(await issuances.write(connection, batch, LOCK_TIMEOUT)) == rows
            return (time.process_time() - worked) * 1000 / (rows * turns)

    def _row(self) -> NewIssuance:
        return NewIssuance(
            request=RequestId(
                datetime.now(UTC).date(), self._hotkey, f"bench:{time.time_ns()}:{next(self._keys)}"
            ),
            body_sha256="0" * 64,
            role="miner",
            kind=Verb.S3_MINER_UPLOAD,
            bucket=self._scope.bucket,
            prefix=self._scope.prefix,
            epoch_id="2026-11-22T04-00-00",
            request_id="bench",
            source="nats",
            ends_at=None,
            lifetime=timedelta(hours=1),
        )


def _milliseconds(call: Callable[[], None], times: int) -> float:
    worked = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - worked) * 1000 / times


def write_registry(path: Path) -> list[Keypair]:
    signers = [Keypair.create_from_seed(number.to_bytes(32)) for number in range(1, MINERS + 1)]
    neurons = [
        {
            "uid": uid,
            "hotkey": signer.ss58_address,
            "coldkey": signer.ss58_address,
            "validator_permit": False,
            "alpha_stake": 10,
        }
        for uid, signer in enumerate(signers)
    ]
    path.write_text(json.dumps(neurons))
    return signers


@asynccontextmanager
async def echoing(folder: Path) -> AsyncIterator[tuple[Client, int]]:
    """Yield a connection to a nats-server with a FastStream echo, and the process id of the echo."""
    async with PlainNats.running(folder) as server:
        command = (sys.executable, "-c", ECHO, server.url)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            await process.stdout.readline()
            yield await server.connect(), process.pid
        finally:
            process.kill()
            await process.wait()


async def measure(ready: Ready, miners: Miners, parts: Parts, seconds: float) -> dict[str, object]:
    pid = ready.pids["responder"]
    until = time.monotonic() + seconds
    levels = {in_flight: Level() for in_flight in IN_FLIGHT}
    bursts: list[float] = []
    one = miners.requests(1)[0]
    payload = (await one.connection.request(one.subject, one.body, headers=one.headers)).data
    await ask(miners.requests(MINERS), 32, pid)  # warm up each connection and hotkey
    memory = resident_mebibytes(pid)
    while time.monotonic() < until or len(bursts) < 3:
        requests, began = miners.requests(MINERS), time.perf_counter()
        answers = await ask(requests, MINERS, pid)
        assert not answers.refused
        bursts.append(time.perf_counter() - began)
        for in_flight, level in levels.items():
            level.minted.append(await ask(miners.requests(REQUESTS[in_flight]), in_flight, pid))
            for name, took in (await parts.measure(in_flight, payload)).items():
                level.parts.setdefault(name, []).append(took)
    return {
        "rounds": len(bursts),
        "burst_seconds": median(bursts),
        "responder_mebibytes": [memory, resident_mebibytes(pid)],
        "in_flight": {in_flight: level.figures() for in_flight, level in levels.items()},
    }


def show(found: dict[str, object]) -> None:
    memory = found["responder_mebibytes"]
    print(f"{MINERS} at the same instant: all answered within {found['burst_seconds']:.3f} s")
    print(f"responder: {memory[0]:.1f} MiB resident when warm, {memory[1]:.1f} at the end")
    for number, (in_flight, figures) in enumerate(found["in_flight"].items()):
        if not number:
            print(f"{'in flight':>10}" + "".join(f"{name:>11}" for name in figures))
        print(f"{in_flight:>10}" + "".join(f"{value:11.3f}" for value in figures.values()))
    figures = [Figure(f"{MINERS} at the same instant", found["burst_seconds"], "s", 0.5)]
    for in_flight, level in found["in_flight"].items():
        aim = MAX_CPU_MS if in_flight > 1 else None  # one request alone shares its statement with no other
        figures += [
            Figure(f"{in_flight} in flight, mints per second", level["per_second"], "per s"),
            Figure(f"{in_flight} in flight, CPU of the responder per mint", level["cpu_ms"], "ms", aim),
            Figure(f"{in_flight} in flight, CPU compared with its parts", level["ratio"], "times"),
        ]
    print_figures(figures)


async def main(seconds: float) -> None:
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="zipcast-bench-")))
        signers = write_registry(folder / "registry.json")
        options = StackOptions(
            epoch_seconds=EPOCH_SECONDS,
            state=folder / "state",
            registry=folder / "registry.json",
            settings=SETTINGS,
        )
        stack = await opened.enter_async_context(Stack.running(options))
        echo, echo_pid = await opened.enter_async_context(echoing(folder / "echo"))
        pool = await open_pool(stack.ready.postgres, application_name="bench", size=1)
        opened.push_async_callback(pool.close)
        connections = []
        for signer in signers:
            connections.append(await raw_connection(stack.ready, signer))
            opened.push_async_callback(connections[-1].close)
        miners = Miners(stack.ready, signers, connections)
        show(await measure(stack.ready, miners, Parts(stack.ready, miners, pool, echo, echo_pid), seconds))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
