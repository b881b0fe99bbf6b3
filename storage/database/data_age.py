"""Reads how old the zipcode data is from which epochs are drawn."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.clock import RECORD_NOW
from storage.database.epoch_inputs import started_inputs
from storage.database.tables import Epoch, PublishedZipcode
from zipcast.selection.committed_inputs import settings_of
from zipcast.selection.data_age import DataGroup, DataOutlook, outlook
from zipcast.selection.model import SelectionSettings


@dataclass(frozen=True, slots=True)
class DataNow:
    """The outlook for the zipcode data at `now`, by PostgreSQL's clock. `relaxed_age_days` is the number of
    days by which the newest epoch exceeded the age limit."""

    now: datetime
    outlook: DataOutlook
    relaxed_age_days: int

    def fault(self) -> str | None:
        """Return what is wrong with the data and what to do, or None."""
        return self.outlook.fault(self.now, self.relaxed_age_days)

    def note(self) -> str:
        """Return the numbers in one line."""
        return self.outlook.note(self.now)


async def read_data_now(connection: AsyncConnection) -> DataNow | None:
    """Return the outlook of the newest published zipcodes with the rules of the newest epoch that has
    started, or None before the first epoch."""
    columns = (func.clock_timestamp(), Epoch.epoch_id, Epoch.start_at, Epoch.end_at, Epoch.relaxed_age_days)
    started = select(*columns).where(Epoch.start_at <= RECORD_NOW, Epoch.message_sha256.is_not(None))
    row = (await connection.execute(started.order_by(Epoch.start_at.desc()).limit(1))).first()
    stored = None if row is None else await started_inputs(connection, row[1])
    if row is None or stored is None:
        return None
    now, _, start_at, end_at, relaxed_age_days = row
    settings = settings_of(stored)
    groups = await _groups(connection, settings)
    return DataNow(now, outlook(groups, settings, end_at - start_at, now), relaxed_age_days)


async def _groups(connection: AsyncConnection, settings: SelectionSettings) -> list[DataGroup]:
    newest = select(func.max(PublishedZipcode.import_id)).scalar_subquery()
    query = (
        select(PublishedZipcode.last_scraped_at, func.count(), func.sum(PublishedZipcode.expected_listings))
        .where(
            PublishedZipcode.import_id == newest,
            PublishedZipcode.state.in_([state for state, _ in settings.state_priorities]),
            PublishedZipcode.expected_listings.between(
                settings.min_zipcode_listings, settings.max_zipcode_listings
            ),
        )
        .group_by(PublishedZipcode.last_scraped_at)
    )
    return [DataGroup(at, count, int(listings)) for at, count, listings in await connection.execute(query)]
