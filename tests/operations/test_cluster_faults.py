"""Tests the three-node cluster under load: every part is killed, and upgraded one after the other (`make
soak`)."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

import zipcast
from devstack.servers import Servers
from devstack.wallets import MINERS
from tests.support.processes import wait_until
from tests.support.rehearsal import (
    EPOCH_SECONDS,
    LEADERS,
    PROCESSES,
    REPLICAS,
    Rehearsal,
    rehearsal,
    stream_info,
)
from zipcast.client.wallets import load_hotkey

pytestmark = pytest.mark.soak
NODES = ("nats", "nats-2", "nats-3")
LENGTH = timedelta(seconds=EPOCH_SECONDS)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(servers: Servers, tmp_path_factory) -> AsyncIterator[Rehearsal]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cluster")
        patch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
        async with rehearsal(folder, servers, NODES) as stage:
            yield stage


@dataclass
class Miner:
    """A miner that receives epochs and sends requests all the time. `waits` has the seconds of each request,
    `ways` the way in which each epoch came."""

    starts: list[datetime] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    ways: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    async def receive(self, client: zipcast.Zipcast) -> None:
        async for epoch in client.epochs():
            self.starts.append(epoch.start_at)
            self.ways.append(epoch.via)
            self.delays.append((epoch.received_at - epoch.start_at).total_seconds())

    async def request(self, client: zipcast.Zipcast) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            epoch = await client.current()
            self.waits.append(loop.time() - began)
            began = loop.time()
            await client.report_status(epoch, "IN_PROGRESS")
            self.waits.append(loop.time() - began)
            await asyncio.sleep(0.2)


@asynccontextmanager
async def at_work(stage: Rehearsal) -> AsyncIterator[list[Miner]]:
    """Run four miners, two of which also know the bridge. Any failure that a caller would see is raised."""
    signer = next(iter(stage.trust.signers))
    miners: list[Miner] = []
    async with asyncio.TaskGroup() as work:
        tasks = []
        for number, name in enumerate(MINERS[:4]):
            client = zipcast.connect(
                stage.nats_urls,
                wallet=load_hotkey(stage.folder / "wallets", name),
                signer=signer,
                network="finney",
                netuid=46,
                http=stage.https_url if number % 2 else None,
            )
            miners.append(Miner())
            tasks.append(work.create_task(_run(client, miners[-1])))
        yield miners
        for task in tasks:
            task.cancel()


async def _run(client: zipcast.Zipcast, miner: Miner) -> None:
    async with client, asyncio.TaskGroup() as work:
        work.create_task(miner.receive(client))
        work.create_task(miner.request(client))


async def epochs_pass(miners: list[Miner], count: int) -> None:
    """Wait until every miner has received this many more epochs."""
    wanted = [len(miner.starts) + count for miner in miners]

    def have_passed() -> bool:
        return all(len(miner.starts) >= least for miner, least in zip(miners, wanted, strict=True))

    await wait_until(have_passed, count * EPOCH_SECONDS + 60)


def judge(what: str, miners: list[Miner]) -> None:
    for miner in miners:
        expected = [miner.starts[0] + number * LENGTH for number in range(len(miner.starts))]
        assert miner.starts == expected, what
        # The first epoch was running already; none of the others came before its start.
        assert all(delay >= 0 for delay in miner.delays), what
    slowest = max(wait for miner in miners for wait in miner.waits)
    latest = max(delay for miner in miners for delay in miner.delays[1:])
    count = sum(len(miner.waits) for miner in miners)
    ways = sorted({way for miner in miners for way in miner.ways[1:]})
    epochs = f"{len(miners[0].starts)} epochs, latest {latest * 1000:.0f} ms after its start"
    requests = f"{count} requests, slowest {slowest:.1f} s"
    print(f"{what}: {epochs} ({', '.join(ways)}); {requests}")  # noqa: T201 - for the notes of a run


def kill(stage: Rehearsal, name: str) -> None:
    """Kill a part. Its supervisor starts it again, as Docker does."""
    os.kill(stage.supervisor.pids[name], signal.SIGKILL)


@pytest.mark.timeout(900)
async def test_no_epoch_or_request_is_lost_when_parts_are_killed(stage: Rehearsal) -> None:
    processes = [f"{service}-{number}" for service in PROCESSES for number in REPLICAS]
    async with at_work(stage) as miners:
        await epochs_pass(miners, 1)
        for name in (*NODES, *processes):
            kill(stage, name)
            await epochs_pass(miners, 1)
        judge("one part after another killed", miners)
        for service in PROCESSES:
            for number in REPLICAS:
                kill(stage, f"{service}-{number}")
                await asyncio.sleep(2)
            await epochs_pass(miners, 2)
        judge("both replicas killed, two seconds apart", miners)


@pytest.mark.timeout(300)
async def test_the_leader_of_the_stream_dies_just_before_a_start(stage: Rehearsal) -> None:
    async with at_work(stage) as miners:
        await epochs_pass(miners, 1)
        leader = LEADERS[(await stream_info(stage))["cluster"]["leader"]]
        next_at = miners[0].starts[-1] + LENGTH
        await asyncio.sleep((next_at - datetime.now(UTC)).total_seconds() - 0.05)
        kill(stage, leader)
        await epochs_pass(miners, 2)
        judge("the stream's leader killed 50 ms before a start", miners)


@pytest.mark.timeout(900)
async def test_a_rolling_upgrade_misses_no_boundary(stage: Rehearsal) -> None:
    async with at_work(stage) as miners:
        await epochs_pass(miners, 1)
        for service in PROCESSES:
            for number in REPLICAS:
                await stage.supervisor.take_down(f"{service}-{number}")
                await stage.supervisor.bring_up(f"{service}-{number}")
        for node in NODES:
            await stage.supervisor.take_down(node)
            await stage.supervisor.bring_up(node)
        await epochs_pass(miners, 3)
        judge("rolling upgrade", miners)
