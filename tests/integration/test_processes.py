"""Tests our processes as their supervisor sees them: they stop while they wait, and refuse invalid
settings."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from devstack.logins import ROLES, login_url
from devstack.programs import inherited_environment
from devstack.servers import Servers


async def start(module: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        env=inherited_environment() | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def scheduler_environment(servers: Servers) -> dict[str, str]:
    return {
        "DATABASE_URL": servers.database_url_of("schedulers"),
        "NATS_URL": "nats://127.0.0.1:9",
        "BT_NETWORK": "local",
        "ZIPCAST_ENVIRONMENT": "development",
        "INTERNAL_PORT": "0",
        **servers.keys["schedulers"],
    }


async def test_a_process_that_still_waits_for_nats_stops_when_asked(servers: Servers):
    process = await start("schedulers", scheduler_environment(servers))
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            if b"nats_error" in line:
                break
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ZIPCODE_SECRET_KEY": "hunter2"}, "ZIPCODE_SECRET_KEY"),
        pytest.param({"NATS_URL": None}, "NATS_URL", marks=pytest.mark.long),
        pytest.param({"EPOCH_DURATION_SECONDS": "7"}, "EPOCH_DURATION_SECONDS", marks=pytest.mark.long),
        pytest.param(
            {"ZIPCODE_PREVIOUS_SECRETS": "0:hunter2"}, "ZIPCODE_PREVIOUS_SECRETS", marks=pytest.mark.long
        ),
        pytest.param({"INTERNAL_PORT": "65536"}, "INTERNAL_PORT", marks=pytest.mark.long),
    ],
)
async def test_a_bad_setting_stops_the_start_with_one_line_that_names_it(
    servers: Servers, change: dict[str, str | None], named: str
):
    environment = scheduler_environment(servers) | change
    process = await start("schedulers", {k: v for k, v in environment.items() if v is not None})
    _, complaint = await process.communicate()
    assert process.returncode == 2
    assert complaint.decode().count("\n") == 1
    assert named in complaint.decode()
    assert "hunter2" not in complaint.decode()


@pytest.mark.long
@pytest.mark.parametrize(
    ("module", "process", "keys"),
    [("broker_service.responder", "responder", "responder"), ("http_bridge", "http_bridge", "bridge")],
)
async def test_in_production_a_login_that_may_see_the_future_stops_the_start(
    servers: Servers, database_url: str, module: str, process: str, keys: str
):
    environment = {
        "NATS_URL": servers.nats_url,
        "DATABASE_URL": database_url,
        **servers.keys[keys],
        **servers.s3_environment,
    } | {"S3_ENDPOINT_URL": "https://127.0.0.1:9", "INTERNAL_PORT": "0", "PORT": str(servers.ports.http)}
    refused = await start(module, environment)
    out, _ = await refused.communicate()
    assert refused.returncode == 1
    (fault,) = [line for line in out.decode().splitlines() if "DATABASE_URL: " in line]
    assert f"use a member of {ROLES[process]} instead" in fault
    allowed = await start(
        module, environment | {"DATABASE_URL": login_url(servers.state, database_url, process)}
    )
    assert allowed.stdout is not None
    try:
        async with asyncio.timeout(60):
            lines = [line async for line in until_ready(allowed.stdout)]
        assert b"DATABASE_URL" not in b"".join(lines)
    finally:
        allowed.terminate()
        await allowed.communicate()


async def until_ready(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Return the log lines until the process is ready. The caller limits the time."""
    async for line in stream:
        yield line
        if b'"action": "ready"' in line:
            return
    pytest.fail("the process ended before it was ready")


async def test_a_taken_internal_port_stops_the_start_with_one_line_that_names_it(servers: Servers):
    taken = str(servers.ports.nats)
    process = await start("schedulers", scheduler_environment(servers) | {"INTERNAL_PORT": taken})
    _, complaint = await process.communicate()
    assert process.returncode == 2
    assert complaint.decode().startswith(
        f"INTERNAL_PORT: cannot listen on 127.0.0.1:{taken}: Address already in"
    )
    assert complaint.decode().count("\n") == 1


async def test_a_process_that_waits_for_nats_tells_so(servers: Servers):
    process = await start("schedulers", scheduler_environment(servers))
    assert process.stdout is not None
    try:
        started = json.loads(await process.stdout.readline())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{started['internal_port']}") as internal:
            async for line in process.stdout:
                if b"nats_error" in line:
                    break
            health = await internal.get("/health")
            live = await internal.get("/health/live")
    finally:
        process.kill()
        await process.wait()
    told = health.json()
    assert (health.status_code, told["status"]) == (503, "unhealthy")
    assert told["connections"] == {"schedulers": "connecting"}
    assert told["problems"]["nats_error"] >= 1
    assert live.status_code == 200
