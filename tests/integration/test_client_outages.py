"""Tests `zipcast watch` while the service goes away and comes back at the same address."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from devstack.options import StackOptions
from devstack.programs import REPOSITORY
from devstack.stack import Stack
from tests.support.processes import wait_until

pytestmark = pytest.mark.long
OUTAGE_SECONDS = 10


@asynccontextmanager
async def watching(ready: Path) -> AsyncIterator[list[str]]:
    """Yield the ids that the command prints, while it prints them."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from zipcast.cli.app import main; main()", "watch", "--ready", str(ready)),
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # the command writes here that it cannot connect
    )
    printed: list[str] = []
    reading = asyncio.create_task(_read(process, printed))
    try:
        yield printed
        assert process.returncode is None, printed
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await reading


async def _read(process: asyncio.subprocess.Process, printed: list[str]) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        printed.append(line.decode().rstrip())


async def test_watch_survives_a_restart_of_nats_server_and_of_everything(tmp_path):
    options = StackOptions(epoch_seconds=4, state=tmp_path / "state")
    async with AsyncExitStack() as command:
        async with Stack.running(options) as stack:
            printed = await command.enter_async_context(watching(stack.servers.state.ready))
            await wait_until(lambda: len(printed) >= 2)
            await stack.servers.supervisor.take_down("nats")
            seen = len(printed)
            await asyncio.sleep(OUTAGE_SECONDS)
            await stack.servers.supervisor.bring_up("nats")
            await wait_until(lambda: len(printed) >= seen + 2)
        seen = len(printed)
        await asyncio.sleep(OUTAGE_SECONDS)
        assert len(printed) == seen
        async with Stack.running(options):
            await wait_until(lambda: len(printed) >= seen + 2)
    ids = [line.split()[0] for line in printed]
    assert all(earlier < later for earlier, later in pairwise(ids)), printed
    assert all("verified" in line for line in printed), printed
