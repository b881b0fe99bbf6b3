"""A stack whose scheduler reads a chain, and what becomes of everyone when the chain is gone."""

import asyncio
import json
from dataclasses import replace

import nats.errors
import pytest

from devstack.options import StackOptions
from devstack.part import Part
from devstack.services import Services
from devstack.stack import Stack
from tests.faults.access import (
    PROCESSES,
    current_on_http,
    current_on_nats,
    minted_on_http,
    minted_on_nats,
    restart,
)
from tests.support.chain.metadata import ChainNeuron
from tests.support.chain.sdk import sdk_environment
from tests.support.chain.stand_in import Mood, StandInChain
from tests.support.people import keypair, raw_connection
from tests.support.processes import wait_until

pytestmark = pytest.mark.long
RAO_PER_ALPHA = 10**9


def reading(chain: StandInChain, services: Services) -> tuple[Part, ...]:
    """The stack's parts, with the wallets registered on that chain and the scheduler reading it."""
    chain.neurons = tuple(
        ChainNeuron(
            entry["hotkey"], entry["coldkey"], entry["validator_permit"], entry["alpha_stake"] * RAO_PER_ALPHA
        )
        for entry in json.loads(services.registry.read_text())
    )
    schedulers, *others = services.parts()
    kept = {k: v for k, v in schedulers.environment.items() if k != "SCHEDULERS_REGISTRY_FILE"}
    chain_settings = {
        "BT_CHAIN_ENDPOINTS": chain.endpoint,
        "REGISTRY_READ_SECONDS": "1",
        "REGISTRY_CONFIRM_SECONDS": "0.5",
        "REGISTRY_DEADLINE_SECONDS": "5",
    }
    caches = sdk_environment(services.servers.state.root)
    return (replace(schedulers, environment=kept | chain_settings | caches), *others)


async def everyone_is_served(stack: Stack) -> bool:
    """Connecting, assignments and minting, on both doors."""
    await current_on_nats(stack.ready)
    assert (await current_on_http(stack.ready)).status_code == 200
    on_http = await minted_on_http(stack.ready)
    refusals = {code for code in (await minted_on_nats(stack.ready)).values() if code is not None}
    return not refusals and all(answer.status_code == 200 for answer in on_http.values())


async def served_in_the_end(stack: Stack) -> None:
    async with asyncio.timeout(60):
        while not await everyone_is_served(stack):
            continue  # each try takes about half a second


async def leaves(chain: StandInChain, stack: Stack, name: str) -> None:
    """That wallet is deregistered, and refused once the scheduler has read it."""
    signer = keypair(stack.ready, name)
    chain.neurons = tuple(n for n in chain.neurons if n.hotkey != signer.ss58_address)
    async with asyncio.timeout(60):
        while True:
            try:
                connection = await raw_connection(stack.ready, signer)
            except nats.errors.AuthorizationError:
                return
            await connection.close()
            await asyncio.sleep(0.1)


async def test_while_the_chain_is_gone_everyone_who_could_work_still_can(tmp_path):
    options = StackOptions(epoch_seconds=600, state=tmp_path / "state")
    async with (
        StandInChain.running() as chain,
        Stack.running(options, make_parts=lambda services: reading(chain, services)) as stack,
    ):
        # The validators' permits count from the second reading on.
        await served_in_the_end(stack)
        await wait_until(lambda: chain.reads >= 5)
        assert (chain.opened, chain.held) == (1, 1)
        await chain.stop()
        assert await everyone_is_served(stack)
        await restart(stack, "schedulers", *PROCESSES)
        assert await everyone_is_served(stack)
        chain.mood = Mood.SILENT
        await chain.start()
        await wait_until(lambda: chain.unanswered >= 2)
        assert await everyone_is_served(stack)
        chain.mood = Mood.WELL
        await leaves(chain, stack, "miner-8")
        assert await everyone_is_served(stack)
        assert chain.held == 1
