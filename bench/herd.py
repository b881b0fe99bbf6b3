"""Measures many SDK clients that work in step: `python -m bench.herd [--miners N --validators N --epochs N]`.

It runs the whole system on this machine. All clients join at once, in two processes. At each start, every
miner uploads a file and reports its status; every validator lists all uploads of the ended epoch, downloads
one and reports its results. An error that a caller of the SDK would see is a failure, as is an upload that a
validator does not find. The limits per hotkey are those of production. The limits per address are raised,
because all clients share one address here.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.reconnect import write_registry
from devstack.options import StackOptions
from devstack.stack import Stack
from zipcast import Epoch, Zipcast, ZipcastError, connect
from zipcast.client import retries
from zipcast.client.local_stack import Ready
from zipcast.protocol.hotkeys import Keypair

PROCESSES = 2
EPOCH_SECONDS = 20
ADDRESS_LIMITS = {
    "LIMIT_ADDRESS_PER_MINUTE": "1000000",
    "CALLOUT_ADDRESS_BURST": "100000",
    "CALLOUT_ADDRESS_PER_SECOND": "100000",
}
FILE_BYTES = 2048
MAX_SHOWN = 20


@dataclass
class Outcome:
    """The seconds of each step, failures, and by epoch the miners that uploaded and the miners that each
    validator found."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    uploaded: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    found: defaultdict[str, list[list[str]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, other: dict[str, Any]) -> None:
        """Add what another process counted, as JSON has it."""
        self.failures += other["failures"]
        self.retries += other["retries"]
        for name in ("seconds", "uploaded", "found"):
            for key, items in other[name].items():
                getattr(self, name)[key] += items

    def missing(self) -> list[str]:
        """Return one sentence for each listing that lacks uploads."""
        return [
            f"{epoch_id}: a validator did not find {len(lacking)} uploads"
            for epoch_id, listings in self.found.items()
            for listing in listings
            if (lacking := set(self.uploaded[epoch_id]) - set(listing))
        ]

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """Measure one step of one client. Its error counts as a failure, and the client continues."""
        began = time.monotonic()
        try:
            yield
        except ZipcastError as error:
            self.failures.append(f"{name}: {type(error).__name__} {error.code}: {error}")
        else:
            self.seconds[name].append(time.monotonic() - began)


class RetryCount(logging.Handler):
    def __init__(self, into: list[str]) -> None:
        super().__init__()
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        self._into.append(record.getMessage().partition("Reason: ")[2])


def keypair(number: int) -> Keypair:
    return Keypair.create_from_uri(f"//herd//{number}")


async def miner(client: Zipcast, epochs: int, folder: Path, outcome: Outcome) -> None:
    listings = folder / f"{client.hotkey}.json"
    async for epoch in following(client, epochs):
        listings.write_text(epoch.id.ljust(FILE_BYTES))
        async with outcome.step("upload"):
            await client.upload(listings, epoch=epoch)
            outcome.uploaded[epoch.id].append(client.hotkey)
        async with outcome.step("status"):
            await client.report_status(epoch, "COMPLETED", s3_upload_complete=True)


async def validator(client: Zipcast, epochs: int, folder: Path, outcome: Outcome) -> None:
    ended: str | None = None  # the miners begin with the first epoch
    async for epoch in following(client, epochs + 1):
        if ended is not None:
            await judge(client, ended, folder, outcome)
        ended = epoch.id


async def judge(client: Zipcast, ended: str, folder: Path, outcome: Outcome) -> None:
    """List the uploads of an ended epoch, download one and report."""
    listed = []
    async with outcome.step("list"):
        listed = [upload async for upload in client.uploads(ended)]
        outcome.found[ended].append([upload.miner_hotkey for upload in listed])
    for upload in listed[:1]:
        async with outcome.step("download"):
            await client.download(upload, to=folder / client.hotkey)
    scores = {upload.miner_hotkey: 1.0 for upload in listed}
    async with outcome.step("report"):
        await client.submit_results(ended, scores=scores, listings_validated=0, duration_seconds=1.0)


async def following(client: Zipcast, number: int) -> AsyncIterator[Epoch]:
    """Yield that many epochs that start while the client is connected."""
    async for epoch in client.epochs():
        if epoch.via == "request":
            continue
        yield epoch
        number -= 1
        if number == 0:
            return


async def take_part(ready: Ready, numbers: Sequence[int], validators: int, epochs: int) -> Outcome:
    """Run the clients of one process."""
    outcome = Outcome()
    log = logging.getLogger(retries.__name__)
    log.setLevel(logging.INFO)
    log.addHandler(RetryCount(outcome.retries))
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="zipcast-herd-")))

        async def run(number: int) -> None:
            client = connect(
                ready.nats,
                wallet=keypair(number),
                signer=ready.signer,
                network=ready.network,
                netuid=ready.netuid,
                http=ready.http,
                relays=[ready.beacon],
            )
            async with outcome.step("join"):
                await opened.enter_async_context(client)
            await (validator if number < validators else miner)(client, epochs, folder, outcome)

        await asyncio.gather(*map(run, numbers))
    return outcome


async def in_process(ready: Path, part: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """Run a part of the clients in a process of its own, and return what it counted."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.herd", "--part", str(part), "--ready", str(ready)),
        *(f"--{name}={getattr(chosen, name)}" for name in ("miners", "validators", "epochs")),
        cwd=Path(__file__).parents[1],
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the clients of process {part} ended with status {process.returncode}")
    counted: dict[str, Any] = json.loads(printed)
    return counted


async def measure(miners: int, validators: int, epochs: int, epoch_seconds: int, state: Path) -> Outcome:
    """Start the system, run all clients and return what they counted."""
    chosen = argparse.Namespace(miners=miners, validators=validators, epochs=epochs)
    registry = state.with_name("registry.json")
    pairs = [keypair(number) for number in range(miners + validators)]
    write_registry(registry, pairs, lambda uid: uid < validators)
    options = StackOptions(
        epoch_seconds=epoch_seconds, registry=registry, state=state, settings=ADDRESS_LIMITS
    )
    outcome = Outcome()
    async with Stack.running(options) as stack:
        ready = stack.servers.state.ready
        for counted in await asyncio.gather(*(in_process(ready, part, chosen) for part in range(PROCESSES))):
            outcome.add(counted)
    return outcome


def show(outcome: Outcome) -> None:
    for name, seconds in outcome.seconds.items():
        ordered = sorted(seconds)
        p99 = ordered[len(ordered) * 99 // 100]
        sys.stdout.write(
            f"{name:10} {len(ordered):6} times  median {median(ordered):6.2f} s  p99 {p99:6.2f} s\n"
        )
    listings = sum(len(one) for one in outcome.found.values())
    sys.stdout.write(f"{sum(map(len, outcome.uploaded.values()))} uploads, {listings} listings of them\n")
    sys.stdout.write(f"{len(outcome.retries)} retries, {len(outcome.failures)} failures\n")
    for reason, times in Counter(outcome.retries).most_common(MAX_SHOWN):
        sys.stdout.write(f"  {times} retries: {reason}\n")
    for failure in [*outcome.missing(), *outcome.failures][:MAX_SHOWN]:
        sys.stdout.write(f"  {failure}\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.herd")
    parser.add_argument("--miners", type=int, default=150)
    parser.add_argument("--validators", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=5, help=f"of {EPOCH_SECONDS} s each")
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ready", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part is not None:
        numbers = range(chosen.part, chosen.miners + chosen.validators, PROCESSES)
        ready = Ready.read(chosen.ready)
        outcome = asyncio.run(take_part(ready, numbers, chosen.validators, chosen.epochs))
        json.dump(vars(outcome), sys.stdout)
        return 0
    with tempfile.TemporaryDirectory(prefix="zipcast-bench-") as folder:
        outcome = asyncio.run(
            measure(chosen.miners, chosen.validators, chosen.epochs, EPOCH_SECONDS, Path(folder) / "state")
        )
    show(outcome)
    return 1 if outcome.failures or outcome.missing() else 0


if __name__ == "__main__":
    sys.exit(main())
