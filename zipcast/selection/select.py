"""Selects the zipcodes of an epoch. Pure: the result depends only on candidates, settings, draw key and
start.

eligibility.py decides which zipcodes are eligible, and which rules are relaxed if the pool cannot fill an
epoch. ranking.py has the weights and the draw, fitting.py fits the total to the target, seeds.py derives the
draw key, and honeypots.py handles honeypots. The rules are in docs/protocol.md, "Selection". They can be
implemented in any language, so every number here is part of the protocol.
"""

from collections.abc import Container, Iterable, Sequence
from datetime import datetime
from operator import attrgetter

from zipcast.protocol.calendar import as_utc
from zipcast.selection import fitting
from zipcast.selection.eligibility import hideable, relax, sort_candidates, total_listings
from zipcast.selection.model import Candidate, Selection, SelectionSettings
from zipcast.selection.ranking import rank


def select(
    candidates: Iterable[Candidate],
    settings: SelectionSettings,
    draw_key: bytes,
    start_at: datetime,
    *,
    honeypots: Container[str] | None = None,
) -> Selection:
    """Select the zipcodes of the epoch that starts at `start_at`. The result does not depend on the input
    order.

    If any subset of the eligible zipcodes has a total within tolerance, the result has one too. If none has,
    the age limit is relaxed by whole days; then zipcodes in cooldown are admitted, first those assigned
    longest ago. `honeypots` are the candidates with false counts, or None if the epoch must have none. If it
    is not None, zipcodes with more listings than a honeypot may have are excluded, unless nothing fits
    without them.

    Raises PoolTooSmallError if no subset of all zipcodes fits, and ValueError for a draw key that does not
    have 32 bytes, a naive `start_at`, or a zipcode given twice.
    """
    found = sort_candidates(candidates, settings, as_utc(start_at))
    age_days, relaxed = 0, list[Candidate]()
    pool = found.rested if honeypots is None else hideable(found.rested, settings)
    chosen = draw(pool, settings, draw_key, honeypots=honeypots)
    if not chosen and len(pool) < len(found.rested):
        pool = found.rested
        chosen = draw(pool, settings, draw_key, honeypots=honeypots)
    if not chosen:
        pool, age_days, relaxed = relax(found, settings)
        chosen = draw(pool, settings, draw_key, honeypots=honeypots)
    return Selection(
        zipcodes=chosen,
        total_listings=total_listings(chosen),
        relaxed_age_days=age_days,
        relaxed_cooldown=tuple(sorted(candidate.zipcode for candidate in relaxed)),
        pool=tuple(sorted(pool, key=attrgetter("zipcode"))),
    )


def draw(
    pool: Sequence[Candidate],
    settings: SelectionSettings,
    draw_key: bytes,
    *,
    honeypots: Container[str] | None = None,
) -> tuple[Candidate, ...]:
    """Return the zipcodes drawn from a pool of distinct eligible zipcodes, in the order of the draw.

    The result is empty if no subset has a total within tolerance. Raises ValueError unless the draw key has
    32 bytes.
    """
    ranking = rank(pool, settings, draw_key)
    if total_listings(pool) < settings.lowest_total:
        return ()
    return fitting.by_turns(ranking, settings, honeypots)
