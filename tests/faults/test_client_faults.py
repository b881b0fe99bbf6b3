"""Tests an async and a sync client of the SDK side by side, while servers, network and clocks fail.

The test inflicts each fault once. For more epochs: `python -m tests.faults.test_client_faults --epochs 200`.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from devstack.options import StackOptions
from devstack.stack import Stack
from schedulers.epochs.start_gate import sleep_until
from storage.database.engine import open_engine
from tests.faults.evidence import read_record
from tests.support.cut_line import Line, line_to
from tests.support.people import keypair, trust_of
from tests.support.processes import GENEROUS, wait_until
from zipcast import ClosedError, Epoch, SyncZipcast, Zipcast
from zipcast.clock import SystemClock
from zipcast.protocol.calendar import EpochCalendar
from zipcast.protocol.envelope import verify

EPOCHS = 20
SEED = 1
EPOCH_SECONDS = 5
CALENDAR = EpochCalendar(EPOCH_SECONDS)
WRONG_CLOCK = timedelta(minutes=10)
AROUND_START_SECONDS = 1.0
QUIET_EPOCHS = 3  # at the end of a run


class SkewedClock(SystemClock):
    """The clock of a machine that shows a wrong time."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.offset


async def before_next_start(seconds: float) -> None:
    following = CALENDAR.after(CALENDAR.at(datetime.now(UTC) + timedelta(seconds=seconds)))
    await sleep_until(SystemClock(), following.start_at - timedelta(seconds=seconds))


async def epochs_pass(number: int) -> None:
    await asyncio.sleep(number * EPOCH_SECONDS)


class Clients:
    """Both clients, their way to the stack, and the epochs that each has received. The clients know two
    addresses of NATS, of which one works at a time."""

    def __init__(self, stack: Stack, nats: tuple[Line, Line], bridge: Line) -> None:
        self.stack = stack
        self.nats, self.other_nats = nats
        self.bridge = bridge
        self.clocks = {"async": SkewedClock(), "sync": SkewedClock()}
        self.received: dict[str, list[Epoch]] = {"async": [], "sync": []}
        self._reporting: list[Callable[[Epoch], Awaitable[object]]] = []

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[None]:
        async with self._client("async", "miner-1") as client:
            sync_client = SyncZipcast(self._client("sync", "miner-2"))
            await asyncio.to_thread(sync_client.__enter__)
            self._reporting = [
                lambda epoch: client.report_status(epoch, "IN_PROGRESS"),
                lambda epoch: asyncio.to_thread(sync_client.report_status, epoch, "IN_PROGRESS"),
            ]
            async with asyncio.TaskGroup() as group:
                collecting = group.create_task(self._collect(client))
                in_thread = group.create_task(asyncio.to_thread(self._collect_in_thread, sync_client))
                try:
                    yield
                finally:
                    collecting.cancel()
                    await asyncio.to_thread(sync_client.__exit__, None, None, None)
                    await asyncio.wait([collecting, in_thread])

    def _client(self, kind: str, wallet: str) -> Zipcast:
        ready = self.stack.ready
        return Zipcast(
            [self.nats.url, self.other_nats.url],
            keypair(ready, wallet),
            trust_of(ready),
            http=self.bridge.url,
            relays=[ready.beacon],
            clock=self.clocks[kind],
        )

    async def _collect(self, client: Zipcast) -> None:
        async for epoch in client.epochs():
            self.received["async"].append(epoch)

    def _collect_in_thread(self, client: SyncZipcast) -> None:
        try:
            for epoch in client.epochs():
                self.received["sync"].append(epoch)
        except ClosedError:
            return

    def count(self) -> int:
        """Return the number of epochs that both clients have received."""
        return min(len(epochs) for epochs in self.received.values())

    async def report(self) -> None:
        """Report with both clients, at the start of an epoch."""
        before = self.count()
        await wait_until(lambda: self.count() > before)
        newest = self.received["async"][-1]
        await asyncio.gather(*(report(newest) for report in self._reporting))

    async def lose_connections(self) -> None:
        await self.nats.cut()
        await self.nats.mend()


async def nats_server_restarts(clients: Clients) -> None:
    await before_next_start(0.3)
    await clients.stack.servers.supervisor.take_down("nats")
    await clients.stack.servers.supervisor.bring_up("nats")


async def callout_is_killed(clients: Clients) -> None:
    """Without the callout, nats-server refuses the clients, which lose their connections."""
    supervisor = clients.stack.servers.supervisor
    os.kill(clients.stack.ready.pids["callout"], signal.SIGKILL)
    await supervisor.take_down("callout")
    await clients.lose_connections()
    await epochs_pass(2)
    await supervisor.bring_up("callout")


async def everything_is_cut_off(clients: Clients) -> None:
    await before_next_start(AROUND_START_SECONDS)
    for line in (clients.nats, clients.bridge):
        await line.cut()
    await asyncio.sleep(2 * AROUND_START_SECONDS)
    for line in (clients.nats, clients.bridge):
        await line.mend()


async def nothing_passes(clients: Clients) -> None:
    """Connections stay open, but no byte arrives."""
    await before_next_start(AROUND_START_SECONDS)
    for line in (clients.nats, clients.bridge):
        line.hold()
    await asyncio.sleep(2 * AROUND_START_SECONDS)
    for line in (clients.nats, clients.bridge):
        line.release()


async def the_address_changes(clients: Clients) -> None:
    await clients.other_nats.mend()
    await clients.nats.cut()
    clients.nats, clients.other_nats = clients.other_nats, clients.nats


async def the_clocks_are_wrong(clients: Clients) -> None:
    """One clock is fast and the other slow. The clients connect again while the clocks are wrong."""
    clocks = list(clients.clocks.values())
    clocks[0].offset, clocks[1].offset = WRONG_CLOCK, -WRONG_CLOCK
    await epochs_pass(1)
    await clients.lose_connections()
    await epochs_pass(1)
    clocks[0].offset, clocks[1].offset = -WRONG_CLOCK, WRONG_CLOCK
    await epochs_pass(1)
    for clock in clocks:
        clock.offset = timedelta(0)


async def only_http_is_open(clients: Clients) -> None:
    await clients.nats.cut()
    await epochs_pass(2)
    await clients.report()
    await clients.nats.mend()


Fault = Callable[[Clients], Awaitable[None]]
FAULTS: tuple[Fault, ...] = (
    nats_server_restarts,
    callout_is_killed,
    everything_is_cut_off,
    nothing_passes,
    the_address_changes,
    the_clocks_are_wrong,
    only_http_is_open,
)


def say(line: str) -> None:
    """Print at once, also to a file."""
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stdout.flush()


async def run(state: Path, epochs: int, seed: int) -> list[str]:
    """Inflict every fault, and again in another order until both clients have received `epochs`. Return what
    is wrong."""
    chance = Random(seed)  # noqa: S311 - chooses faults
    options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=state, settings=GENEROUS)
    async with AsyncExitStack() as opened:
        stack = await opened.enter_async_context(Stack.running(options))
        first = await opened.enter_async_context(line_to(stack.ready.nats))
        second = await opened.enter_async_context(line_to(stack.ready.nats))
        bridge = await opened.enter_async_context(line_to(stack.ready.http))
        await second.cut()
        clients = Clients(stack, (first, second), bridge)
        async with clients.receiving():
            await wait_until(clients.count)
            await _inflict(clients, epochs, chance)
            last = CALENDAR.after(CALENDAR.at(datetime.now(UTC))).epoch_id
            await wait_until(lambda: all(one[-1].id >= last for one in clients.received.values()))
            await wait_until(lambda: clients.count() >= epochs)
        return await _broken(clients)


async def _inflict(clients: Clients, epochs: int, chance: Random) -> None:
    inflicted = 0
    while inflicted < len(FAULTS) or clients.count() < epochs - QUIET_EPOCHS:
        if inflicted % len(FAULTS) == 0:
            order = chance.sample(FAULTS, len(FAULTS))
        fault = order[inflicted % len(FAULTS)]
        await asyncio.sleep(chance.uniform(0, EPOCH_SECONDS / 2))
        say(f"after {clients.count()} epochs: {fault.__name__.replace('_', ' ')}")
        await fault(clients)
        inflicted += 1
    say(f"{inflicted} faults inflicted")


async def _broken(clients: Clients) -> list[str]:
    """Compare what each client received with the calendar, with the database and with the trusted signer."""
    database = open_engine(clients.stack.ready.postgres, application_name="client-faults")
    try:
        rows = {row.epoch_id: row.in_force for row in await read_record(database)}
    finally:
        await database.dispose()
    trust = trust_of(clients.stack.ready)
    found: list[str] = []
    for kind, epochs in clients.received.items():
        ways = dict(Counter(epoch.via for epoch in epochs))
        say(f"{kind}: {len(epochs)} epochs from {epochs[0].id} to {epochs[-1].id}, received by {ways}")
        for earlier, later in pairwise(epochs):
            if later.start_at != earlier.end_at or later.previous_id != earlier.id:
                found.append(f"{kind}: {later.id} ({later.via}) follows {earlier.id} ({earlier.via})")
        for epoch in epochs:
            stored = rows[epoch.id]
            verify(epoch.verified.envelope, trust)
            if stored is None or stored.payload != epoch.payload:
                found.append(f"{kind}: {epoch.id} is not the epoch of the database")
    return found


@pytest.mark.long
async def test_both_clients_receive_every_epoch_once_and_in_order(tmp_path: Path):
    assert await run(tmp_path / "state", EPOCHS, SEED) == []


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.test_client_faults")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of {EPOCH_SECONDS} s each")
    parser.add_argument("--seed", type=int, default=SEED, help="determines order and times of the faults")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zipcast-faults-") as folder:
        broken = asyncio.run(run(Path(folder) / "state", chosen.epochs, chosen.seed))
    for line in broken:
        say(f"BROKEN {line}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
