"""Tests a flood of connections that name a real hotkey without a proof: other clients still connect."""

import asyncio
import base64
import itertools

import pytest

from tests.support.people import keypair
from tests.support.raw_nats import raw_nats
from zipcast.client.local_stack import Ready
from zipcast.protocol.hotkeys import Keypair

FLOODERS = 40
HONEST = 10


async def flood(ready: Ready, named: str, stop: asyncio.Event) -> int:
    """Connect from 127.0.0.1 as fast as the server refuses. Return the number of attempts."""
    offered = {"auth_token": named, "sig": base64.b64encode(bytes(range(64))).decode()}
    count = 0
    while not stop.is_set():
        try:
            async with raw_nats(ready, "127.0.0.1") as raw:
                assert b"PONG" not in await raw.connect_as(**offered)
        except (ConnectionError, TimeoutError, ValueError):
            continue  # the server closed the connection before it was used
        count += 1
    return count


async def get_in(ready: Ready, signer: Keypair) -> int:
    """Connect from 127.0.0.2, and try again like any client. Return the number of attempts."""
    async with asyncio.timeout(60):
        for attempt in itertools.count(1):
            async with raw_nats(ready, "127.0.0.2") as raw:
                if b"PONG" in await raw.connect_as(**raw.proof(ready, signer)):
                    return attempt
    raise AssertionError


@pytest.mark.long
async def test_real_clients_from_another_address_get_in_during_a_flood(ready: Ready):
    victim = keypair(ready, "miner-1")
    stop, attempts = asyncio.Event(), list[int]()
    async with asyncio.TaskGroup() as group:
        flooding = [group.create_task(flood(ready, victim.ss58_address, stop)) for _ in range(FLOODERS)]
        try:
            for n in range(HONEST):
                name = f"miner-{n % 5 + 1}"  # including the hotkey that the flood names
                attempts.append(await get_in(ready, keypair(ready, name)))
        finally:
            stop.set()
    assert sum(task.result() for task in flooding) > FLOODERS
    assert len(attempts) == HONEST
