"""Makes candidates for a selection from the rows of an import or of a file."""

from datetime import datetime
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.zipcode_files.importing import load_pool
from zipcast.selection.model import Candidate, MarketTier


class ZipcodeFacts(Protocol):
    """The data of a zipcode in a row of the database or of a file."""

    @property
    def zipcode(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def city(self) -> str: ...
    @property
    def county(self) -> str: ...
    @property
    def market_tier(self) -> str: ...
    @property
    def geographic_region(self) -> str: ...
    @property
    def recently_sold_listings(self) -> int: ...
    @property
    def population(self) -> int | None: ...
    @property
    def last_scraped_at(self) -> datetime: ...


def as_candidate(
    row: ZipcodeFacts, *, base_weight: float = 1.0, last_assigned_at: datetime | None = None
) -> Candidate:
    """Return a row as a candidate. Raises ValueError, which names the field that breaks a rule."""
    return Candidate(
        zipcode=row.zipcode,
        state=row.state,
        city=row.city,
        county=row.county,
        market_tier=MarketTier(row.market_tier),
        geographic_region=row.geographic_region,
        expected_listings=row.recently_sold_listings,
        population=row.population,
        base_weight=base_weight,
        last_scraped_at=row.last_scraped_at,
        last_assigned_at=last_assigned_at,
    )


async def load_real_candidates(connection: AsyncConnection, import_id: int) -> list[Candidate]:
    """Return the active zipcodes of the import with their real counts, ordered by zipcode. Only schedulers
    may read these counts. Epochs are drawn from `published_zipcodes` instead."""
    return [as_candidate(row, base_weight=row.base_weight) for row in await load_pool(connection, import_id)]
