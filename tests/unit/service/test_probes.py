"""Tests that health checks run in parallel, have a time limit, and are cached briefly."""

import asyncio
from datetime import timedelta

from service.probes import REMEMBERED_SECONDS, Finding, Probes
from tests.support.fakes import START_AT, FakeClock
from zipcast.protocol.messages.health import HealthStatus

OK, UNHEALTHY = HealthStatus.OK, HealthStatus.UNHEALTHY


class Service:
    """A check whose result the test sets."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0

    async def check(self) -> Finding:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Finding(note="fine")


async def hang() -> Finding:
    await asyncio.Event().wait()
    raise AssertionError


async def test_what_hangs_is_left_behind_and_holds_up_nothing_else() -> None:
    service, let_go, ended = Service(), asyncio.Event(), asyncio.Event()

    async def hang_on_even_when_cancelled() -> Finding:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await let_go.wait()
            ended.set()
            raise ConnectionError from None
        raise AssertionError

    checks = {"hanging": hang, "stubborn": hang_on_even_when_cancelled, "well": service.check}
    probes = Probes(checks, FakeClock(), patience_seconds=0.01)
    async with asyncio.timeout(60):
        found = await probes.services()
    assert not ended.is_set()
    assert [(name, health.status) for name, health in found.items()] == [
        *(("hanging", UNHEALTHY), ("stubborn", UNHEALTHY), ("well", OK)),
    ]
    assert found["hanging"].last_error.endswith("within 0.01 s")
    let_go.set()
    await ended.wait()  # the stubborn one ends by itself, and its error is not raised anywhere


async def test_a_finding_is_remembered_and_shared() -> None:
    service, clock = Service(), FakeClock()
    probes = Probes({"it": service.check}, clock)
    await asyncio.gather(*(probes.services() for _ in range(10)))
    await clock.sleep(REMEMBERED_SECONDS - 1)
    await probes.services()
    assert service.asked == 1
    await clock.sleep(1)
    await probes.services()
    assert service.asked == 2


async def test_since_is_when_the_status_changed_and_the_last_error_stays() -> None:
    service, clock = Service(), FakeClock()
    probes = Probes({"it": service.check}, clock)
    assert (await probes.services())["it"].since == START_AT
    service.error = ValueError("postgresql://user:password@host")
    await clock.sleep(60)
    broken = (await probes.services())["it"]
    assert (broken.status, broken.last_error) == (UNHEALTHY, "ValueError")
    await clock.sleep(60)
    assert (await probes.services())["it"].since == START_AT + timedelta(seconds=60)
    service.error = None
    await clock.sleep(60)
    well = (await probes.services())["it"]
    assert (well.status, well.last_error, well.note) == (OK, "ValueError", "fine")
    assert well.since == START_AT + timedelta(seconds=180)


async def test_a_caller_who_goes_away_takes_nobodys_answer_with_him() -> None:
    service = Service()
    probes = Probes({"it": service.check}, FakeClock())
    hasty = asyncio.create_task(probes.services())
    patient = asyncio.create_task(probes.services())
    await asyncio.sleep(0)
    hasty.cancel()
    assert (await patient)["it"].status is OK
