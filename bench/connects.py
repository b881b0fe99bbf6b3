"""Measures a storm of raw connections: `python -m bench.connects [CONNECTIONS]`.

It runs the whole system on this machine, with two callouts and as many neurons as connections. All hotkeys
open a connection at the same instant over a plain socket, prove themselves and wait for the first reply. They
do so alone, and then while strangers from another address open connections with false proofs without pause.
The aim is 1,000 connections within one second.
"""

import asyncio
import base64
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from bench.figures import Figure, print_figures
from bench.reconnect import write_registry
from devstack.options import StackOptions
from devstack.replicas import with_two_callouts
from devstack.stack import Stack
from zipcast.client.local_stack import Ready
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.signed_texts import connection_text

CONNECTIONS, ROUNDS, STRANGERS = 1_000, 3, 8
STRANGERS_ADDRESS = "127.0.0.9"
HONEST_SETTINGS = {
    "CALLOUT_HOTKEY_BURST": "1000000",
    "CALLOUT_ADDRESS_BURST": "100000",
    "CALLOUT_ADDRESS_PER_SECOND": "100000",
}
"""All honest clients share one address here. The limit of false proofs is that of production."""


async def connect(ready: Ready, signer: Keypair, opened: AsyncExitStack, proof: bytes | None = None) -> bool:
    """Connect, and return whether nats-server accepted the proof. Without `proof`, prove the hotkey."""
    where = urlsplit(ready.nats)
    local = None if proof is None else (STRANGERS_ADDRESS, 0)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, local_addr=local)
    opened.callback(writer.close)
    info = json.loads((await reader.readline()).removeprefix(b"INFO "))
    if proof is None:
        text = connection_text(
            ready.network, ready.netuid, ready.audience, signer.ss58_address, info["nonce"]
        )
        proof = signer.sign(text)
    options = {"verbose": False, "pedantic": False, "protocol": 1, "headers": True}
    options |= {"auth_token": signer.ss58_address, "sig": base64.b64encode(proof).decode()}
    writer.write(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
    return (await reader.readline()).startswith((b"PONG", b"INFO"))


async def storm(ready: Ready, pairs: Sequence[Keypair]) -> float:
    """Return how many seconds all connections take together."""
    async with AsyncExitStack() as opened:
        began = time.perf_counter()
        accepted = await asyncio.gather(*(connect(ready, one, opened) for one in pairs))
        took = time.perf_counter() - began
    assert all(accepted), f"{accepted.count(False)} honest connections were refused"
    return took


@asynccontextmanager
async def strangers(ready: Ready, pairs: Sequence[Keypair]) -> AsyncIterator[list[int]]:
    """Open connections with false proofs until the end of the context. Yields a list with their number."""
    tried = [0]

    async def flood(signer: Keypair) -> None:
        while True:
            async with AsyncExitStack() as opened:
                try:
                    await connect(ready, signer, opened, b"\x01" * 64)
                except OSError:
                    await asyncio.sleep(0.01)  # nats-server has closed the connection
            tried[0] += 1

    tasks = [asyncio.create_task(flood(pair)) for pair in pairs]
    try:
        yield tried
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def main(count: int) -> None:
    pairs = [Keypair.create_from_uri(f"//bench//{number}") for number in range(count)]
    unknown = [Keypair.create_from_uri(f"//stranger//{number}") for number in range(STRANGERS)]
    with tempfile.TemporaryDirectory(prefix="zipcast-bench-") as folder:
        registry = Path(folder) / "registry.json"
        write_registry(registry, pairs)
        options = StackOptions(
            epoch_seconds=3600, registry=registry, state=Path(folder) / "state", settings=HONEST_SETTINGS
        )
        async with Stack.running(options, make_parts=with_two_callouts) as stack:
            quiet, flooded = [], []
            await storm(stack.ready, pairs)  # warm up
            for _ in range(ROUNDS):
                quiet.append(await storm(stack.ready, pairs))
                async with strangers(stack.ready, unknown) as tried:
                    await asyncio.sleep(1)
                    flooded.append(await storm(stack.ready, pairs))
    print(f"{count:,} connections: {median(quiet):.2f} s alone, {median(flooded):.2f} s beside strangers,")
    print(f"who tried {tried[0]:,} times in the last round")
    print_figures(
        [
            Figure(f"{count:,} raw connections", median(quiet), "s", count / 1_000),
            Figure(f"{count:,} raw connections beside false proofs", median(flooded), "s"),
            Figure("beside false proofs compared with alone", median(flooded) / median(quiet), "times"),
        ]
    )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else CONNECTIONS))
