"""Measures each kind of request over NATS: `python -m bench.requests`.

It runs the whole system on this machine. An ended epoch has 1,000 files. Miners and validators send each
kind of request with 1, 32, 100 and 200 of them in flight. By turns, a FastStream echo with replies of the
same size gets as many requests. The result is the ratio of both rates. In the end, miners request upload
forms, 200 at a time, while two validators read the ended epoch without pause; the aim is a 99th percentile of
200 ms.
"""

import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle
from pathlib import Path

from nats.aio.client import Client

from bench.credentials import Answers, Request, ask, echoing
from bench.figures import Figure, print_figures
from bench.http import resident_mebibytes
from devstack.object_store import admin_client
from devstack.options import StackOptions
from devstack.stack import Stack
from tests.support.people import client, keypair, raw_connection, read_sealed, signed_headers
from tests.support.processes import GENEROUS
from zipcast.client.local_stack import Ready
from zipcast.protocol import subjects
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.verbs import Verb

EPOCH_SECONDS, FILES, PER_LEVEL = 60, 1_000, 400
IN_FLIGHT = (1, 32, 100, 200)
MINERS = tuple(f"miner-{number}" for number in range(1, 9))
VALIDATORS = ("validator-1", "validator-2")
SETTINGS = GENEROUS | {
    **dict.fromkeys(("LIMIT_STATUS_PER_HOUR", "LIMIT_EPOCH_PER_HOUR", "LIMIT_POOL_PER_HOUR"), "1000000"),
    "DAILY_LIMIT_PER_VALIDATOR": "1000000",
    "TOTAL_DAILY_LIMIT": "100000000",
}
MAX_P99_MS = 200


class People:
    """Connected miners or validators, which send requests by turns."""

    def __init__(self, ready: Ready, connections: dict[str, tuple[Client, Keypair]]) -> None:
        self._ready = ready
        self._turns = cycle(connections.values())

    def requests(self, verb: Verb, body: bytes, count: int) -> list[Request]:
        """Return requests that are signed now; they are valid for ten seconds."""
        return [self._request(verb, body) for _ in range(count)]

    def _request(self, verb: Verb, body: bytes) -> Request:
        connection, signer = next(self._turns)
        subject = subjects.request(parse_hotkey(signer.ss58_address), verb)
        return Request(connection, subject, body, signed_headers(self._ready, signer, subject, body))


async def people(ready: Ready, names: Sequence[str], opened: AsyncExitStack) -> People:
    connections = {}
    for name in names:
        signer = keypair(ready, name)
        connections[name] = await raw_connection(ready, signer), signer
        opened.push_async_callback(connections[name][0].close)
    return People(ready, connections)


async def ended_epoch(stack: Stack) -> str:
    """Store FILES files in a running epoch, and return its id when its manifest is written."""
    ready = stack.ready
    store = admin_client(stack.servers.state, ready.s3.endpoint)
    epoch_id = ""

    def put(part: int) -> None:
        folders = [f"data/hotkey={keypair(ready, name).ss58_address}/epoch={epoch_id}/" for name in MINERS]
        for number in range(part, FILES, 4):
            key = f"{folders[number % len(folders)]}{number:04}.json"
            store.put_object(Bucket=ready.s3.miner_bucket, Key=key, Body=b"x" * 2_000)

    async with client(ready, VALIDATORS[0]) as validator:
        async for received in validator.epochs():
            message = received.epoch.message
            if epoch_id and message.previous_epoch_id == epoch_id:
                break
            if received.via == "push":
                epoch_id = message.epoch_id
                await asyncio.gather(*(asyncio.to_thread(put, part) for part in range(4)))
        await read_sealed(validator, epoch_id)
    return epoch_id


def bodies(ended: str, miner: str) -> dict[Verb, tuple[bool, dict[str, object]]]:
    """Return each measured verb, whether a validator sends it, and its body."""
    return {
        Verb.EPOCH_CURRENT: (False, {}),
        Verb.EPOCH_SEALED: (False, {}),
        Verb.EPOCH_GET: (False, {"epochId": ended}),
        Verb.S3_MINER_UPLOAD: (False, {}),
        Verb.MINER_UPLOADS: (False, {"epochId": ended}),
        Verb.S3_VALIDATOR_UPLOAD: (True, {"epochId": ended}),
        Verb.S3_VALIDATOR_READ: (True, {"epochId": ended, "minerHotkey": miner}),
        Verb.S3_MINER_LIST: (True, {"epochId": ended, "minerHotkey": miner}),
        Verb.VALIDATOR_CONSENSUS: (True, {"epochId": ended}),
    }


async def measure(
    ready: Ready, echo: Client, echo_pid: int, sent: Callable[[int], list[Request]]
) -> dict[int, tuple[Answers, Answers]]:
    """Return the results of one kind of request and of the echo, by the number of requests in flight."""
    first = sent(1)[0]
    reply = await first.connection.request(first.subject, first.body, timeout=30, headers=first.headers)
    found = {}
    for in_flight in IN_FLIGHT:
        count = PER_LEVEL // 4 if in_flight == 1 else PER_LEVEL
        # The echo's handler expects a JSON object.
        same = [Request(echo, "echo", json.dumps({"x": "x" * len(reply.data)}).encode(), {})] * count
        bare = await ask(same, in_flight, echo_pid)
        assert not bare.refused
        found[in_flight] = await ask(sent(count), in_flight, ready.pids["responder"]), bare
    return found


def show(verb: Verb, found: dict[int, tuple[Answers, Answers]]) -> list[Figure]:
    figures = []
    for in_flight, (own, bare) in found.items():
        ratio = own.per_second / bare.per_second
        print(
            f"{verb:22} {in_flight:4} in flight {own.per_second:7.0f} per s, {ratio:5.2f} of the echo; "
            f"p50 {own.p50_ms:6.1f} ms, p99 {own.p99_ms:6.1f} ms, CPU {own.cpu_ms:5.2f} ms; "
            f"{own.refused} refused",
            flush=True,
        )
        if in_flight == 100:
            aim = 0.85 if verb is Verb.EPOCH_CURRENT else None
            name = f"{verb}, 100 in flight, rate compared with the echo"
            figures.append(Figure(name, ratio, "times", aim, is_rate=True))
            figures.append(Figure(f"{verb}, 100 in flight, CPU of the responder", own.cpu_ms, "ms"))
    return figures


async def while_validators_read(ready: Ready, miners: People, validators: People, ended: str) -> Figure:
    """Return the 99th percentile of minting while validators read."""
    body = json.dumps({"epochId": ended}).encode()

    async def read() -> None:
        while True:
            one = validators.requests(Verb.S3_VALIDATOR_READ, body, 1)[0]
            await one.connection.request(one.subject, one.body, timeout=30, headers=one.headers)

    readers = [asyncio.create_task(read()) for _ in VALIDATORS]
    pid = ready.pids["responder"]
    answers = [await ask(miners.requests(Verb.S3_MINER_UPLOAD, b"{}", PER_LEVEL), 200, pid) for _ in range(3)]
    for reader in readers:
        reader.cancel()
    p99 = sorted(one.p99_ms for one in answers)[1]
    print(f"200 mints in flight while validators read: p99 {p99:.0f} ms")
    return Figure("200 mints in flight while validators read, 99th percentile", p99, "ms", MAX_P99_MS)


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="zipcast-bench-") as name:
        options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=Path(name) / "state", settings=SETTINGS)
        async with Stack.running(options) as stack, AsyncExitStack() as opened:
            ready = stack.ready
            ended = await ended_epoch(stack)
            miners = await people(ready, MINERS, opened)
            validators = await people(ready, VALIDATORS, opened)
            echo, echo_pid = await opened.enter_async_context(echoing(Path(name) / "echo"))
            figures = []
            for verb, (by_validator, body) in bodies(ended, keypair(ready, MINERS[0]).ss58_address).items():
                who, text = validators if by_validator else miners, json.dumps(body).encode()

                sent = partial(who.requests, verb, text)
                figures += show(verb, await measure(ready, echo, echo_pid, sent))
            figures.append(await while_validators_read(ready, miners, validators, ended))
            memory = resident_mebibytes(ready.pids["responder"]) * 1.048576
            figures.append(Figure("memory of the responder afterwards", memory, "MB"))
    print_figures(figures)


if __name__ == "__main__":
    asyncio.run(main())
