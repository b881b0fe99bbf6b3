"""Runs the crash matrix: a scheduler kills itself at each of its steps, alone or together with other parts,
and all are started again in each order. Clients, stream and database are judged as after a run of the fault
driver.

python -m tests.faults.crash_matrix [--write docs/reliability.md]

It prints a line for each cell, and its exit status is 1 if something was broken. `--write` writes the table
to the page. `matrix` defines the cells, and `invariants` the judgement.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from devstack.options import DEFAULT_NETUID, LOCAL_NETWORK
from tests.faults import invariants
from tests.faults.crash_system import CrashSystem
from tests.faults.evidence import read_record, read_seals, read_stream
from tests.faults.invariants import Broken
from tests.faults.matrix import BEGIN, END, OTHER, VICTIM, Cell, Scene, all_cells, table
from tests.faults.observations import Observations, Subscriber
from tests.support.processes import wait_until
from zipcast.protocol.beacon import LOCAL_CHAIN, drafting_time
from zipcast.protocol.calendar import EpochCalendar, preparation_lead
from zipcast.protocol.envelope import Trust
from zipcast.protocol.hotkeys import parse_hotkey

SYSTEMS, EPOCH_SECONDS = 4, 6
# The time between two starts, so that their order is certain.
_BETWEEN_STARTS_SECONDS = 0.2
_REACHED_SECONDS = 40
_TRIES = 6
# The time that a scheduler needs to prepare and publish an epoch while everything is up.
CLEAR = timedelta(seconds=1.5)
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Played:
    """A cell that was played, and the epochs that it may have harmed. Everything was up from `began_at` on,
    except between `killed_at` and `back_at`. `failure` says why the cell could not be played."""

    cell: Cell
    first_id: str
    last_id: str
    began_at: datetime
    killed_at: datetime
    back_at: datetime
    failure: str = ""

    def is_fair(self, calendar: EpochCalendar) -> bool:
        """Return whether every epoch of the cell can be expected to be published. Everything must have been
        up for some time between the preparation and the kill, or must be up again so long before the end that
        the epoch can be drafted and drawn. On a busy machine this may not be so. Schedulers say when they
        have caught up."""
        late = drafting_time(LOCAL_CHAIN, timedelta(seconds=calendar.epoch_seconds)) + CLEAR
        interval = calendar.after(calendar.starting(self.first_id))
        while interval.epoch_id <= self.last_id:
            prepared_at = interval.start_at - preparation_lead(calendar.epoch_seconds)
            before = min(self.killed_at, interval.end_at) - max(prepared_at, self.began_at)
            if before < CLEAR and self.back_at >= interval.end_at - late:
                return False
            interval = calendar.after(interval)
        return True


async def play(system: CrashSystem, cell: Cell) -> Played:
    """Kill, start again, and wait until everything is up. If the machine was too slow for the cell, try
    again."""
    for _ in range(_TRIES):
        played = await _play_once(system, cell)
        if played.failure or cell.scene is Scene.GAP or played.is_fair(system.calendar):
            return played
    return replace(played, failure="the machine is too slow for a fair play")


async def _play_once(system: CrashSystem, cell: Cell) -> Played:
    reached = system.armed.with_suffix(".reached")
    reached.unlink(missing_ok=True)
    began_at, first_id, failure = datetime.now(UTC), system.running_id, ""
    killed_at = began_at
    try:
        await system.until_marked()
        began_at, first_id = datetime.now(UTC), system.running_id
        set_at = await system.play(cell.scene, cell.point)
        await wait_until(reached.exists, _REACHED_SECONDS)
        killed_at = set_at or datetime.now(UTC)
        await _bury_and_raise(system, cell)
        await system.all_ready()
    except (AssertionError, TimeoutError) as error:
        system.armed.unlink(missing_ok=True)
        failure = f"{type(error).__name__}: {error}"
    return Played(cell, first_id, system.running_id, began_at, killed_at, datetime.now(UTC), failure)


async def _bury_and_raise(system: CrashSystem, cell: Cell) -> None:
    await wait_until(lambda: any(not one.is_alive for one in system.schedulers.values()))
    victim = next(name for name, one in system.schedulers.items() if not one.is_alive)
    other = next(name for name in system.schedulers if name != victim)
    names = {VICTIM: victim, OTHER: other}
    returning = [names.get(name, name) for name in cell.company.returning]
    for name in returning:
        system.kill(name)
    await system.settle(returning)
    for name in returning:
        await system.bring_up(name)
        await asyncio.sleep(_BETWEEN_STARTS_SECONDS)


async def run_cells(system: CrashSystem, cells: Sequence[Cell], tell: Tell) -> list[Played]:
    """Play the cells one after the other, then wait for two more epochs, so that the last cell's epochs are
    completed."""
    played = []
    for cell in cells:
        done = await play(system, cell)
        played.append(done)
        tell(f"{done.first_id} - {done.last_id}  {cell}{'  FAILED ' + done.failure if done.failure else ''}")
    last = system.calendar.after(system.calendar.after(system.calendar.starting(system.running_id)))
    await wait_until(lambda: system.running_id > last.epoch_id, 5 * system.calendar.epoch_seconds)
    return played


async def observe(system: CrashSystem) -> Observations:
    """Return everything that clients, stream and database have of all epochs."""
    stream = await read_stream(system.servers)
    signer = parse_hotkey(system.servers.keys["bridge"]["ZIPCAST_SIGNERS"])
    trust = Trust(frozenset({signer}), LOCAL_NETWORK, DEFAULT_NETUID)
    return Observations(
        calendar=system.calendar,
        trust=trust,
        first_id=stream[0].envelope.epoch_id,
        last_id=stream[-1].envelope.epoch_id,
        subscribers=[listener.seen for listener in system.listeners],
        sdk=(),
        answers=(),
        stream=stream,
        record=await read_record(system.database),
        sealed=await read_seals(system.servers, trust, stream),
    )


def faults(whole: Observations, played: Played) -> Iterator[str]:
    """Return what is broken in the epochs of one cell."""
    if played.failure:
        yield played.failure
    seen = replace(
        whole,
        first_id=played.first_id,
        last_id=played.last_id,
        subscribers=[_within(one, played) for one in whole.subscribers],
    )
    rules = GAP_INVARIANTS if played.cell.scene is Scene.GAP else EPOCH_INVARIANTS
    for rule in rules:
        yield from rule(seen)


def _within(subscriber: Subscriber, played: Played) -> Subscriber:
    sessions = [
        replace(
            session,
            heard=[one for one in session.heard if played.first_id <= one.epoch_id <= played.last_id],
        )
        for session in subscriber.sessions
    ]
    return Subscriber(subscriber.name, sessions)


def gap_is_recorded(seen: Observations) -> Broken:
    """Return the faults of the rows of a gap. Each epoch needs one row; if the stream lacks the epoch, the
    row must say that it was missed, and must not contain anything invented."""
    held = {entry.envelope.epoch_id for entry in seen.judged_stream}
    rows = {row.epoch_id: row for row in seen.record}
    if all(epoch_id in held for epoch_id in seen.epoch_ids):
        yield "gap: no epoch was missed"
    for epoch_id in seen.epoch_ids:
        row = rows.get(epoch_id)
        if row is None:
            yield f"gap: {epoch_id} has no row"
        elif (row.status == "missed") is (epoch_id in held) or (row.status == "missed" and row.stored):
            yield f"gap: {epoch_id} is {row.status}, in the stream: {epoch_id in held}"


_COMMON = (
    invariants.subscribers_miss_nothing,
    invariants.nothing_comes_twice,
    invariants.nothing_comes_early,
    invariants.everybody_has_the_same,
)
EPOCH_INVARIANTS = (
    *_COMMON,
    invariants.stream_is_whole,
    invariants.record_is_whole,
    invariants.chain_holds,
)
GAP_INVARIANTS = (*_COMMON, gap_is_recorded)


async def run_matrix(
    cells: Sequence[Cell],
    folder: Path,
    tell: Tell,
    *,
    systems: int = SYSTEMS,
    epoch_seconds: int = EPOCH_SECONDS,
) -> dict[Cell, list[str]]:
    """Return what is broken in each cell. Several systems share the work."""
    calendar = EpochCalendar(epoch_seconds)

    async def one(number: int) -> dict[Cell, list[str]]:
        async with CrashSystem.running(folder / str(number), calendar) as system:
            played = await run_cells(system, cells[number::systems], tell)
            seen = await observe(system)
        return {done.cell: list(faults(seen, done)) for done in played}

    found: dict[Cell, list[str]] = {}
    for part in await asyncio.gather(*(one(number) for number in range(systems))):
        found |= part
    return {cell: found[cell] for cell in cells}


def page_with(page: str, lines: Sequence[str]) -> str:
    """Return the page with a new table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join((before + BEGIN, "", *lines, "", END + after))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crash_matrix")
    parser.add_argument("--write", type=Path, help="page to put the table into")
    parser.add_argument("--only", default="", help="cells whose name holds this text")
    parser.add_argument("--state", type=Path, help="folder to keep logs and data in")
    parser.add_argument("--systems", type=int, default=SYSTEMS, help="that share the work")
    parser.add_argument("--epoch-seconds", type=int, default=EPOCH_SECONDS, help="more on a busy machine")
    chosen = parser.parse_args(arguments)
    folder = chosen.state or Path(tempfile.mkdtemp(prefix="zipcast-crashes-"))
    cells = [cell for cell in all_cells() if chosen.only in str(cell)]
    say(f"{len(cells)} cells, state in {folder}")
    found = asyncio.run(
        run_matrix(cells, folder, say, systems=chosen.systems, epoch_seconds=chosen.epoch_seconds)
    )
    for cell, sentences in found.items():
        for sentence in sentences:
            say(f"BROKEN  {cell}: {sentence}")
    lines = table({cell: not sentences for cell, sentences in found.items()})
    say("\n".join(lines))
    if chosen.write is not None:
        chosen.write.write_text(page_with(chosen.write.read_text(), lines))
    return 1 if any(found.values()) else 0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
