"""Reads metrics and log files like an operator, and sends requests that appear in both."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from devstack.stack import Stack
from tests.support.people import coldkey, keypair, legacy
from tests.support.processes import TIMEOUT_SECONDS, wait_until
from zipcast.client.local_stack import Ready

PROCESSES = ("schedulers", "responder", "callout", "http_bridge")

Internal = dict[str, httpx.AsyncClient]
"""HTTP clients for the internal listeners, by process."""


async def until(condition: Callable[[], Awaitable[bool]], timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not await condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.05)


async def samples(http: httpx.AsyncClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = (await http.get("/metrics")).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def value(http: httpx.AsyncClient, name: str, **labels: str) -> float:
    return (await samples(http)).get((name, tuple(sorted(labels.items()))), 0)


def log_lines(stack: Stack, process: str) -> list[dict[str, object]]:
    text = (stack.servers.state.logs / f"{process}.log").read_text()
    whole, _, _ = text.rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


async def only_line(stack: Stack, process: str, correlation_id: str) -> dict[str, object]:
    """Return the only log line with this id. It is written after the reply is sent."""

    def found() -> list[dict[str, object]]:
        return [line for line in log_lines(stack, process) if line.get("correlation_id") == correlation_id]

    await wait_until(found)
    (line,) = found()
    return line


async def refused_folder(ready: Ready, http: httpx.AsyncClient, request_id: str) -> httpx.Response:
    """Send a forged request for a miner's folder access, which the bridge refuses."""
    body = {"coldkey": coldkey(ready, "miner-1"), "hotkey": keypair(ready, "miner-1").ss58_address}
    body |= {"timestamp": str(int(time.time())), "signature": "00" * 64}
    return await http.post("/get-folder-access", json=body, headers={"X-Request-Id": request_id})


async def granted_folder(ready: Ready, http: httpx.AsyncClient, request_id: str) -> httpx.Response:
    signer, cold = keypair(ready, "miner-1"), coldkey(ready, "miner-1")
    commitment = f"s3:data:access:{cold}:{signer.ss58_address}:{{timestamp}}"
    body = legacy(signer, commitment) | {"coldkey": cold}
    return await http.post("/get-folder-access", json=body, headers={"X-Request-Id": request_id})
