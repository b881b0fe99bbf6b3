"""Makes candidates for selections."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from zipcast.selection.model import Candidate, MarketTier

START_AT = datetime(2026, 11, 22, 4, tzinfo=UTC)

DAY = timedelta(days=1)

SEED = bytes(range(32))


def candidate(zipcode: str, expected_listings: int, **changes: Any) -> Candidate:
    fresh = Candidate(
        zipcode=zipcode,
        state="PA",
        city="Philadelphia",
        county="Philadelphia",
        market_tier=MarketTier.STANDARD,
        geographic_region="Northeast",
        expected_listings=expected_listings,
        population=1_000,
        base_weight=1.0,
        last_scraped_at=START_AT - DAY,
        last_assigned_at=None,
    )
    return replace(fresh, **changes)
