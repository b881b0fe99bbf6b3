"""Measures how late epochs are: `python -m bench.starts [SECONDS]`.

It runs the whole system on this machine, with epochs of five seconds. It prints how long after its start each
epoch was in the stream, by nats-server's clock, and for comparison the time of a single publication, which is
written to disk.
"""

import asyncio
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from bench.figures import Figure, print_figures
from devstack.options import StackOptions
from devstack.stack import Stack
from tests.support.plain_nats import PlainNats

SECONDS = 60.0
EPOCH_SECONDS = 5


async def publications(folder: Path, seconds: float) -> list[float]:
    """Return the milliseconds of each publication of 10 KB, at ten per second."""
    took = []
    async with PlainNats.running(folder) as server:
        jetstream = (await server.connect()).jetstream()
        await jetstream.add_stream(name="bench", subjects=["bench"])
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.perf_counter()
            await jetstream.publish("bench", b"x" * 10_000)
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.1)
    return took


def show(name: str, milliseconds: list[float]) -> list[Figure]:
    middle, p90 = median(milliseconds), quantiles(milliseconds, n=10)[-1]
    print(f"{name:24} {len(milliseconds):5} times  median {middle:6.1f} ms  p90 {p90:6.1f} ms")
    return [Figure(f"{name}, median", middle, "ms"), Figure(f"{name}, 90th percentile", p90, "ms")]


async def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="zipcast-bench-") as name:
        options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=Path(name) / "state")
        async with Stack.running(options):
            published = await publications(Path(name) / "plain", seconds)
        log = (Path(name) / "state" / "logs" / "schedulers.log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if re.search(r'"epoch_published"', line)]
    # Leave out the first epoch, which was late because the system was starting.
    late = show("start to stream", [line["milliseconds_after_start"] for line in lines[1:]])
    print_figures(late + show("one publication alone", published))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
