"""Tests that health reports a failing step of the scheduler, and that a late epoch is called late."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError

from http_bridge.history import ended_status
from schedulers.epochs import beacon, loop
from schedulers.epochs.loop import EpochEngine
from schedulers.epochs.opening import Opening
from schedulers.metrics import SchedulerMetrics
from service.process_status import ProcessStatus
from storage.database.epochs import Timeline
from storage.database.history import PastEpoch
from tests.support.fakes import START_AT, FakeClock
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.envelope import UnverifiedEnvelope
from zipcast.protocol.messages.health import HealthStatus

INTERVAL = EpochInterval(START_AT, START_AT + timedelta(hours=4))
ENVELOPE = UnverifiedEnvelope(b"{}", "signer", "00", INTERVAL.epoch_id)


class NoPreparer:
    database = None


async def run_until(running: "asyncio.Task[None]", done: asyncio.Event) -> None:
    async with asyncio.timeout(60):
        await done.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_health_is_degraded_from_a_failed_step_until_one_succeeds(monkeypatch: pytest.MonkeyPatch):
    clock = FakeClock(START_AT)
    process_status = ProcessStatus("schedulers", clock, CollectorRegistry(), serving=True)
    states: list[HealthStatus] = []
    done = asyncio.Event()
    outcomes = iter([OSError("disk"), OSError("disk"), None])

    def note(state: HealthStatus) -> None:
        states.append(state)
        if len(states) == 4:
            done.set()

    async def catch_up(_: EpochEngine) -> EpochInterval:
        note(process_status._status())
        outcome = next(outcomes, None)
        if outcome is not None:
            raise outcome
        return INTERVAL

    async def next_epoch(_: EpochEngine, __: EpochInterval) -> None:
        note(process_status._status())
        await asyncio.Event().wait()

    monkeypatch.setattr(EpochEngine, "catch_up", catch_up)
    monkeypatch.setattr(EpochEngine, "next_epoch", next_epoch)
    engine = EpochEngine(
        NoPreparer(),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        clock,
        SchedulerMetrics(),
        failing=process_status.failing,
    )
    await run_until(asyncio.create_task(engine.run()), done)
    ok, degraded = HealthStatus.OK, HealthStatus.DEGRADED
    # Health before the first step, after each failure, and after the success.
    assert states == [ok, degraded, degraded, ok]
    assert dict(process_status.failing) == {}


async def test_opening_that_fails_is_named_with_the_error(monkeypatch: pytest.MonkeyPatch):
    clock = FakeClock(START_AT)
    process_status = ProcessStatus("schedulers", clock, CollectorRegistry(), serving=True)
    seen: list[dict[str, str]] = []
    done = asyncio.Event()

    async def step(_: Opening) -> None:
        seen.append(dict(process_status.failing))
        if len(seen) == 4:
            done.set()
            await asyncio.Event().wait()
        if len(seen) < 3:
            raise OperationalError("", {}, OSError("away"))

    monkeypatch.setattr(Opening, "step", step)
    opening = Opening(None, None, clock, process_status.failing)  # type: ignore[arg-type]
    await run_until(asyncio.create_task(opening.run()), done)
    failing = {"opening": "OperationalError"}
    assert seen[:4] == [{}, failing, failing, {}]


@pytest.mark.parametrize(
    ("published", "status", "envelope", "told"),
    [
        (timedelta(0), "completed", ENVELOPE, "COMPLETED"),
        (timedelta(hours=4) - timedelta(microseconds=1), "completed", ENVELOPE, "COMPLETED"),
        (timedelta(hours=4), "completed", ENVELOPE, "LATE"),
        (timedelta(hours=9), "active", ENVELOPE, "LATE"),
        (None, "pending", ENVELOPE, "LATE"),
        (timedelta(hours=9), "archived", ENVELOPE, "ARCHIVED"),
        (None, "missed", None, "MISSED"),
    ],
)
def test_an_epoch_that_came_out_after_its_end_is_late_not_completed(published, status, envelope, told):
    published_at = None if published is None else START_AT + published
    assert ended_status(PastEpoch(INTERVAL, status, published_at, None, "", envelope)) == told


class HangingDatabase:
    """Neither accepts nor refuses connections, like a server that was stopped with SIGSTOP."""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield


async def test_no_step_waits_for_ever_for_a_database_that_hangs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "STEP_SECONDS", 0.01)
    monkeypatch.setattr(beacon, "DATABASE_TIMEOUT_SECONDS", 0.01)
    preparer = SimpleNamespace(database=HangingDatabase())
    engine = EpochEngine(preparer, None, None, FakeClock(START_AT))  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        await engine._publish_sealed(INTERVAL, Timeline(START_AT, None, None, None))
    with pytest.raises(TimeoutError):
        await beacon.FallbackRounds(preparer).step()  # type: ignore[arg-type]
