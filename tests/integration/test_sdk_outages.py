"""Tests the public client when its hotkey leaves the subnet, and when the responder restarts or stays
away."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from devstack.options import StackOptions
from devstack.stack import Stack
from tests.support.both_clients import arguments, opened
from tests.support.people import keypair
from tests.support.processes import GENEROUS
from zipcast import NotRegisteredError, UnavailableError, connect
from zipcast.client import reconnection

pytestmark = pytest.mark.long
both_clients = pytest.mark.parametrize("kind", ["async", "sync"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def victim(tmp_path_factory) -> AsyncIterator[Stack]:
    """Run a stack whose servers these tests stop."""
    options = StackOptions(
        epoch_seconds=5, state=tmp_path_factory.mktemp("victim") / "state", settings=GENEROUS
    )
    async with Stack.running(options) as stack:
        yield stack


@both_clients
async def test_a_hotkey_that_leaves_the_subnet_is_named(
    kind: str, victim: Stack, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconnection, "REFUSED_TIMEOUT_SECONDS", 3)
    registry = victim.servers.state.registry
    neurons = json.loads(registry.read_text())
    wallet = "miner-8" if kind == "async" else "miner-7"
    left = keypair(victim.ready, wallet).ss58_address
    try:
        async with opened(kind, **arguments(victim.ready, wallet)) as client, asyncio.timeout(90):
            await anext(client.epochs())
            registry.write_text(json.dumps([one for one in neurons if one["hotkey"] != left]))
            with pytest.raises(NotRegisteredError, match=left):
                async for _ in client.epochs():
                    pass
    finally:
        registry.write_text(json.dumps(neurons))


async def test_requests_wait_for_a_responder_that_restarts(victim: Stack):
    parts = victim.servers.supervisor
    async with connect(**arguments(victim.ready, "miner-3")) as client, asyncio.timeout(90):
        epoch = await anext(client.epochs())
        await parts.take_down("responder")
        asked = asyncio.create_task(client.report_status(epoch, "IN_PROGRESS"))
        starting = asyncio.create_task(parts.bring_up("responder"))
        assert (await asked).epoch_id == epoch.id
        await starting


async def test_a_service_that_stays_away_ends_in_an_error(victim: Stack):
    parts = victim.servers.supervisor
    given = arguments(victim.ready, "miner-4", retry_seconds=1)
    async with connect(**given) as client, asyncio.timeout(90):
        epoch = await anext(client.epochs())
        await parts.take_down("responder")
        try:
            with pytest.raises(UnavailableError) as away:
                await client.report_status(epoch, "IN_PROGRESS")
        finally:
            await parts.bring_up("responder")
    assert away.value.retry_after
