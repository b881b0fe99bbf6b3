"""Draws an epoch's zipcodes so that honeypots among them stay hidden. Pure.

A honeypot is a zipcode with few listings whose published count is false. It is weighted, drawn and put into
cooldown like every other zipcode, so nothing public distinguishes it. false_counts.py decides at each import
which zipcodes are honeypots. This module decides which draws are discarded, and computes the commitment to a
zipcode's real count. The rules are in docs/protocol.md, "Honeypots"; every number here is part of the
protocol.
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
"""After this many discarded draws, the honeypots that they drew are excluded, and a draw without honeypots is
accepted."""


@dataclass(frozen=True, slots=True)
class HoneypotSettings:
    """The settings of honeypots. Raises ValueError naming the field and its rule.

    `probability` is the probability that an epoch has honeypots, from 0 (never) to 1. Only zipcodes with
    fewer listings than `threshold` can be honeypots."""

    probability: float = 0.3
    threshold: int = 50

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError("probability must be between 0 and 1")
        if self.threshold < 1:
            raise ValueError("threshold must be at least 1")


@dataclass(frozen=True, slots=True)
class Honeypot:
    """A honeypot that was drawn, with its real and its published listings."""

    zipcode: str
    real_listings: int
    published_listings: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Everything that follows from an epoch's inputs and draw key.

    `zipcodes` are those to publish, ordered by zipcode, and `honeypots` the honeypots among them. `discarded`
    are the honeypots that only discarded draws had. `selection` is the accepted draw; `attempt` is the number
    of discarded draws."""

    zipcodes: tuple[Candidate, ...]
    honeypots: tuple[Honeypot, ...]
    discarded: tuple[Honeypot, ...]
    attempt: int
    selection: Selection

    @property
    def published_total(self) -> int:
        """Return the sum of the published counts."""
        return self.selection.total_listings

    @property
    def true_total(self) -> int:
        """Return the sum of the real counts of the same zipcodes."""
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
    """Choose the zipcodes of the epoch that starts at `start_at`. The result does not depend on the input
    order.

    `candidates` have their published counts. `real_listings` has the real counts of all honeypots, or only of
    those that were drawn, which gives the same result. `probability` is the probability that an epoch has a
    honeypot. Raises the errors of `select`.

    A draw with two or more honeypots, or with a true total outside the tolerance, is discarded. That alone
    would make honeypots rarer than other zipcodes. A draw without honeypots is therefore also discarded, with
    the chance `probability`. If a draw has `probability` honeypots on average, independently of each other,
    then every zipcode of a draw is published with the same chance, whether it is a honeypot or not.
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
    """Return the commitment to a zipcode's real count, in hex. The salt is needed to check it."""
    kind = "honeypot" if is_honeypot else "real"
    return hmac.digest(salt, f"{zipcode}:{real_listings}:{kind}".encode(), "sha256").hex()


def _true_total(selection: Selection, honeypots: Iterable[Honeypot]) -> int:
    surplus = sum(one.published_listings - one.real_listings for one in honeypots)
    return selection.total_listings - surplus
