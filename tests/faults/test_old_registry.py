"""Tests a registry older than its maximum age: no access is granted, and everything else continues."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from devstack.options import StackOptions
from devstack.stack import Stack
from service.registry_parts import Head, read_parts, write_parts
from tests.faults.access import (
    PROCESSES,
    current_on_http,
    current_on_nats,
    minted_on_http,
    minted_on_nats,
    restart,
)
from tests.support.long_epochs import amid_an_epoch
from tests.support.processes import GENEROUS
from tests.support.registry_side import scheduler_connection
from zipcast.protocol.subjects import REGISTRY_BUCKET, REGISTRY_KEY

pytestmark = pytest.mark.long
REFUSED = "registry_unavailable"


async def make_old(stack: Stack) -> None:
    """Make the registry look as if the chain could not be read for 25 hours."""
    connection = await scheduler_connection(stack.servers)
    bucket = await connection.jetstream().key_value(REGISTRY_BUCKET)
    newest = await read_parts(bucket, Head.model_validate_json((await bucket.get(REGISTRY_KEY)).value or b""))
    aged = {
        "block_number": newest.block_number + 1,
        "taken_at": datetime.now(UTC) - timedelta(hours=25),
    }
    await bucket.put(REGISTRY_KEY, await write_parts(bucket, newest.model_copy(update=aged), 0))
    await connection.close()


async def metagraph_health(stack: Stack) -> dict:
    async with httpx.AsyncClient(base_url=stack.ready.http) as http:
        return (await http.get("/healthcheck")).json()["services"]["metagraph"]


async def wait_for_refusals(stack: Stack, code: str | None) -> None:
    """Wait until NATS and HTTP refuse with these codes."""
    async with asyncio.timeout(60):
        while True:
            on_nats = set((await minted_on_nats(stack.ready)).values())
            on_http = {answer.json().get("error") for answer in (await minted_on_http(stack.ready)).values()}
            if on_nats == on_http == {code}:
                return
            await asyncio.sleep(0.1)


async def test_beyond_its_greatest_age_nothing_is_minted_by_it_and_assignments_go_on(tmp_path):
    async with amid_an_epoch(
        StackOptions(epoch_seconds=14_400, state=tmp_path / "state", settings=GENEROUS)
    ) as stack:
        supervisor = stack.servers.supervisor
        await supervisor.take_down("schedulers")
        await make_old(stack)
        await wait_for_refusals(stack, REFUSED)
        for answer in (await minted_on_http(stack.ready)).values():
            assert answer.status_code == 503
            assert answer.json()["retryAfter"] == 60
            assert answer.headers["retry-after"] == "60"
        await current_on_nats(stack.ready)
        assert (await current_on_http(stack.ready)).status_code == 200
        health = await metagraph_health(stack)
        assert (health["status"], health["lastError"]) == ("degraded", "too old to issue credentials")
        # Processes that start now use the same snapshot.
        await restart(stack, *PROCESSES)
        await wait_for_refusals(stack, REFUSED)
        await supervisor.bring_up("schedulers")
        await wait_for_refusals(stack, None)
