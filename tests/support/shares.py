"""Compares states and tiers of many selections with those of many independent draws."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

from tests.replay.documented import row_of, settings_document
from tests.support.expected import Difference, differences, epochs, states_of
from zipcast.selection.model import Candidate, SelectionSettings
from zipcast.selection.select import draw


def eligible(candidates: Sequence[Candidate], settings: SelectionSettings) -> list[Candidate]:
    """Return the candidates that can be drawn at all, ordered by zipcode."""
    states = dict(settings.state_priorities)
    listings = range(settings.min_zipcode_listings, settings.max_zipcode_listings + 1)
    pool = [one for one in candidates if one.state in states and one.expected_listings in listings]
    return sorted(pool, key=lambda one: one.zipcode)


def drawn_epochs(
    pool: Sequence[Candidate], settings: SelectionSettings, count: int
) -> list[tuple[Candidate, ...]]:
    drawn = [draw(pool, settings, hashlib.sha256(b"shares:%d" % number).digest()) for number in range(count)]
    assert all(drawn)
    return drawn


def above_their_share(
    pool: Sequence[Candidate], settings: SelectionSettings, drawn: Sequence[Sequence[Candidate]]
) -> list[tuple[str, int, int]]:
    """Return each case in which an epoch gave a state more than its share, rounded up to a whole zipcode: the
    state, the number of its zipcodes, and the number of all zipcodes of the epoch."""
    states = states_of([row_of(one) for one in pool], settings_document(settings))
    found = []
    for epoch in drawn:
        for state, count in Counter(one.state for one in epoch).items():
            if count > math.ceil(states[state].share * len(epoch)):
                found.append((state, count, len(epoch)))
    return found


def off_their_shares(
    pool: Sequence[Candidate], settings: SelectionSettings, drawn: Sequence[Sequence[Candidate]]
) -> dict[str, float]:
    """Return, by state, its part of all drawn zipcodes minus its share."""
    states = states_of([row_of(one) for one in pool], settings_document(settings))
    counts = Counter(one.state for epoch in drawn for one in epoch)
    return {name: counts[name] / counts.total() - state.share for name, state in states.items()}


def too_far_off(
    pool: Sequence[Candidate],
    settings: SelectionSettings,
    *,
    count: int,
    independent: int,
    expected_by: SelectionSettings | None = None,
) -> list[Difference]:
    """Return the differences in `count` epochs that chance does not explain. Each epoch is drawn from the
    whole pool. `expected_by` gives other rules for the expected values, to show that such a deviation is
    found."""
    drawn = drawn_epochs(pool, settings, count)
    rows = [row_of(one) for one in pool]
    model = list(epochs(rows, settings_document(expected_by or settings), independent, seed=1))
    found = []
    for ours, theirs in (("state", "state"), ("market_tier", "marketTier")):
        seen = [[str(getattr(one, ours)) for one in epoch] for epoch in drawn]
        expected = [[row[theirs] for row in epoch] for epoch in model]
        compared, limit = differences(seen, expected)
        found += [one for one in compared if abs(one.z) > limit]
    return found
