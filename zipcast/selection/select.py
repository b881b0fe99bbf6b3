"""Selects the zipcodes of an epoch: a pure function of candidates, settings, draw key and start.

Who is eligible, and what is relaxed when the pool cannot fill an epoch, is in eligibility.py; weights and the
draw are in ranking.py, fitting the total to the target in fitting.py, the draw key in seeds.py, honeypots in
honeypots.py. The rules are those of docs/protocol.md, "Selection": any language can replay them, so every
number here is part of the protocol.
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
    """Select the zipcodes of the epoch that starts at `start_at`, the same for any input order.

    If any subset of the eligible zipcodes adds up to a total within tolerance, the result does. If none
    does, the limit of data's age moves back by whole days, and then zipcodes still in cooldown are let back,
    those assigned longest ago first. `honeypots`: the candidates whose counts are false, None if there are to
    be none; then zipcodes with more listings than a honeypot may have are left out if anything fits without
    them.

    Raises PoolTooSmallError if no subset of all of them fits; ValueError for a draw key that is not 32 bytes,
    a naive `start_at`, or a zipcode given twice.
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
    """Return the zipcodes drawn from a pool of distinct eligible ones, in the order of the draw.

    Empty if none of its subsets totals within tolerance. Raises ValueError unless the draw key has 32 bytes.
    """
    ranking = rank(pool, settings, draw_key)
    if total_listings(pool) < settings.lowest_total:
        return ()
    return fitting.by_turns(ranking, settings, honeypots)
