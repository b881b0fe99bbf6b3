"""The zipcodes of one import as candidates of a selection."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.zipcode_import import load_pool
from zipcast.selection import Candidate, MarketTier


async def load_candidates(
    connection: AsyncConnection, import_id: int, last_assigned: Mapping[str, datetime]
) -> list[Candidate]:
    """As of that import; `last_assigned`: the start of the newest epoch that counts, by zipcode."""
    return [
        Candidate(
            zipcode=row.zipcode,
            state=row.state,
            city=row.city,
            county=row.county,
            market_tier=MarketTier(row.market_tier),
            geographic_region=row.geographic_region,
            expected_listings=row.recently_sold_listings,
            population=row.population,
            base_weight=row.base_weight,
            last_scraped_at=row.last_scraped_at,
            last_assigned_at=last_assigned.get(row.zipcode),
        )
        for row in await load_pool(connection, import_id)
    ]
