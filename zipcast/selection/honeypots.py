"""Draws an epoch's zipcodes so that honeypots among them stay hidden: a pure function, as the selection is.

A honeypot is an ordinary candidate whose published count is false: it has few listings in truth. It is
weighed, drawn and rested like every other, so nothing public tells it apart. Which zipcodes are honeypots,
and what is published of them, is decided at each import (false_counts.py). This module decides which draws
are discarded, and how a zipcode's real count is committed to. The rules are those of docs/protocol.md,
"Honeypots"; every number here is part of the protocol.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from operator import attrgetter

from zipcast.selection.model import Candidate, Selection, SelectionSettings
from zipcast.selection.ranking import draw_number
from zipcast.selection.select import select

ATTEMPTS_WITH_ALL = 8
"""After so many discarded draws, the honeypots that they drew take part no longer, and a draw without any
counts."""


@dataclass(frozen=True, slots=True)
class HoneypotSettings:
    """The settings of honeypots. Raises ValueError that names the field and its rule.

    `probability`, from 0 (never) to 1: of an epoch with honeypots. Zipcodes with fewer listings than
    `threshold` may be honeypots."""

    probability: float = 0.3
    threshold: int = 50

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError("probability must be between 0 and 1")
        if self.threshold < 1:
            raise ValueError("threshold must be at least 1")


@dataclass(frozen=True, slots=True)
class Honeypot:
    """A honeypot that was drawn: its real listings, and those that were published."""

    zipcode: str
    real_listings: int
    published_listings: int


@dataclass(frozen=True, slots=True)
class Choice:
    """All that an epoch's inputs and draw key decide.

    `zipcodes` are those to publish, by zipcode. `honeypots` are those among them, `discarded` those that only
    discarded draws had. `selection` is the draw that counts; `attempt` counts the discarded ones."""

    zipcodes: tuple[Candidate, ...]
    honeypots: tuple[Honeypot, ...]
    discarded: tuple[Honeypot, ...]
    attempt: int
    selection: Selection

    @property
    def published_total(self) -> int:
        """The sum of the published counts."""
        return self.selection.total_listings

    @property
    def true_total(self) -> int:
        """The sum of the real counts of the same zipcodes."""
        return _true_total(self.selection, self.honeypots)


def choose(
    candidates: Iterable[Candidate],
    real_listings: Mapping[str, int],
    settings: SelectionSettings,
    draw_key: bytes,
    start_at: datetime,
    *,
    probability: float,
) -> Choice:
    """Choose the zipcodes of the epoch that starts at `start_at`, the same for any input order.

    `candidates` have their published counts; `real_listings` has the real ones of honeypots: of all, or of
    all that were drawn, which leads to the same. `probability` is that of an epoch with a honeypot. Raises
    what `select` raises.

    A draw with two honeypots or more, or with a true total outside the tolerance, is discarded. That alone
    would make honeypots rarer than other zipcodes, so a draw without any is discarded with `probability`. If
    honeypots come into draws independently, `probability` of them into each on average, then a zipcode stays
    with the same chance, whether it is a honeypot or real.
    """
    candidates = tuple(candidates)
    discarded: dict[str, Honeypot] = {}
    for attempt in count():
        hiding = attempt < ATTEMPTS_WITH_ALL
        pool = candidates if hiding else tuple(one for one in candidates if one.zipcode not in discarded)
        key = attempt_key(draw_key, attempt)
        selection = select(pool, settings, key, start_at, honeypots=real_listings if probability else None)
        zipcodes = tuple(sorted(selection.zipcodes, key=attrgetter("zipcode")))
        honeypots = tuple(
            Honeypot(one.zipcode, real_listings[one.zipcode], one.expected_listings)
            for one in zipcodes
            if one.zipcode in real_listings
        )
        true_total = _true_total(selection, honeypots)
        if honeypots:
            counts = len(honeypots) == 1 and probability > 0
        else:
            counts = not hiding or draw_number(key, "without honeypots") > probability
        if counts and settings.lowest_total <= true_total <= settings.highest_total:
            break
        discarded |= {one.zipcode: one for one in honeypots}
    chosen = {one.zipcode for one in honeypots}
    return Choice(
        zipcodes=zipcodes,
        honeypots=honeypots,
        discarded=tuple(discarded[zipcode] for zipcode in sorted(discarded) if zipcode not in chosen),
        attempt=attempt,
        selection=selection,
    )


def attempt_key(draw_key: bytes, attempt: int) -> bytes:
    """Return the key of one draw of an epoch, the first being number 0."""
    return hmac.digest(draw_key, f"attempt:{attempt}".encode(), "sha256")


def commitment(zipcode: str, real_listings: int, *, is_honeypot: bool, salt: bytes) -> str:
    """Return what the pool says of a zipcode's real count, in hex. The salt opens it."""
    kind = "honeypot" if is_honeypot else "real"
    return hmac.digest(salt, f"{zipcode}:{real_listings}:{kind}".encode(), "sha256").hex()


def _true_total(selection: Selection, honeypots: Iterable[Honeypot]) -> int:
    surplus = sum(one.published_listings - one.real_listings for one in honeypots)
    return selection.total_listings - surplus
