"""States and tiers of many selections beside those of many independent draws."""

import hashlib
from collections.abc import Sequence

from tests.replay.documented import row_of, settings_document
from tests.simulation.expected import Difference, differences, epochs
from zipcast.selection import Candidate, SelectionSettings, draw


def eligible(candidates: Sequence[Candidate], settings: SelectionSettings) -> list[Candidate]:
    """Those that can ever be drawn, by zipcode."""
    states = dict(settings.state_priorities)
    listings = range(settings.min_zipcode_listings, settings.max_zipcode_listings + 1)
    pool = [one for one in candidates if one.state in states and one.expected_listings in listings]
    return sorted(pool, key=lambda one: one.zipcode)


def too_far_off(
    pool: Sequence[Candidate],
    settings: SelectionSettings,
    *,
    count: int,
    independent: int,
    expected_by: SelectionSettings | None = None,
) -> list[Difference]:
    """What of `count` epochs, drawn from the whole pool each time, chance does not explain.

    `expected_by`: other rules for what is expected, to show that this would find them out."""
    drawn = [draw(pool, settings, hashlib.sha256(b"shares:%d" % number).digest()) for number in range(count)]
    assert all(drawn)
    rows = [row_of(one) for one in pool]
    model = list(epochs(rows, settings_document(expected_by or settings), independent, seed=1))
    found = []
    for ours, theirs in (("state", "state"), ("market_tier", "marketTier")):
        seen = [[str(getattr(one, ours)) for one in epoch] for epoch in drawn]
        expected = [[row[theirs] for row in epoch] for epoch in model]
        compared, limit = differences(seen, expected)
        found += [one for one in compared if abs(one.z) > limit]
    return found
