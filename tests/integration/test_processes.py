"""Our processes as their supervisor sees them: stopping while they wait, refusing bad settings."""

import asyncio
import signal
import sys

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
