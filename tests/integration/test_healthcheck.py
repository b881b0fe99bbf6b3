"""Tests the health that the bridge of a running stack reports about itself and the parts that it uses."""

import asyncio
import time
from datetime import UTC, datetime

import httpx
import pytest

from tests.support.people import keypair, raw_connection
from zipcast.client.local_stack import Ready
from zipcast.protocol import subjects

SERVICES = [
    *("database", "nats", "object_store", "validator_bucket", "metagraph", "rate_limit_store", "broker"),
    *("scheduler", "assignments", "zipcode_data"),
]


async def well(http: httpx.AsyncClient) -> dict:
    """Return the first reply that says ok. With epochs of seconds, a step may be late on a busy machine."""
    deadline = time.monotonic() + 20
    while True:
        answer = await http.get("/healthcheck")
        told = answer.json()
        if (answer.status_code, told["status"]) == (200, "ok"):
            return told
        assert time.monotonic() < deadline, told
        await asyncio.sleep(0.2)


async def test_a_stack_that_runs_is_ok_in_every_part(http: httpx.AsyncClient):
    told = await well(http)
    assert list(told["services"]) == SERVICES
    for service in told["services"].values():
        assert set(service) == {"status", "latencyMs", "lastError", "since", "note"}
        assert service["status"] == "ok"
        assert datetime.fromisoformat(service["since"]) <= datetime.now(UTC)
    assert told["folder_structure"] == "data/hotkey={hotkey}/"
    assert told["services"]["rate_limit_store"]["note"] == "counts are in memory, as configured"
    assert told["services"]["database"]["latencyMs"] > 0
    assert told["uptime"] > 0
    assert told["version"]
    epoch = told["currentEpoch"]
    assert epoch["startTime"] < epoch["endTime"]
    assert all(told["features"].values())


async def test_health_says_nothing_that_is_secret(ready: Ready, http: httpx.AsyncClient):
    text = (await http.get("/healthcheck")).text
    for secret in ("postgres", "127.0.0.1", ready.s3.miner_bucket, "nonce", '"zipcodes"'):
        assert secret not in text


async def test_health_is_remembered_for_a_few_seconds_and_answered_at_once(http: httpx.AsyncClient):
    first = (await http.get("/healthcheck")).json()
    began = time.monotonic()
    again = [(await http.get("/healthcheck")).json() for _ in range(20)]
    assert time.monotonic() - began < 2
    measured = first["services"]["database"]["latencyMs"]
    assert sum(told["services"]["database"]["latencyMs"] == measured for told in again) >= 18


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_a_stack_that_runs_is_alive_and_ready(http: httpx.AsyncClient, path: str):
    answer = await http.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_client_cannot_ask_the_responder_for_health(ready: Ready):
    connection = await raw_connection(ready, keypair(ready, "miner-1"))
    with pytest.raises(TimeoutError):
        await connection.request(subjects.BRIDGE_HEALTH, b"{}", timeout=0.5)
    await connection.close()
