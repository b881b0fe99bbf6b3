"""Sends requests to a stack over NATS and HTTP, and returns None for success, otherwise the error code."""

import asyncio
from collections.abc import Awaitable

import httpx

from devstack.stack import Stack
from tests.support.people import client, coldkey, keypair, legacy
from zipcast.client.local_stack import Ready
from zipcast.protocol.errors import ErrorCode, ServiceError

CURRENT = "/api/v1/zipcode-assignments/current"
PROCESSES = ("responder", "http_bridge", "callout")
Answers = dict[str, str | None]


async def _told(request: Awaitable[object]) -> str | None:
    try:
        await request
    except ServiceError as error:
        if error.code is ErrorCode.REGISTRY_UNAVAILABLE:
            assert error.retry_after_seconds is not None
        return str(error.code)
    return None


async def restart(stack: Stack, *processes: str) -> None:
    """Restart these parts at the same time."""
    supervisor = stack.servers.supervisor
    await asyncio.gather(*(supervisor.take_down(process) for process in processes))
    await asyncio.gather(*(supervisor.bring_up(process) for process in processes))


async def minted_on_nats(ready: Ready) -> Answers:
    """Request access as a miner and as a validator over new connections."""
    async with client(ready, "miner-1") as miner, client(ready, "validator-1") as validator:
        running = (await miner.current()).message.epoch_id
        read = await _told(validator.validator_read(running, keypair(ready, "miner-1").ss58_address))
        return {
            "miner-upload": await _told(miner.miner_upload()),
            "validator-upload": await _told(validator.validator_upload(running)),
            # The reply that the epoch still runs shows that the caller was accepted.
            "validator-read": None if read == ErrorCode.EPOCH_NOT_ENDED else read,
        }


async def minted_on_http(ready: Ready) -> dict[str, httpx.Response]:
    miner, validator = keypair(ready, "miner-2"), keypair(ready, "validator-2")
    owner = coldkey(ready, "miner-2")
    folder = f"s3:data:access:{owner}:{miner.ss58_address}:{{timestamp}}"
    async with client(ready, "miner-2") as connected:
        epoch_id = (await connected.current()).message.epoch_id
    upload = legacy(validator, "s3:validator:upload:{timestamp}") | {"epochId": epoch_id}
    async with httpx.AsyncClient(base_url=ready.http) as http:
        return {
            "folder-access": await http.post(
                "/get-folder-access", json={"coldkey": owner, **legacy(miner, folder)}
            ),
            "validator-upload": await http.post("/api/v1/s3-access/validator-upload", json=upload),
        }


async def current_on_http(ready: Ready) -> httpx.Response:
    asked = legacy(keypair(ready, "miner-3"), "zipcode:assignment:current:{timestamp}")
    async with httpx.AsyncClient(base_url=ready.http) as http:
        return await http.get(CURRENT, params=asked)


async def current_on_nats(ready: Ready) -> None:
    """Request the running epoch over a new connection. Raises ServiceError."""
    async with client(ready, "miner-4") as connected:
        await connected.current()
