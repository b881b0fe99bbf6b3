"""Our processes as their supervisor sees them: stopping while they wait, refusing bad settings."""

import asyncio
import json
import signal
import sys

import httpx
import pytest

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
        "DATABASE_URL": servers.database_url,
        "NATS_URL": "nats://127.0.0.1:9",
        "BT_NETWORK": "local",
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
        async with asyncio.timeout(30):
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"NATS_URL": None}, "NATS_URL"),
        ({"EPOCH_DURATION_SECONDS": "7"}, "EPOCH_DURATION_SECONDS"),
        ({"ZIPCODE_SECRET_KEY": "hunter2"}, "ZIPCODE_SECRET_KEY"),
        ({"ZIPCODE_PREVIOUS_SECRETS": "0:hunter2"}, "ZIPCODE_PREVIOUS_SECRETS"),
        ({"INTERNAL_PORT": "65536"}, "INTERNAL_PORT"),
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
