"""Selection a second time, written from docs/protocol.md alone: no line of it is zipcast's.

Plain and slow on purpose. Takes and returns what the vectors of that page hold. Standard library only.
"""

import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

Row = dict[str, Any]
TWELVE_DIGITS = Context(prec=12)


@dataclass(frozen=True)
class Ranked:
    """One zipcode of the pool with its numbers of steps 2 and 3."""

    row: Row
    weight: float
    draw: bytes
    key: Decimal

    def numbers(self) -> Row:
        """As the page writes them."""
        return {
            "zipcode": self.row["zipcode"],
            "weight": f"{TWELVE_DIGITS.create_decimal_from_float(self.weight):.11e}",
            "draw": self.draw.hex(),
            "key": f"{self.key:.11e}",
        }


def replay(candidates: Sequence[Row], settings: Row, seed: str, start: str) -> Row:
    """`zipcodes` is None where there is no selection."""
    start_at = datetime.fromisoformat(start)
    usable = [row for row in candidates if is_usable(row, settings, start_at)]
    pool = [row for row in usable if is_rested(row, settings, start_at)]
    resting = [row for row in usable if row not in pool]
    instants = sorted({datetime.fromisoformat(row["lastAssigned"]) for row in resting})
    relaxed: list[Row] = []
    for instant in (None, *instants):
        let_back = [row for row in resting if instant == datetime.fromisoformat(row["lastAssigned"])]
        relaxed += let_back
        ranked = rank([*pool, *relaxed], settings, bytes.fromhex(seed))
        chosen = fit([one.row for one in ranked], settings)
        if chosen is not None:
            break
    return {
        "pool": [one.numbers() for one in sorted(ranked, key=lambda one: one.row["zipcode"])],
        "ranked": [one.row["zipcode"] for one in ranked],
        "zipcodes": None if chosen is None else [row["zipcode"] for row in chosen],
        "totalListings": None if chosen is None else sum(row["expectedListings"] for row in chosen),
        "relaxedCooldown": sorted(row["zipcode"] for row in relaxed),
    }


# 1. Pool


def is_usable(row: Row, settings: Row, start_at: datetime) -> bool:
    age = start_at - datetime.fromisoformat(row["lastScraped"])
    return (
        row["state"] in dict(settings["state_priorities"])
        and settings["min_zipcode_listings"] <= row["expectedListings"] <= settings["max_zipcode_listings"]
        and age <= timedelta(seconds=settings["max_data_age"])
    )


def is_rested(row: Row, settings: Row, start_at: datetime) -> bool:
    if row["lastAssigned"] is None:
        return True
    rested = start_at - datetime.fromisoformat(row["lastAssigned"])
    return rested >= timedelta(seconds=settings["cooldown"])


# 2. Weight and 3. Rank


def softened(row: Row, settings: Row) -> float:
    listings = row["expectedListings"]
    plain = listings * math.log((row["population"] or 0) + listings)
    plain = plain * dict(settings["tier_weights"])[row["marketTier"]]
    plain = plain * (1 / dict(settings["state_priorities"])[row["state"]])
    return math.pow(plain * row["baseWeight"], 1 - settings["selection_randomness"])


def rank(pool: Sequence[Row], settings: Row, seed: bytes) -> list[Ranked]:
    weights = [softened(row, settings) for row in pool]
    # Fractions add exactly; float() rounds once.
    overall = float(sum(map(Fraction, weights)))
    ranked = []
    for row, weight in zip(pool, weights, strict=True):
        of_state = [one for other, one in zip(pool, weights, strict=True) if other["state"] == row["state"]]
        share = float(sum(map(Fraction, of_state))) / overall
        spread = weight / math.pow(share, settings["geographic_spread_factor"])
        draw = hmac.digest(seed, f"draw:{row['zipcode']}".encode(), "sha256")[:8]
        u = ((int.from_bytes(draw, "big") >> 11) + 0.5) / 2**53
        key = TWELVE_DIGITS.create_decimal_from_float(-math.log(u) / spread)
        ranked.append(Ranked(row, spread, draw, key))
    return sorted(ranked, key=lambda one: (one.key, one.row["zipcode"]))


# 4. Fit


def fit(ranked: Sequence[Row], settings: Row) -> list[Row] | None:
    target, tolerance = settings["target_listings"], settings["tolerance_percent"]
    lowest = math.ceil(Fraction(target * (100 - tolerance), 100))
    highest = math.floor(Fraction(target * (100 + tolerance), 100))
    later: list[set[int]] = [{0}]  # what the ranks after a place can add, from the last rank up
    for row in reversed(ranked):
        more = {extra + row["expectedListings"] for extra in later[-1]}
        later.append({extra for extra in later[-1] | more if extra <= highest})
    later.reverse()
    chosen, total = [], 0
    for place, row in enumerate(ranked, start=1):
        if total >= target:
            break
        taken = total + row["expectedListings"]
        if any(lowest <= taken + extra <= highest for extra in later[place]):
            chosen.append(row)
            total = taken
    return chosen if lowest <= total <= highest else None
