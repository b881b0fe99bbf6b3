"""Tests a stack whose scheduler reads a chain, while the chain cannot be reached."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

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
from tests.support.both_clients import arguments
from tests.support.chain.metadata import ChainNeuron
from tests.support.chain.sdk import sdk_environment
from tests.support.chain.stand_in import Mood, StandInChain
from tests.support.people import keypair, raw_connection
from tests.support.processes import wait_until
from tests.support.programs import python
from zipcast import ErrorCode, NotRegisteredError, ServiceError, connect
from zipcast.cli.errors import Status
from zipcast.client import reconnection

pytestmark = pytest.mark.long
RAO_PER_ALPHA = 10**9


def reading(chain: StandInChain, services: Services) -> tuple[Part, ...]:
    """Return the stack's parts, with the wallets registered on the stand-in chain, which the scheduler
    reads."""
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
    """Return whether connections, epochs and credentials work over NATS and HTTP."""
    await current_on_nats(stack.ready)
    assert (await current_on_http(stack.ready)).status_code == 200
    on_http = await minted_on_http(stack.ready)
    refusals = {code for code in (await minted_on_nats(stack.ready)).values() if code is not None}
    return not refusals and all(answer.status_code == 200 for answer in on_http.values())


async def served_in_the_end(stack: Stack) -> None:
    """Wait until everyone is served. If a boundary follows right after the stack's start, the next epoch
    waits half a minute for the round of its draft."""
    async with asyncio.timeout(120):
        while True:
            try:
                if await everyone_is_served(stack):
                    return
            except ServiceError as error:
                assert error.code is ErrorCode.NO_CURRENT_EPOCH
            await asyncio.sleep(0.1)


async def leaves(chain: StandInChain, stack: Stack, name: str) -> None:
    """Deregister the wallet on the chain, and wait until it is refused."""
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


@asynccontextmanager
async def watching(stack: Stack, wallet: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `zipcast watch --json` with a client that gives up after some seconds."""
    code = "from zipcast.client import reconnection as r; r.REFUSED_TIMEOUT_SECONDS = 3\n"
    code += "from zipcast.cli.app import main; main()"
    ready = str(stack.servers.state.ready)
    process = await asyncio.create_subprocess_exec(
        *python("-c", code, "watch", "--json", "--wallet", wallet, "--ready", ready),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()  # the running epoch
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_while_the_chain_is_gone_everyone_who_could_work_still_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconnection, "REFUSED_TIMEOUT_SECONDS", 3)
    options = StackOptions(epoch_seconds=600, state=tmp_path / "state")
    async with (
        StandInChain.running() as chain,
        Stack.running(options, make_parts=lambda services: reading(chain, services)) as stack,
    ):
        # The validators' permits count after the second reading.
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
        left = keypair(stack.ready, "miner-8").ss58_address
        async with (
            connect(**arguments(stack.ready, "miner-8")) as client,
            watching(stack, "miner-8") as watch,
        ):
            epochs = client.epochs()
            await anext(epochs)
            await leaves(chain, stack, "miner-8")
            with pytest.raises(NotRegisteredError, match=left):
                await anext(epochs)
            told, _ = await watch.communicate()
        assert watch.returncode == Status.REFUSED
        assert (json.loads(told)["code"], left in json.loads(told)["message"]) == ("not_registered", True)
        assert await everyone_is_served(stack)
        assert chain.held == 1
