"""Tests `zipcast up` from outside: what remains after it ends, in whatever way it ends."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from devstack.programs import REPOSITORY
from tests.support.processes import is_alive, wait_until, working_below
from zipcast.cli.app import app
from zipcast.cli.errors import Status
from zipcast.client.local_stack import Ready

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
SERVERS = {"nats", "postgres", "object_store", "beacon_relay"}
PARTS = SERVERS | {"schedulers", "responder", "callout", "http_bridge"}


class Running:
    """A running `zipcast up` in its own process, with stand-ins for our processes."""

    def __init__(self, process: asyncio.subprocess.Process, state: Path) -> None:
        self.process, self.state = process, state

    @classmethod
    async def start(cls, state: Path) -> "Running":
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.stand_in_stack", str(state)),
            cwd=REPOSITORY,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return cls(process, state)

    async def until_ready(self) -> Ready:
        path = self.state / "ready.json"
        await wait_until(lambda: path.exists() or self.process.returncode is not None, 60)
        assert path.exists(), await self.output()
        return Ready.read(path)

    async def end_with(self, number: signal.Signals) -> None:
        """Send the signal, and wait for the end of the process for a limited time."""
        self.process.send_signal(number)
        await asyncio.wait_for(self.process.wait(), 20)

    async def output(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.read()).decode()


def everything_of(ready: Ready, state: Path) -> set[int]:
    return {*ready.pids.values(), *working_below(state)}


def closed_folder(path: Path) -> Path:
    """Return a state folder below one that only its owner may enter, like /root."""
    closed = path / "closed"
    closed.mkdir(mode=0o700)
    return closed / "state"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_to_the_parent_alone_stops_all_of_it(tmp_path, number):
    running = await Running.start(closed_folder(tmp_path))
    ready = await running.until_ready()
    assert set(ready.pids) == PARTS
    processes = everything_of(ready, running.state)
    await running.end_with(number)
    assert running.process.returncode == 0
    assert [pid for pid in processes if is_alive(pid)] == []
    assert not (running.state / "ready.json").exists()
    output = await running.output()
    assert all(name in output for name in PARTS)
    assert ready.http in output
    assert f"nats monitoring  {ready.monitoring}\n" in output
    assert all(url in output for url in ready.internal.values())
    assert set(ready.internal) == PARTS - SERVERS


async def test_a_signal_during_the_start_leaves_nothing(tmp_path):
    running = await Running.start(tmp_path / "state")
    await wait_until((running.state / "logs" / "nats.log").exists)
    await running.end_with(signal.SIGINT)
    await running.output()
    assert working_below(running.state) == set()


async def test_killed_outright_it_leaves_no_process_and_starts_again_with_its_data(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "notes.txt").write_text("mine")
    first = await Running.start(state)
    before = await first.until_ready()
    async with await psycopg.AsyncConnection.connect(before.postgres, autocommit=True) as connection:
        await connection.execute("create table kept as select 7 as value")
    processes = everything_of(before, state)
    await first.end_with(signal.SIGKILL)
    await wait_until(lambda: not any(map(is_alive, processes)))
    await first.output()

    second = await Running.start(state)
    await wait_until(lambda: not (state / "ready.json").exists())
    after = await second.until_ready()
    assert (after.signer, after.nats, after.s3) == (before.signer, before.nats, before.s3)
    async with await psycopg.AsyncConnection.connect(after.postgres) as connection:
        assert await (await connection.execute("select value from kept")).fetchone() == (7,)
        imports = await connection.execute("select count(*) from zipcode_imports")
        assert await imports.fetchone() == (1,)
    await second.end_with(signal.SIGINT)
    await second.output()
    assert (state / "notes.txt").read_text() == "mine"


async def test_a_killed_part_is_named_and_its_new_process_is_in_ready(tmp_path):
    running = await Running.start(tmp_path / "state")
    ready = await running.until_ready()
    os.kill(ready.pids["responder"], signal.SIGKILL)
    path = running.state / "ready.json"
    await wait_until(lambda: Ready.read(path).pids["responder"] != ready.pids["responder"])
    await running.end_with(signal.SIGINT)
    output = await running.output()
    assert "responder: killed by SIGKILL; restarting it in 0.5 s\n  | a stand-in\n" in output


async def test_a_second_one_on_the_same_state_is_refused_in_one_line(tmp_path):
    first = await Running.start(tmp_path / "state")
    await first.until_ready()
    second = await Running.start(tmp_path / "state")
    assert await asyncio.wait_for(second.process.wait(), 10) == 1
    assert (await second.output()).splitlines()[1:] == [
        f"{first.state} is in use by another `zipcast up`: stop it with `zipcast down`, or choose another "
        "folder with --state",
    ]
    assert (first.state / "ready.json").exists()
    await first.end_with(signal.SIGINT)
    await first.output()


async def test_down_stops_it_from_elsewhere_and_then_finds_nothing(tmp_path):
    running = await Running.start(tmp_path / "state")
    ready = await running.until_ready()
    processes = everything_of(ready, running.state)
    command = ["down", "--state", str(running.state), "--json"]
    stopped = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert stopped.exit_code == Status.OK, stopped.output
    assert json.loads(stopped.stdout) == {"stopped": running.process.pid}
    assert await asyncio.wait_for(running.process.wait(), 10) == 0
    assert [pid for pid in processes if is_alive(pid)] == []
    await running.output()
    again = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert (again.exit_code, json.loads(again.stdout)["code"]) == (Status.UNAVAILABLE, "not_running")
