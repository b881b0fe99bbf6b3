"""Runs a stack with epochs of 3 s, inflicts faults by a plan, and observes everything from outside.

python -m tests.faults.driver --seed N --epochs 100 --faults 40

It prints the plan, the faults and the verdict, and its exit status is 1 if an invariant was broken. The same
seed and numbers inflict the same faults at the same distances from epochs' starts. `plan` chooses the faults,
and `invariants` judges.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from devstack.kept_part import Event, PartDied
from devstack.options import StackOptions
from devstack.stack import Stack
from schedulers.epochs.start_gate import sleep_until
from service.lifecycle import end
from storage.database.engine import open_engine
from tests.faults import invariants
from tests.faults.evidence import read_record, read_seals, read_stream
from tests.faults.injection import Inflicted, Injector, two_schedulers
from tests.faults.observations import Observations
from tests.faults.plan import EPOCH_SECONDS, Fault, make_plan
from tests.faults.report import report
from tests.faults.watchers import HttpWatcher, NatsWatcher, SdkWatcher
from tests.support.people import trust_of
from tests.support.processes import GENEROUS, comes_true, family, is_alive, is_frozen, wait_until
from zipcast.client.local_stack import Ready
from zipcast.clock import SystemClock
from zipcast.protocol.calendar import EpochCalendar

CALENDAR = EpochCalendar(EPOCH_SECONDS)
NATS_WATCHERS = ("miner-1", "miner-2", "validator-1")
SDK_WATCHER = "validator-2"
HTTP_WATCHER = "miner-3"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run. `broken` has one sentence for each violation of an invariant, `deaths` the parts
    that ended without a fault."""

    seen: Observations
    inflicted: Sequence[Inflicted]
    deaths: Sequence[str]
    broken: Sequence[str]


class Watchers:
    """All observers of one stack, while `watching` runs."""

    def __init__(self, ready: Ready) -> None:
        self.nats = [NatsWatcher(ready, name) for name in NATS_WATCHERS]
        self.sdk = SdkWatcher(ready, SDK_WATCHER)
        self.http = HttpWatcher(ready, HTTP_WATCHER)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        runs = [*(watcher.run() for watcher in self.nats), self.sdk.run(), self.http.run()]
        tasks = [asyncio.create_task(run) for run in runs]
        try:
            await wait_until(self.all_connected)
            yield
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            await end(tasks)

    def all_connected(self) -> bool:
        return all(watcher.connected.is_set() for watcher in self.nats)

    def all_heard(self, epoch_id: str) -> bool:
        """Return whether all subscribers have received that epoch or a newer one."""
        everybody = [*(watcher.seen.heard for watcher in self.nats), self.sdk.taken]
        return all(any(arrival.epoch_id >= epoch_id for arrival in arrivals) for arrivals in everybody)


async def drive(plan: Sequence[Fault], epochs: int, state: Path, tell: Tell) -> Outcome:
    """Run `plan` over `epochs` epochs on a stack in the folder `state`, and judge what was seen."""
    clock, deaths = SystemClock(), _Deaths(tell)
    options = StackOptions(epoch_seconds=EPOCH_SECONDS, state=state, settings=GENEROUS)
    async with Stack.running(options, deaths.hear, make_parts=two_schedulers) as stack:
        watchers, injector = Watchers(stack.ready), Injector(stack, clock, tell)
        async with watchers.watching():
            first = CALENDAR.first_from(clock.now() + timedelta(seconds=1))
            end_at = first.start_at + timedelta(seconds=epochs * EPOCH_SECONDS)
            tell(f"epoch 0 is {first.epoch_id}")
            async with asyncio.TaskGroup() as group:
                group.create_task(injector.run(plan, first.start_at))
                group.create_task(sleep_until(clock, end_at))
            # One more epoch, so that the last one is completed and all subscribers are known to be connected.
            after = CALENDAR.at(end_at).epoch_id
            whole = await comes_true(lambda: watchers.all_connected() and watchers.all_heard(after), 20)
            down = _not_running(stack)
        seen = await _collect(stack, watchers, first.start_at, epochs)
    unheard = [] if whole else [f"missing: not everybody heard {after}, with everything up again"]
    return Outcome(seen, injector.inflicted, deaths.told, [*down, *unheard, *invariants.broken(seen)])


def _not_running(stack: Stack) -> list[str]:
    """Return one sentence for each part that does not run at the end."""
    families = {part: family(pid) for part, pid in stack.ready.pids.items()}
    return [
        f"down: {part} does not run at the end"
        for part, pids in families.items()
        if not is_alive(pids[0]) or any(map(is_frozen, pids))
    ]


class _Deaths:
    """Notes the parts that end by themselves. The injector reports the faults that it inflicts."""

    def __init__(self, tell: Tell) -> None:
        self.told: list[str] = []
        self._tell = tell

    def hear(self, event: Event) -> None:
        if isinstance(event, PartDied) and event.status != "killed by SIGKILL":
            self.told.append(f"{event.name} ended by itself: {event.status}")
            self._tell("\n  ".join((self.told[-1], *event.tail)))


async def _collect(stack: Stack, watchers: Watchers, start_at: datetime, epochs: int) -> Observations:
    last = CALENDAR.at(start_at + timedelta(seconds=(epochs - 1) * EPOCH_SECONDS))
    database = open_engine(stack.ready.postgres, application_name="fault-driver")
    try:
        stream, trust = await read_stream(stack.servers), trust_of(stack.ready)
        return Observations(
            calendar=CALENDAR,
            trust=trust,
            first_id=CALENDAR.at(start_at).epoch_id,
            last_id=last.epoch_id,
            subscribers=[watcher.seen for watcher in watchers.nats],
            sdk=watchers.sdk.taken,
            answers=watchers.http.answers,
            stream=stream,
            record=await read_record(database),
            sealed=await read_seals(stack.servers, trust, stream),
        )
    finally:
        await database.dispose()


def verdict(outcome: Outcome) -> list[str]:
    """Return the figures and every violation as text."""
    lines = [*report(outcome.seen, outcome.inflicted), *outcome.deaths]
    breaches = [f"BROKEN  {sentence}" for sentence in outcome.broken]
    return [*lines, *breaches, f"{len(outcome.broken)} breaches" if breaches else "all invariants held"]


def replay(seed: int, epochs: int, faults: int) -> str:
    return f"replay: python -m tests.faults.driver --seed {seed} --epochs {epochs} --faults {faults}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.driver")
    parser.add_argument("--seed", type=int, default=1, help="the same seed is the same plan")
    parser.add_argument("--epochs", type=int, default=100, help=f"of {EPOCH_SECONDS} s each")
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--state", type=Path, help="folder to keep logs and data in")
    chosen = parser.parse_args(arguments)
    state = chosen.state or Path(tempfile.mkdtemp(prefix="zipcast-faults-"))
    plan = make_plan(chosen.seed, chosen.epochs, chosen.faults)
    say(f"seed {chosen.seed}: {len(plan)} faults over {chosen.epochs} epochs, state in {state}")
    for fault in plan:
        say(f"  {fault}")
    try:
        outcome = asyncio.run(drive(plan, chosen.epochs, state, say))
        for line in verdict(outcome):
            say(line)
    finally:
        say(replay(chosen.seed, chosen.epochs, chosen.faults))
    if not outcome.broken and chosen.state is None:
        shutil.rmtree(state)
    return 1 if outcome.broken else 0


def say(line: str) -> None:
    """Print at once, also if standard output is a file."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
