"""Measures epochs as server-sent events: `python -m bench.streams [LISTENERS]`.

It runs the whole system on this machine, with as many neurons as listeners. Each listener holds one stream of
the bridge with its own hotkey. The result is the time from an epoch's start until each listener has the
epoch's event, and the bridge's processor time for it. Listeners do not verify anything.
"""

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import urlencode, urlsplit

from bench.figures import Figure, print_figures
from bench.http import cpu_seconds, resident_mebibytes
from bench.reconnect import write_registry
from devstack.options import StackOptions
from devstack.stack import Stack
from tests.support.people import legacy
from tests.support.processes import GENEROUS, wait_until
from zipcast.client.local_stack import Ready
from zipcast.protocol.calendar import EpochCalendar
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.signed_texts import STREAM_COMMITMENT

LISTENERS, EPOCHS, EPOCH_SECONDS = 1_000, 3, 10
AT_ONCE = 50
MAX_EVENT_BYTES = 512 * 1024


class Listener:
    """One open stream. `arrivals` has the time of each event, by epoch id."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.arrivals: dict[str, datetime] = {}
        self._reader = reader

    async def receive(self) -> None:
        while True:
            line = await self._reader.readline()
            if line.startswith(b"data: {"):
                at, rest = datetime.now(UTC), line.partition(b'"epochId":"')[2]
                self.arrivals[rest.partition(b'"')[0].decode()] = at


async def open_stream(ready: Ready, signer: Keypair, opened: AsyncExitStack) -> Listener:
    where = urlsplit(ready.http)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=MAX_EVENT_BYTES)
    opened.callback(writer.close)
    query = urlencode(legacy(signer, STREAM_COMMITMENT))
    writer.write(f"GET /api/v1/epochs/stream?{query} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return Listener(reader)


def have_all(listeners: list[Listener], epoch_id: str) -> bool:
    return all(epoch_id in one.arrivals for one in listeners)


async def measure(ready: Ready, listeners: list[Listener]) -> list[Figure]:
    """Measure the next epochs that start."""
    calendar, bridge = EpochCalendar(EPOCH_SECONDS), ready.pids["http_bridge"]
    interval, late, whole = calendar.after(calendar.at(datetime.now(UTC))), [], []
    worked = cpu_seconds(bridge)
    for _ in range(EPOCHS):
        await wait_until(partial(have_all, listeners, interval.epoch_id), every=0.1)
        delays = [
            (one.arrivals[interval.epoch_id] - interval.start_at).total_seconds() * 1000 for one in listeners
        ]
        assert min(delays) >= 0, "an epoch came before its start"
        late.append(median(delays))
        whole.append(max(delays))
        interval = calendar.after(interval)
    cpu = (cpu_seconds(bridge) - worked) * 1000 / (EPOCHS * len(listeners))
    memory = resident_mebibytes(bridge)
    count = f"{len(listeners):,} listeners"
    print(f"{count}: median {median(late):.0f} ms, last {median(whole):.0f} ms after the start")
    print(f"bridge: {cpu:.2f} ms of CPU for each event, {memory:.0f} MiB resident")
    return [
        Figure(f"{count}, median after the start", median(late), "ms"),
        Figure(f"{count}, last after the start", median(whole), "ms"),
        Figure("CPU of the bridge for each event", cpu, "ms"),
        Figure(f"memory of the bridge with {count}", memory * 1.048576, "MB"),
    ]


async def main(count: int) -> None:
    pairs = [Keypair.create_from_uri(f"//bench//{number}") for number in range(count)]
    with tempfile.TemporaryDirectory(prefix="zipcast-bench-") as folder:
        registry = Path(folder) / "registry.json"
        write_registry(registry, pairs)
        options = StackOptions(
            epoch_seconds=EPOCH_SECONDS, registry=registry, state=Path(folder) / "state", settings=GENEROUS
        )
        async with Stack.running(options) as stack, AsyncExitStack() as opened:
            listeners: list[Listener] = []
            began = time.monotonic()
            for first in range(0, count, AT_ONCE):
                some = pairs[first : first + AT_ONCE]
                listeners += await asyncio.gather(*(open_stream(stack.ready, one, opened) for one in some))
            print(f"{count:,} streams opened in {time.monotonic() - began:.1f} s")
            for one in listeners:
                opened.callback(asyncio.create_task(one.receive()).cancel)
            print_figures(await measure(stack.ready, listeners))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else LISTENERS))
