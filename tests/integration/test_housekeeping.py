"""Tests retention with the scheduler's rights."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, insert, select

from devstack.logins import login_url
from devstack.servers import Servers
from schedulers.retention import Housekeeping
from storage.database import retention
from storage.database.engine import open_engine
from storage.database.retention import Retention
from storage.database.tables import RequestRefusal
from zipcast.clock import SystemClock

RETENTION = Retention(epochs=timedelta(days=30), audit=timedelta(days=365), refusals=timedelta(days=30))


async def test_old_refusals_go_in_batches_and_recent_ones_stay(servers: Servers, database_url: str):
    now = datetime.now(UTC)
    old, recent = retention.BATCH + 1, 3
    rows = [
        {
            "refused_at": now - (RETENTION.refusals if n < old else timedelta()),
            "process": "responder",
            "verb": "epoch.current",
            "error": "bad_signature",
            "source": "nats",
            "request_id": str(n),
        }
        for n in range(old + recent)
    ]
    owner = open_engine(database_url, application_name="test")
    scheduler = open_engine(login_url(servers.state, database_url, "schedulers"), application_name="test")
    async with owner.begin() as connection:
        await connection.execute(insert(RequestRefusal), rows)
    await Housekeeping(scheduler, SystemClock(), RETENTION).tidy()
    async with owner.connect() as connection:
        left = (await connection.execute(select(func.count()).select_from(RequestRefusal))).scalar_one()
    await owner.dispose()
    await scheduler.dispose()
    assert left == recent
