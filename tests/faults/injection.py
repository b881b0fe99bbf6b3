"""Inflicts the faults of a plan on a running stack, each at its time, and ends every one of them."""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from devstack.errors import PartFailedError
from devstack.part import Part
from devstack.services import Services
from devstack.stack import Stack
from schedulers.epochs.start_gate import sleep_until
from tests.faults.plan import SCHEDULERS, SETTLE_MS, Fault, Harm, as_it_went, leaves_room
from tests.support.processes import family
from zipcast.clock import Clock

_STARTS = 3
_LOOK_AGAIN_SECONDS = 0.1
# Faults before these are over.
_REMEMBERED = 40


@dataclass(frozen=True, slots=True)
class Inflicted:
    """A fault as it happened. At `back_at`, the part was ready again or was continued."""

    fault: Fault
    at: datetime
    back_at: datetime


def two_schedulers(services: Services) -> tuple[Part, ...]:
    """Return the parts of a stack with a second scheduler, as in production."""
    first, *others = services.parts()
    name = SCHEDULERS[1]
    mark, log = services.servers.state.run / f"{name}.ready", first.log.with_name(f"{name}.log")

    async def before_start() -> None:
        mark.unlink(missing_ok=True)

    async def is_ready() -> bool:
        return mark.exists()

    environment = {**first.environment, "READY_FILE": str(mark), "INTERNAL_PORT": "0"}
    second = replace(
        first, name=name, environment=environment, log=log, is_ready=is_ready, before_start=before_start
    )
    return first, second, *others


class Injector:
    """Inflicts faults on the parts of `stack`. `tell` gets one line when a fault begins, and one when it
    ends."""

    def __init__(self, stack: Stack, clock: Clock, tell: Callable[[str], None]) -> None:
        self.inflicted: list[Inflicted] = []
        self._stack = stack
        self._clock = clock
        self._tell = tell
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._under_way: dict[Fault, datetime] = {}
        self._start_at = clock.now()
        self._logs = 0

    async def run(self, plan: Sequence[Fault], start_at: datetime) -> None:
        """Inflict all faults of the plan. `start_at` is the start of its epoch 0. When this returns,
        everything is up, and nothing is frozen. Raises PartFailedError if a part does not start again."""
        self._start_at = start_at
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                group.create_task(self._at_its_instant(fault, start_at), name=str(fault))

    async def _at_its_instant(self, fault: Fault, start_at: datetime) -> None:
        await sleep_until(self._clock, start_at + timedelta(milliseconds=fault.at_ms))
        async with self._turns[fault.part]:
            await self._until_fair(fault)
            self._under_way[fault] = at = self._clock.now()
            self._tell(f"{at:%H:%M:%S.%f}  {fault}")
            if fault.harm is Harm.FREEZE:
                await self._freeze(fault)
            else:
                await self._put_down(fault, at)
            done = Inflicted(fault, at, self._clock.now())
            del self._under_way[fault]
        self.inflicted.append(done)
        self._tell(f"{done.back_at:%H:%M:%S.%f}  {fault.part} is back, after {_ms(done.back_at - at)} ms")

    async def _until_fair(self, fault: Fault) -> None:
        """Wait until the fault is fair. If the machine is fast enough for the plan, this does not wait."""
        if fault.part not in SETTLE_MS:
            return
        waited = False
        while not leaves_room([*self._as_it_went(), self._now(fault)], self._milliseconds(self._clock.now())):
            waited = True
            await self._clock.sleep(_LOOK_AGAIN_SECONDS)
        if waited:
            self._tell(f"{self._clock.now():%H:%M:%S.%f}  {fault.harm} {fault.part} waited to be fair")

    def _as_it_went(self) -> list[Fault]:
        now = self._milliseconds(self._clock.now())
        went = [(one.fault, one.at, self._milliseconds(one.back_at)) for one in self.inflicted[-_REMEMBERED:]]
        going = [(fault, at, None) for fault, at in self._under_way.items()]
        return [as_it_went(fault, self._milliseconds(at), back, now) for fault, at, back in (*went, *going)]

    def _now(self, fault: Fault) -> Fault:
        now = self._milliseconds(self._clock.now())
        return as_it_went(fault, now, now, now)

    def _milliseconds(self, at: datetime) -> int:
        return _ms(at - self._start_at)

    async def _freeze(self, fault: Fault) -> None:
        frozen: list[int] = []
        try:
            # Stop parents first, so that no new children appear afterwards.
            for pid in family(self._stack.ready.pids[fault.part]):
                _send(pid, signal.SIGSTOP)
                frozen.append(pid)
            await self._clock.sleep(fault.lasts_ms / 1000)
        finally:
            for pid in frozen:
                _send(pid, signal.SIGCONT)

    async def _put_down(self, fault: Fault, at: datetime) -> None:
        supervisor = self._stack.servers.supervisor
        if fault.harm is Harm.KILL:
            for pid in family(self._stack.ready.pids[fault.part]):
                _send(pid, signal.SIGKILL)
        await supervisor.take_down(fault.part)
        await sleep_until(self._clock, at + timedelta(milliseconds=fault.lasts_ms))
        self._keep_log(fault.part)
        for attempt in range(1, _STARTS + 1):
            try:
                await supervisor.bring_up(fault.part)
                return
            except PartFailedError as error:
                self._tell(f"{self._clock.now():%H:%M:%S.%f}  {error} - start {attempt} failed")
                if attempt == _STARTS:
                    raise

    def _keep_log(self, name: str) -> None:
        """Rename the log of the part, because a start keeps only the last log, and all of them are needed."""
        log = next(part.log for part in self._stack.parts if part.name == name)
        self._logs += 1
        if log.exists():
            log.rename(log.with_name(f"{name}.{self._logs:03}.log"))


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # this child of a server has ended meanwhile


def _ms(length: timedelta) -> int:
    return round(length / timedelta(milliseconds=1))
