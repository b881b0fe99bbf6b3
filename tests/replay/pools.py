"""Makes pools of candidates from a name, the same with every Python. Uses only the standard library."""

import hashlib
from datetime import UTC, datetime, timedelta

from zipcast.selection.model import Candidate, MarketTier

START_AT = datetime(2026, 11, 22, 4, tzinfo=UTC)
STATES = ("PA", "NJ", "NY", "DE", "MD", "TX")


def pool(name: str, size: int, *, alike: bool = False) -> list[Candidate]:
    """Return a pool. With `alike`, all candidates have one weight and state, so that only the draw
    decides."""
    return [_candidate(f"{name}:{number}", f"{number:05d}", alike) for number in range(size)]


def _candidate(key: str, zipcode: str, alike: bool) -> Candidate:
    drawn = hashlib.sha256(key.encode()).digest()
    numbers = [int.from_bytes(drawn[place : place + 4], "big") for place in range(0, 32, 4)]
    population, epochs_ago = numbers[2] % 90_000, numbers[4] % 16
    return Candidate(
        zipcode=zipcode,
        state="PA" if alike else STATES[numbers[0] % len(STATES)],
        city="Springfield",
        county="Example",
        market_tier=MarketTier.STANDARD if alike else tuple(MarketTier)[numbers[1] % 3],
        geographic_region="EAST",
        expected_listings=700 if alike else 150 + numbers[3] % 3_000,
        population=None if alike or population < 9_000 else population,
        base_weight=1.0 if alike or numbers[5] % 4 else numbers[5] % 5_000 / 1_000 + 0.1,
        last_scraped_at=START_AT - timedelta(days=numbers[6] % 32),
        last_assigned_at=None if epochs_ago > 8 else START_AT - timedelta(hours=4 * (epochs_ago + 1)),
    )
