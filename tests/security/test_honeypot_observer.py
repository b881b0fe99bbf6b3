"""Tests an observer of all public numbers who wants to know which epochs have honeypots."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from devstack.logins import login_url
from storage.database.data_age import read_data_now
from storage.database.engine import open_engine
from storage.database.statistics import read_statistics
from storage.database.tables import EpochHoneypots
from storage.zipcode_files.importing import import_zipcodes
from tests.support.scheduling import completed_epochs, database_with_sample, preparer
from zipcast.selection.honeypots import HoneypotSettings

FIRST = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=12)


async def test_no_public_number_moves_with_a_honeypot(servers, database_url: str, tmp_path):
    """Read the numbers with the bridge's own login, after each of ten epochs, of which some have
    honeypots."""
    owner = await database_with_sample(database_url)
    bridge = open_engine(login_url(servers.state, database_url, "http_bridge"), application_name="test")
    of = replace(preparer(owner), honeypots=HoneypotSettings(probability=0.6))

    async def public() -> tuple[object, ...]:
        async with bridge.connect() as connection:
            counts = (await read_statistics(connection)).zipcodes
            data = await read_data_now(connection)
        assert data is not None
        return counts, data.outlook.zipcodes, data.outlook.too_old

    seen, ids = [], []
    for number in range(10):
        ids += await completed_epochs(owner, of, FIRST + timedelta(hours=number), 1)
        seen.append(await public())
    async with owner.connect() as connection:
        rows = await connection.execute(select(EpochHoneypots.epoch_id, EpochHoneypots.content))
        with_honeypots = {
            epoch_id for epoch_id, content in rows if not all(one["discarded"] for one in json.loads(content))
        }
    assert 0 < len(with_honeypots) < 10
    assert all(one == seen[0] for one in seen)
    more = tmp_path / "zipcodes.csv"
    more.write_text("zipcode,state,recently_sold_listings\n19099,PA,900\n")
    await import_zipcodes(owner, more, now=datetime.now(UTC))
    await completed_epochs(owner, of, FIRST + timedelta(hours=10), 2)
    assert await public() != seen[-1]
    await bridge.dispose()
    await owner.dispose()
