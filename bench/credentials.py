"""What credentials cost: `python -m bench.credentials [REQUESTS] [AT_ONCE]`.

The whole system on this machine. Miners ask for forms and validators for forms with sessions, over NATS, so
many at once; every request is signed anew, claimed, minted and recorded. Printed: answers per second and
their latencies for each kind, refusals (there must be none), and of the responder its resident memory and
open files at the beginning, after a tenth, and at the end: flat means that the last two are equal but for
noise.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench.http import resident_mebibytes
from devstack.options import StackOptions
from devstack.stack import Stack
from tests.integration.people import client
from tests.integration.processes import GENEROUS
from zipcast.client import ZipcastClient
from zipcast.errors import ServiceError
from zipcast.ready import Ready

REQUESTS, AT_ONCE = 5_000, 200
EPOCH_SECONDS = 3600
MINERS, VALIDATORS = 8, 2
SETTINGS = GENEROUS | {"TOTAL_DAILY_LIMIT": "100000000", "DAILY_LIMIT_PER_VALIDATOR": "100000000"}


@dataclass
class Tally:
    took: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


async def ask(asker: ZipcastClient, epoch_id: str, kind: str, tally: Tally) -> None:
    began = time.perf_counter()
    try:
        if kind == "form":
            await asker.miner_upload(epoch_id)
        else:
            await asker.validator_upload(epoch_id)
    except (ServiceError, TimeoutError) as error:
        tally.refused[getattr(error, "code", type(error).__name__)] += 1
    else:
        tally.took.append(time.perf_counter() - began)


async def rounds(ready: Ready, requests: int, at_once: int) -> dict[str, Tally]:
    tallies = {"form": Tally(), "session": Tally()}
    names = [f"miner-{n}" for n in range(1, MINERS + 1)] + [
        f"validator-{n}" for n in range(1, VALIDATORS + 1)
    ]
    askers = [client(ready, name) for name in names]
    for asker in askers:
        await asker.__aenter__()
    epoch_id = (await askers[0].current()).message.epoch_id
    waiting = iter(range(requests))

    async def work(asker: ZipcastClient, kind: str) -> None:
        for number in waiting:
            await ask(asker, epoch_id, kind, tallies[kind])
            if number == requests // 10:
                show_memory(ready, "after a tenth")

    kinds = ["form" if name.startswith("miner") else "session" for name in names]
    workers = (work(askers[n % len(askers)], kinds[n % len(kinds)]) for n in range(at_once))
    await asyncio.gather(*workers)
    for asker in askers:
        await asker.__aexit__(None, None, None)
    return tallies


def show_memory(ready: Ready, when: str) -> None:
    pid = ready.pids["responder"]
    files = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - of a process, not a folder of files
    print(f"responder {when}: {resident_mebibytes(pid):.1f} MiB resident, {files} open files", flush=True)


async def main(requests: int, at_once: int) -> None:
    with tempfile.TemporaryDirectory(prefix="zipcast-bench-") as folder:
        options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=Path(folder) / "state", settings=SETTINGS)
        async with Stack.running(options) as stack:
            show_memory(stack.ready, "at the beginning")
            began = time.perf_counter()
            tallies = await rounds(stack.ready, requests, at_once)
            seconds = time.perf_counter() - began
            show_memory(stack.ready, "at the end")
    for kind, tally in tallies.items():
        took = sorted(tally.took)
        shown = (
            "  ".join(f"p{p} {took[len(took) * p // 100] * 1000:.0f} ms" for p in (50, 95, 99))
            if took
            else ""
        )
        print(
            f"{kind:8} {len(took):7} answered  {len(took) / seconds:7.0f}/s  {shown}"
            f"  refused: {dict(tally.refused)}"
        )


if __name__ == "__main__":
    stated = [int(text) for text in sys.argv[1:3]]
    asyncio.run(main(*[*stated, *(REQUESTS, AT_ONCE)[len(stated) :]]))
