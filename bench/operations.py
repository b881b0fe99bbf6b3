"""Lists every query of the processes on the epochs' tables, run with the processes' own code.

Add a line here for each new query of a request or of the scheduler's loop.
`tests/integration/test_query_plans.py` checks their plans.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import (
    admin_commands,
    epoch_changes,
    epoch_health,
    epoch_inputs,
    epochs,
    history,
    honeypots,
    retention,
    statistics,
)
from storage.database.issuances import FIND
from storage.database.submissions import STORE
from zipcast.protocol.calendar import EpochCalendar, format_epoch_id
from zipcast.protocol.verbs import Verb

HOUR = timedelta(hours=1)
Ask = Callable[[AsyncConnection, "Moment"], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Moment:
    """The times for the queries: now, an epoch that ended some hours ago, and one that ended long ago."""

    now: datetime
    running: str
    ended: str
    old: str
    half_way: datetime
    recent: tuple[str, ...]

    @classmethod
    def of(cls, epochs: int) -> "Moment":
        """Return the times for a database with this many four-hour epochs."""
        now = datetime.now(UTC)
        start = EpochCalendar(4 * 3600).at(now).start_at
        ids = [format_epoch_id(start - 4 * n * HOUR) for n in range(epochs - 1)]
        half_way = start - epochs // 2 * 4 * HOUR
        return cls(now, ids[0], ids[1], ids[-10], half_way, tuple(ids[1:7]))


@dataclass(frozen=True, slots=True)
class Operation:
    """One query. `process` names the login that runs it."""

    name: str
    process: str
    ask: Ask


async def _report(connection: AsyncConnection, moment: Moment) -> object:
    at = moment.now
    row = (moment.ended, "bench", "COMPLETED", at, at, False, 1, True, at, "", "r", "[]", "{}", at, 1)
    return await connection.exec_driver_sql(STORE, (*([value] for value in row), "100"))


async def _found(connection: AsyncConnection, moment: Moment) -> object:
    """Read the row of a repeated request. Writing a new row reads only its key."""
    return await connection.exec_driver_sql(FIND, (moment.now.date(), ["bench"], ["btauth:1"]))


async def _override(connection: AsyncConnection, moment: Moment) -> object:
    return await admin_commands.overridden_target(connection, moment.running, Verb.TARGET_OVERRIDE)


async def _queue(connection: AsyncConnection, _: Moment) -> object:
    command = {
        "hotkey": "h",
        "command": Verb.EPOCH_GENERATE,
        "arguments": {},
        "request_id": "r",
        "source": "n",
    }
    return await admin_commands.queue(connection, command_id=uuid4(), **command)  # type: ignore[arg-type]


R, B, S = "responder", "http_bridge", "schedulers"
OPERATIONS = (
    Operation("current", R, lambda c, m: epochs.running_epoch(c)),
    Operation("current", B, lambda c, m: epochs.running_epoch(c)),
    Operation("epoch by id", R, lambda c, m: epochs.started_epoch(c, m.ended)),
    Operation("epoch by id, years old", R, lambda c, m: epochs.started_epoch(c, m.old)),
    Operation("epoch by id", B, lambda c, m: epochs.started_epoch(c, m.ended)),
    Operation("what is revealed of an epoch", B, lambda c, m: honeypots.revelation(c, m.ended)),
    Operation("status report", R, _report),
    Operation("credential's row", R, _found),
    Operation("admin command queued", R, _queue),
    Operation("newest admin commands", R, lambda c, m: admin_commands.newest(c, 50)),
    Operation("history, newest page", B, lambda c, m: history.ended_epochs(c, None, 20)),
    Operation("history, page half way", B, lambda c, m: history.ended_epochs(c, m.half_way, 20)),
    Operation("timings of the last epochs", B, lambda c, m: history.ended_timings(c, 100)),
    Operation("history, one epoch", B, lambda c, m: history.ended_epoch(c, m.old)),
    Operation("stats", B, lambda c, m: statistics.read_statistics(c)),
    Operation("health", B, lambda c, m: epoch_health.epochs_now(c)),
    Operation("timeline", S, lambda c, m: epochs.timeline(c, m.now)),
    Operation("due", S, lambda c, m: epochs.due_unpublished(c, m.now)),
    Operation("completing", S, lambda c, m: epoch_changes.complete_ended(c)),
    Operation("epoch before", S, lambda c, m: epochs.epoch_before(c, m.now)),
    Operation("epochs in cooldown", S, lambda c, m: epochs.assigned_epoch_ids(c, m.now - 24 * HOUR, m.now)),
    Operation("cooldown scan", S, lambda c, m: epochs.last_assigned(c, m.recent)),
    Operation("committed inputs", S, lambda c, m: epoch_inputs.committed_inputs(c, m.ended)),
    Operation("newest commitment", S, lambda c, m: epoch_inputs.newest_committed(c)),
    Operation("newest end", S, lambda c, m: epochs.newest_end(c, m.now)),
    Operation("overridden target", S, _override),
    Operation("next admin command", S, lambda c, m: admin_commands.take(c)),
    Operation("archive: 100 epochs", S, lambda c, m: retention.archive_epochs(c, m.now - 720 * HOUR)),
    Operation("archive: what is needed", S, lambda c, m: retention.needed(c, m.now - 720 * HOUR)),
    Operation("archive: one batch", S, lambda c, m: retention.drop_assignments(c, m.recent[-1])),
    Operation("reports: one batch", S, lambda c, m: retention.drop_reports(c, m.recent[-1])),
    Operation("audit: one batch", S, lambda c, m: retention.drop_audit(c, m.now - 8760 * HOUR)),
    Operation("revisions: one batch", S, lambda c, m: retention.drop_revisions(c, 1)),
    Operation("refusals: one batch", S, lambda c, m: retention.drop_refusals(c, m.now - 720 * HOUR)),
)
