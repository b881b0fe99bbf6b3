"""Tests that an epoch is late but not lost if nats-server or PostgreSQL is away at its start, and that the
running epoch stays readable."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client
from sqlalchemy import select

from devstack.options import StackOptions
from devstack.stack import Stack
from schedulers.epochs.start_gate import sleep_until
from storage.database.engine import open_engine
from storage.database.pending_epochs import pending_intervals
from storage.database.tables import Epoch
from tests.faults.evidence import read_stream
from tests.support.current_requests import CURRENT, current_query
from tests.support.operator_view import until, value
from tests.support.people import ask, client, keypair, raw_connection
from tests.support.processes import GENEROUS, wait_until
from zipcast.clock import SystemClock
from zipcast.protocol.calendar import EpochCalendar, EpochInterval, format_epoch_id
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.protocol.verbs import Verb

pytestmark = pytest.mark.long
EPOCH_SECONDS = 6
CALENDAR = EpochCalendar(EPOCH_SECONDS)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def victim(tmp_path_factory):
    state = tmp_path_factory.mktemp("over-a-start") / "state"
    options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=state, settings=GENEROUS)
    async with Stack.running(options) as stack:
        yield stack


async def status_of(stack: Stack, interval: EpochInterval) -> str | None:
    engine = open_engine(stack.ready.postgres, application_name="test")
    try:
        async with engine.connect() as connection:
            query = select(Epoch.status).where(Epoch.epoch_id == interval.epoch_id)
            opened = (await connection.execute(query)).scalar()
            unopened = await pending_intervals(connection)
            return "pending" if interval in unopened else opened
    finally:
        await engine.dispose()


async def prepared(stack: Stack) -> EpochInterval:
    """Return the next epoch, which is prepared and starts in at least a second."""
    found: list[EpochInterval] = []

    async def there_is_one() -> bool:
        following = CALENDAR.after(CALENDAR.at(datetime.now(UTC)))
        if following.start_at - datetime.now(UTC) < timedelta(seconds=1):
            return False
        if await status_of(stack, following) == "pending":
            found.append(following)
        return bool(found)

    await until(there_is_one, 3 * EPOCH_SECONDS)
    return found[0]


async def shown_over_http(stack: Stack) -> str | None:
    async with httpx.AsyncClient(base_url=stack.ready.http, timeout=5) as http:
        answer = await http.get(CURRENT, params=current_query(keypair(stack.ready, "miner-3")))
    return answer.json().get("epochId")


async def until_shown_over_http(stack: Stack, interval: EpochInterval) -> None:
    async def shown() -> bool:
        return await shown_over_http(stack) == interval.epoch_id

    await until(shown, EPOCH_SECONDS)


async def until_completed(stack: Stack, interval: EpochInterval) -> None:
    async def completed() -> bool:
        return await status_of(stack, interval) == "completed"

    await until(completed, 4 * EPOCH_SECONDS)


async def stored_at(stack: Stack, interval: EpochInterval) -> datetime:
    (entry,) = [one for one in await read_stream(stack.servers) if one.envelope.epoch_id == interval.epoch_id]
    return entry.stored_at


async def told_late_seconds(stack: Stack, interval: EpochInterval) -> float:
    async with httpx.AsyncClient(base_url=stack.ready.http) as http:
        return (await http.get(f"/api/v1/epochs/{interval.epoch_id}")).json()["lateSeconds"]


async def test_with_nats_away_over_the_start_it_is_readable_in_time_and_published_when_nats_is_back(
    victim: Stack,
):
    supervisor, following = victim.servers.supervisor, await prepared(victim)
    await supervisor.take_down("nats")
    await until_shown_over_http(victim, following)
    back_at = datetime.now(UTC)
    await supervisor.bring_up("nats")
    await until_completed(victim, following)
    late = await told_late_seconds(victim, following)
    assert late >= (back_at - following.start_at).total_seconds() - 0.001
    stored = await stored_at(victim, following)
    assert late == pytest.approx((stored - following.start_at).total_seconds(), abs=0.001)
    async with httpx.AsyncClient(base_url=victim.ready.internal["schedulers"]) as internal:
        told = await value(internal, "zipcast_epoch_publication_lateness_seconds_sum")
    assert told >= late - 0.001


@asynccontextmanager
async def taking(stack: Stack, name: str) -> AsyncIterator[list[str]]:
    """Yield the list of what one client of the SDK returns while it reconnects by itself."""
    taken: list[str] = []

    async def take() -> None:
        async with client(stack.ready, name) as connected:
            async for received in connected.epochs():
                taken.append(received.epoch.message.epoch_id)

    task = asyncio.create_task(take())
    await wait_until(lambda: taken)
    yield taken
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_outage_of_nats_over_two_starts_leaves_both_prepared_in_time_and_published_in_order(
    victim: Stack,
):
    supervisor, first = victim.servers.supervisor, await prepared(victim)
    second = CALENDAR.after(first)
    async with taking(victim, "miner-1") as taken:
        await supervisor.take_down("nats")
        await until_shown_over_http(victim, first)
        await sleep_until(SystemClock(), second.start_at)
        await until_shown_over_http(victim, second)
        await supervisor.bring_up("nats")
        for interval in (first, second):
            await until_completed(victim, interval)
        await wait_until(lambda: taken and taken[-1] > first.epoch_id, 4 * EPOCH_SECONDS)
    # A client that reconnects gets the running epoch, and no ended one.
    assert first.epoch_id not in taken
    # This epoch was published after its own end. It has its true start, and is not called completed.
    assert await told_late_seconds(victim, first) >= EPOCH_SECONDS
    assert await stored_at(victim, first) < await stored_at(victim, second)


async def current_on(connection: Client, stack: Stack) -> str:
    reply = await ask(stack.ready, connection, keypair(stack.ready, "miner-2"), Verb.EPOCH_CURRENT, b"{}")
    return EpochMessage.model_validate_json(reply.data).epoch_id


async def test_with_postgresql_away_what_runs_is_readable_everywhere_and_what_is_next_comes_over_nats(
    victim: Stack,
):
    connection = await raw_connection(victim.ready, keypair(victim.ready, "miner-2"))
    supervisor, following = victim.servers.supervisor, await prepared(victim)
    running = CALENDAR.before(following)
    await supervisor.take_down("postgres")
    assert datetime.now(UTC) < following.start_at - timedelta(milliseconds=300), "the machine is too slow"
    told = await shown_over_http(victim), await current_on(connection, victim)
    assert told == (format_epoch_id(running.start_at),) * 2
    await until_shown_over_http(victim, following)
    assert await current_on(connection, victim) == following.epoch_id
    back_at = datetime.now(UTC)
    await supervisor.bring_up("postgres")
    await until_completed(victim, following)
    assert following.start_at <= await stored_at(victim, following) < back_at
    assert await current_on(connection, victim)
    await connection.close()
