"""Tests that clients open the sealed epoch if all our processes and nats-server are killed before its
start."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from devstack.options import StackOptions
from devstack.stack import Stack
from schedulers.epochs.start_gate import sleep_until
from tests.support.people import keypair, trust_of
from tests.support.processes import GENEROUS, wait_until
from zipcast.client.client import ZipcastClient
from zipcast.client.received_epochs import ReceivedEpoch
from zipcast.clock import SystemClock
from zipcast.protocol.calendar import EpochCalendar

log = logging.getLogger(__name__)
pytestmark = pytest.mark.long
EPOCH_SECONDS = 10
CALENDAR = EpochCalendar(EPOCH_SECONDS)
CLIENTS = 20
KILLED = ("schedulers", "responder", "callout", "http_bridge", "nats")
BEFORE = timedelta(seconds=1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def victim(tmp_path_factory) -> AsyncIterator[Stack]:
    state = tmp_path_factory.mktemp("dead-service") / "state"
    options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=state, settings=GENEROUS)
    async with Stack.running(options) as stack:
        yield stack


def sdk_client(stack: Stack, number: int) -> ZipcastClient:
    ready = stack.ready
    signer = keypair(ready, f"miner-{number % 8 + 1}")
    return ZipcastClient([ready.nats], signer, trust_of(ready), relays=[ready.beacon])


async def collect(client: ZipcastClient, into: list[ReceivedEpoch]) -> None:
    async for received in client.epochs():
        into.append(received)


async def kill(stack: Stack) -> None:
    """Kill the processes, and keep the supervisor from starting them again."""
    for name in KILLED:
        os.kill(stack.ready.pids[name], signal.SIGKILL)
    await asyncio.gather(*(stack.servers.supervisor.take_down(name) for name in KILLED))


async def bring_back(stack: Stack) -> None:
    supervisor = stack.servers.supervisor
    await supervisor.bring_up("nats")
    for name in KILLED[:-1]:
        await supervisor.bring_up(name)


async def test_clients_have_the_epoch_while_the_whole_service_is_dead(victim: Stack):
    clients = [sdk_client(victim, number) for number in range(CLIENTS)]
    received: list[list[ReceivedEpoch]] = [[] for _ in clients]
    for client in clients:
        await client.__aenter__()
    collecting = [
        asyncio.create_task(collect(client, into)) for client, into in zip(clients, received, strict=True)
    ]
    await wait_until(lambda: all(received))
    following = CALENDAR.after(CALENDAR.at(datetime.now(UTC)))
    if following.start_at - datetime.now(UTC) < 3 * BEFORE:  # the epoch may not be drawn yet
        following = CALENDAR.after(following)
    await sleep_until(SystemClock(), following.start_at - BEFORE)
    await kill(victim)
    await wait_until(lambda: all(one[-1].epoch.message.epoch_id == following.epoch_id for one in received))
    opened = [one[-1] for one in received]
    assert {one.via for one in opened} == {"seal"}
    assert all(one.received_at >= following.start_at for one in opened)
    late = sorted(one.milliseconds_after_start for one in opened)
    log.info("opened %.0f to %.0f ms after the start", late[0], late[-1])
    await bring_back(victim)
    await wait_until(lambda: all(one[-1].epoch.message.epoch_id > following.epoch_id for one in received))
    for task in collecting:
        task.cancel()
    for client, one in zip(clients, received, strict=True):
        await client.__aexit__(None, None, None)
        ids = [each.epoch.message.epoch_id for each in one]
        assert ids == sorted(set(ids))
        assert following.epoch_id in ids
        assert client.equivocations == 0
