"""Compares delivery to SDK clients with delivery to bare subscribers: `python -m bench.delivery`.

It runs a nats-server, and publishes signed epochs by turns to clients of the SDK and to plain nats-py
subscribers, which do not verify anything. Like the service, it publishes to a stream that sends them on. Both
kinds have the same number of clients in the same processes. A latency is the time from publishing an epoch
until one client has it, for the SDK verified. Rates of other machines differ, so the result is the ratio of
both. The beacon's signature, which is checked once per epoch and process, is not included: its rounds repeat
here.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import median

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RePublish

from bench.figures import Figure, print_figures
from tests.support.fakes import START_AT
from tests.support.plain_nats import PlainNats
from tests.support.signed_epochs import LENGTH, TRUST, message, signed
from zipcast import Keypair, Zipcast
from zipcast.protocol import subjects
from zipcast.protocol.envelope import HEADER_EPOCH

KINDS = ("bare", "sdk")
BARE_SUBJECT, READY_SUBJECT, DONE_SUBJECT, END_SUBJECT = (
    "plain.epoch",
    "plain.ready",
    "plain.done",
    "plain.end",
)
# Each pair is a size: how many clients of each kind, and how many processes run them.
SIZES = ((1, 1), (100, 1), (1_000, 2), (2_500, 2))
# Large numbers of clients get a third of the rounds, because each round has many arrivals.
ROUNDS, WARM_ROUNDS = 60, 5
AIMS = {1: 1.3, 1_000: 2.0}
"""The largest good ratio of the medians, by the number of clients."""
PAUSE_SECONDS = 0.05
AT_ONCE = 50
TIMEOUT_SECONDS = 60.0

Arrivals = dict[str, list[float]]
"""The times at which the clients of one kind had an epoch, in seconds of the monotonic clock of the machine,
by epoch id."""


class Process:
    """The clients of one process."""

    def __init__(self, url: str, clients: int) -> None:
        self._url = url
        self._clients = clients
        self._arrivals: dict[str, Arrivals] = {kind: defaultdict(list) for kind in KINDS}
        self._whole = asyncio.Queue[str]()

    async def run(self) -> dict[str, Arrivals]:
        """Receive epochs until the bench ends, and return the arrivals."""
        async with AsyncExitStack() as opened:
            steering = await nats.connect(self._url)
            opened.push_async_callback(steering.close)
            ended = await steering.subscribe(END_SUBJECT)
            for first in range(0, self._clients, AT_ONCE):
                numbers = range(first, min(first + AT_ONCE, self._clients))
                await asyncio.gather(*(self._connect(opened, number) for number in numbers))
            reporting = asyncio.create_task(self._report(steering))
            await steering.publish(READY_SUBJECT)
            await ended.next_msg(timeout=None)
            reporting.cancel()
        return self._arrivals

    async def _connect(self, opened: AsyncExitStack, number: int) -> None:
        """Connect one client of each kind."""
        bare = await nats.connect(self._url)
        opened.push_async_callback(bare.close)
        await bare.subscribe(BARE_SUBJECT, cb=self._on_bare)
        await bare.flush()
        pair = Keypair.create_from_uri(f"//bench//{number}")
        client = await opened.enter_async_context(Zipcast([self._url], pair, TRUST))
        receiving = asyncio.create_task(self._receive(client))
        opened.callback(receiving.cancel)

    async def _on_bare(self, received: Msg) -> None:
        self._arrived("bare", (received.headers or {})[HEADER_EPOCH])

    async def _receive(self, client: Zipcast) -> None:
        async for epoch in client.epochs():
            self._arrived("sdk", epoch.id)

    def _arrived(self, kind: str, epoch_id: str) -> None:
        times = self._arrivals[kind][epoch_id]
        times.append(time.monotonic())
        if len(times) == self._clients:
            self._whole.put_nowait(epoch_id)

    async def _report(self, steering: Client) -> None:
        """Report each epoch that all clients of a kind have received."""
        while True:
            await steering.publish(DONE_SUBJECT, (await self._whole.get()).encode())


async def publish(connection: Client, rounds: int, processes: int) -> dict[str, dict[str, float]]:
    """Publish epochs to both kinds by turns, each when everyone has the one before. Return the times of
    publishing, by kind and epoch id."""
    done, jetstream = await connection.subscribe(DONE_SUBJECT), connection.jetstream()
    published: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    numbers = count((datetime.now(UTC) - START_AT) // LENGTH)  # clients refuse old epochs
    for number in range(rounds + WARM_ROUNDS):
        for kind in KINDS:
            envelope = signed(message(next(numbers))).envelope
            assert envelope is not None
            await asyncio.sleep(PAUSE_SECONDS)
            if number >= WARM_ROUNDS:
                published[kind][envelope.epoch_id] = time.monotonic()
            await jetstream.publish(f"bench.{kind}", envelope.payload, headers=envelope.headers())
            for _ in range(processes):
                await done.next_msg(timeout=TIMEOUT_SECONDS)
    return published


async def measure(server: PlainNats, clients: int, processes: int, rounds: int) -> dict[str, float]:
    """Return the latencies in milliseconds of one size."""
    connection = await server.connect()
    ready = await connection.subscribe(READY_SUBJECT)
    arguments = ("--clients", str(clients // processes), "--url", server.url)
    running = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.delivery", *arguments), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(processes)
    ]
    for _ in running:
        await ready.next_msg(timeout=TIMEOUT_SECONDS)
    published = await publish(connection, rounds if clients <= 100 else rounds // 3, processes)
    await connection.publish(END_SUBJECT)
    await connection.flush()
    outputs = [(await process.communicate())[0] for process in running]
    arrivals = [json.loads(output) for output in outputs]
    figures: dict[str, float] = {"clients": clients, "processes": processes}
    for kind in KINDS:
        figures |= _percentiles(
            kind,
            (
                (at - published_at) * 1000
                for one in arrivals
                for epoch_id, published_at in published[kind].items()
                for at in one[kind][epoch_id]
            ),
        )
    for name in ("median", "p99"):
        figures[f"{name}_ratio"] = round(figures[f"sdk_{name}_ms"] / figures[f"bare_{name}_ms"], 2)
    return figures


def _percentiles(kind: str, milliseconds: Iterable[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    p99 = ordered[len(ordered) * 99 // 100]
    return {f"{kind}_median_ms": round(median(ordered), 3), f"{kind}_p99_ms": round(p99, 3)}


async def compare(rounds: int) -> list[dict[str, float]]:
    with tempfile.TemporaryDirectory(prefix="zipcast-bench-") as folder:
        async with PlainNats.running(Path(folder)) as server:
            jetstream = (await server.connect()).jetstream()
            for kind, subject in (("bare", BARE_SUBJECT), ("sdk", subjects.EPOCH)):
                own = f"bench.{kind}"
                await jetstream.add_stream(
                    name=kind, subjects=[own], republish=RePublish(src=own, dest=subject)
                )
            return [await measure(server, clients, processes, rounds) for clients, processes in SIZES]


def show(found: list[dict[str, float]]) -> None:
    sys.stdout.write("clients median bare   SDK ms  ratio    p99 bare   SDK ms  ratio\n")
    for one in found:
        columns = (
            f"{one[f'bare_{name}_ms']:11.2f} {one[f'sdk_{name}_ms']:8.2f} {one[f'{name}_ratio']:6.2f}"
            for name in ("median", "p99")
        )
        sys.stdout.write(f"{one['clients']:7.0f} {' '.join(columns)}\n")
    figures = []
    for one in found:
        clients = f"{one['clients']:,.0f} client{'s' * (one['clients'] > 1)}"
        aim = AIMS.get(int(one["clients"]))
        figures += [
            Figure(f"{clients}, median", one["sdk_median_ms"], "ms"),
            Figure(f"{clients}, 99th percentile", one["sdk_p99_ms"], "ms"),
            Figure(f"{clients}, median of bare subscribers", one["bare_median_ms"], "ms"),
            Figure(f"{clients}, median compared with bare", one["median_ratio"], "times", aim),
        ]
    print_figures(figures)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.delivery")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="epochs for each kind of client")
    parser.add_argument("--clients", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.clients is not None:
        json.dump(asyncio.run(Process(chosen.url, chosen.clients).run()), sys.stdout)
    else:
        show(asyncio.run(compare(chosen.rounds)))


if __name__ == "__main__":
    main()
