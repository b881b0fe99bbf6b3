"""Measures what the idle system uses: `python -m bench.idle [SECONDS]`.

It runs the whole system on this machine with epochs of four hours and no requests. After the start it waits,
and then measures the memory and the processor time of our four processes, and how many bytes an epoch takes
in JetStream. The aims are 350 MB and 3 % of a core for all four.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import httpx

from bench.figures import Figure, print_figures
from bench.http import cpu_seconds, resident_mebibytes
from devstack.options import StackOptions
from tests.support.long_epochs import amid_an_epoch

SECONDS = 60.0
SETTLED_SECONDS = 20
PROCESSES = ("schedulers", "responder", "callout", "http_bridge")
EPOCHS_PER_YEAR = 365 * 6


async def bytes_per_epoch(monitoring: str) -> float:
    """Return the bytes of an epoch in the streams EPOCHS and SEALED together."""
    async with httpx.AsyncClient(trust_env=False) as http:
        reply = (await http.get(f"{monitoring}/jsz", params={"streams": "true"})).raise_for_status().json()
    streams = [one for account in reply["account_details"] for one in account.get("stream_detail", ())]
    sizes = [
        one["state"]["bytes"] / one["state"]["messages"]
        for one in streams
        if one["name"] in {"EPOCHS", "SEALED"} and one["state"]["messages"]
    ]
    assert sizes
    return sum(sizes)


async def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="zipcast-bench-") as folder:
        options = StackOptions(epoch_seconds=14_400, state=Path(folder) / "state")
        async with amid_an_epoch(options) as stack:
            await asyncio.sleep(SETTLED_SECONDS)
            pids = [stack.ready.pids[name] for name in PROCESSES]
            before = [cpu_seconds(pid) for pid in pids]
            await asyncio.sleep(seconds)
            percent = [
                100 * (cpu_seconds(pid) - was) / seconds for pid, was in zip(pids, before, strict=True)
            ]
            megabytes = [resident_mebibytes(pid) * 1.048576 for pid in pids]
            epoch = await bytes_per_epoch(stack.ready.monitoring)
    for name, memory, cpu in zip(PROCESSES, megabytes, percent, strict=True):
        print(f"{name:12} {memory:6.0f} MB {cpu:6.2f} % of a core")
    print_figures(
        [
            Figure("memory of our four processes", sum(megabytes), "MB", 350),
            Figure("processor time of our four processes", sum(percent), "% of a core", 3),
            Figure("an epoch in JetStream, signed and sealed", epoch / 1000, "KB"),
            Figure("JetStream for a year of epochs", epoch * EPOCHS_PER_YEAR / 1e6, "MB"),
        ]
    )


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
