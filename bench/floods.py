"""Measures how long honest miners wait during a flood: `python -m bench.floods [KIND]`.

It runs the whole system on this machine. Seven miners send requests in turn over NATS and HTTP: before the
flood, from five seconds after its start, and after it. It prints the 50th and 99th percentiles without and
during the flood, and their ratio. The aim: during a flood of 20,000 messages per second, the 99th percentile
is below 3 times that without a flood.
"""

import asyncio
import gc
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Figure, print_figures
from tests.support.floods import FLOODS, attacked_stack, honest_miners, watch_flood

# Twelve rounds make 600 requests in each state, so that the 99th percentile does not depend on a single
# request.
ROUNDS = 12
MAX_RATIO = 3


def percentile(seconds: Sequence[float], share: int) -> float:
    return sorted(seconds)[len(seconds) * share // 100]


def report(kind: str, way: str, quiet: Sequence[float], flooded: Sequence[float]) -> Figure:
    """Print the percentiles, and return the ratio of the 99th percentiles."""
    for share in (50, 99):
        calm, loud = percentile(quiet, share), percentile(flooded, share)
        ratio = loud / calm
        print(
            f"  {way} p{share}: quiet {calm * 1000:.1f} ms, flooded {loud * 1000:.1f} ms, ratio {ratio:.2f}"
        )
    return Figure(f"{kind}, {way}, 99th percentile compared with no flood", ratio, "times", MAX_RATIO)


async def main(kinds: Sequence[str]) -> None:
    figures = []
    with tempfile.TemporaryDirectory(prefix="zipcast-bench-") as folder:
        async with attacked_stack(Path(folder)) as stack, honest_miners(stack.ready) as honest:
            gc.collect()
            gc.freeze()
            for kind in kinds:
                seen = await watch_flood(stack.ready, honest, kind, ROUNDS)
                failures = (seen.quiet + seen.at_once + seen.later).failures
                kicked = sorted(outcome.kicked[0] for outcome in seen.outcomes.values())
                print(f"{kind}: {len(failures)} failures; the last flooder kicked after {kicked[-1]} s")
                print("".join(f"  {one}\n" for one in failures[:3]), end="")
                figures += [
                    report(kind, "NATS", seen.quiet.nats, seen.later.nats),
                    report(kind, "HTTP", seen.quiet.http, seen.later.http),
                    Figure(f"{kind}, requests that failed", len(failures), "requests", 0),
                ]
    print_figures(figures)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or list(FLOODS)))
