"""Tests `zipcast epoch publish`, which publishes a manual epoch while all schedulers are dead."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from devstack.options import StackOptions
from devstack.stack import Stack
from tests.support.people import client
from tests.support.processes import GENEROUS, wait_until

PROGRAM = "from zipcast.cli.app import main; main()"


async def published(env_file: Path, *options: str) -> tuple[int, str, str]:
    """Run the command, and return its status and output."""
    command = ("epoch", "publish", "--env-file", str(env_file), "--json", *options)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, *command),
        env={"PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, log = await process.communicate()
    assert process.returncode is not None
    return process.returncode, told.decode(), log.decode()


@pytest.mark.long
async def test_an_epoch_is_published_while_every_scheduler_is_dead(tmp_path: Path):
    options = StackOptions(epoch_seconds=30, state=tmp_path / "state", settings=GENEROUS)
    async with Stack.running(options) as stack:
        (scheduler,) = [part for part in stack.parts if part.name == "schedulers"]
        env_file = tmp_path / "schedulers.env"
        env_file.write_text("".join(f"{name}={value}\n" for name, value in scheduler.environment.items()))
        async with client(stack.ready, "miner-1") as miner:
            received_epochs = miner.epochs()
            last = (await anext(received_epochs)).epoch.message
            await stack.servers.supervisor.take_down("schedulers")
            # Epochs that were drawn before the kill start by themselves, so wait for one that was not drawn.
            ids = {last.epoch_id}
            await wait_until(lambda: miner.service_time() >= last.epoch_end)
            status, told, log = await published(env_file)
            assert status == 0, log
            found = json.loads(told)
            async for received in received_epochs:
                ids.add(received.epoch.message.epoch_id)
                if received.epoch.message.epoch_id >= found["epochId"]:
                    break
        assert found["epochId"] in ids
        assert found["epochId"] > last.epoch_id
        assert not (tmp_path / "state" / "run" / "schedulers.ready").exists()
    status, told, _ = await published(env_file, "--timeout", "2")  # all servers are stopped now
    assert status != 0
    assert json.loads(told)["success"] is False
