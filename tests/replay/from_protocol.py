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


def replay(
    candidates: Sequence[Row], settings: Row, seed: str, start: str, version: int = 3, hiding: bool = False
) -> Row:
    """`zipcodes` is None where there is no selection."""
    start_at = datetime.fromisoformat(start)
    usable = [row for row in candidates if is_usable(row, settings, start_at)]
    pool = [row for row in usable if is_rested(row, settings, start_at)]
    resting = [row for row in usable if row not in pool]
    instants = sorted({datetime.fromisoformat(row["lastAssigned"]) for row in resting})
    lowest, highest = band(settings)
    hiding = hiding and version >= 2
    attempts: list[tuple[list[Row], list[Row]]] = []
    if hiding and version >= 3:
        attempts.append(([row for row in pool if row["expectedListings"] <= highest - lowest], []))
    attempts.append((pool, []))
    for instant in instants:
        let_back = [row for row in resting if instant == datetime.fromisoformat(row["lastAssigned"])]
        attempts.append((pool, [*attempts[-1][1], *let_back]))
    for rested, relaxed in attempts:
        ranked = rank([*rested, *relaxed], settings, bytes.fromhex(seed))
        shares = soft_shares([*rested, *relaxed], settings) if version >= 3 else None
        chosen = fit([one.row for one in ranked], settings, shares, bytes.fromhex(seed), hiding)
        if chosen is not None:
            break
    return {
        "pool": [one.numbers() for one in sorted(ranked, key=lambda one: one.row["zipcode"])],
        "ranked": [one.row["zipcode"] for one in ranked],
        **({} if shares is None else _of_states(shares, seed)),
        "zipcodes": None if chosen is None else [row["zipcode"] for row in chosen],
        "totalListings": None if chosen is None else sum(row["expectedListings"] for row in chosen),
        "relaxedCooldown": sorted(row["zipcode"] for row in relaxed),
    }


def _of_states(shares: dict[str, float], seed: str) -> Row:
    """As the page writes them."""
    states = sorted(shares)
    return {
        "softShares": {state: f"{shares[state]:.11e}" for state in states},
        "stateDraws": {state: state_draw(bytes.fromhex(seed), state).hex() for state in states},
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


# 4. Turns and 5. Look ahead


def band(settings: Row) -> tuple[int, int]:
    target, tolerance = settings["target_listings"], settings["tolerance_percent"]
    lowest = math.ceil(Fraction(target * (100 - tolerance), 100))
    return lowest, math.floor(Fraction(target * (100 + tolerance), 100))


def soft_shares(pool: Sequence[Row], settings: Row) -> dict[str, float]:
    by_state: dict[str, list[Fraction]] = {}
    for row in pool:
        by_state.setdefault(row["state"], []).append(Fraction(softened(row, settings)))
    overall = float(sum(sum(weights) for weights in by_state.values()))
    left = {
        state: math.pow(float(sum(weights)) / overall, 1 - settings["geographic_spread_factor"])
        for state, weights in by_state.items()
    }
    whole = float(sum(map(Fraction, left.values())))
    return {state: float(TWELVE_DIGITS.create_decimal_from_float(one / whole)) for state, one in left.items()}


def goal(taken: Sequence[Row], settings: Row, hiding: bool) -> int:
    """Where to stop, with so much taken: the target, or with decoys to hide what leaves each of them room."""
    lowest, highest = band(settings)
    counts = [row["expectedListings"] for row in taken if hiding]
    rooms = [lowest + count for count in counts if count <= highest - lowest]
    return max([settings["target_listings"], *rooms])


def total_of(rows: Sequence[Row]) -> int:
    return sum(row["expectedListings"] for row in rows)


def fit(
    ranked: Sequence[Row], settings: Row, shares: dict[str, float] | None, seed: bytes, hiding: bool
) -> list[Row] | None:
    if shares is None:
        return look_ahead(ranked, settings, hiding)
    taken = turns(ranked, settings, shares, seed, hiding)
    if total_of(taken) >= band(settings)[0]:
        return taken
    return look_ahead([*taken, *(row for row in ranked if row not in taken)], settings, hiding)


def state_draw(seed: bytes, state: str) -> bytes:
    return hmac.digest(seed, f"state:{state}".encode(), "sha256")[:8]


def turns(
    ranked: Sequence[Row], settings: Row, shares: dict[str, float], seed: bytes, hiding: bool
) -> list[Row]:
    lowest, highest = band(settings)
    left = list(ranked)
    taken: list[Row] = []

    def count(state: str) -> int:
        return len([row for row in taken if row["state"] == state])

    def time_of(state: str) -> tuple[float, str]:
        offset = ((int.from_bytes(state_draw(seed, state), "big") >> 11) + 0.5) / 2**53
        if state == ranked[0]["state"]:
            offset = 0.0
        return (count(state) + offset) / shares[state], state

    while total_of(taken) < goal(taken, settings, hiding):
        states = {row["state"] for row in left}
        entitled = {state for state in states if count(state) < shares[state] * (len(taken) + 1)}
        if not states or (not entitled and total_of(taken) >= lowest):
            break
        turn = min(entitled or states, key=time_of)
        first = next(row for row in left if row["state"] == turn)
        left.remove(first)
        if total_of([*taken, first]) <= highest:
            taken.append(first)
    return taken


def look_ahead(ordered: Sequence[Row], settings: Row, hiding: bool) -> list[Row] | None:
    lowest, highest = band(settings)
    later: list[set[int]] = [{0}]  # what those after a place can add, from the last up
    for row in reversed(ordered):
        more = {extra + row["expectedListings"] for extra in later[-1]}
        later.append({extra for extra in later[-1] | more if extra <= highest})
    later.reverse()
    chosen: list[Row] = []
    for place, row in enumerate(ordered, start=1):
        total = total_of(chosen)
        if total >= goal(chosen, settings, hiding):
            break
        if any(lowest <= total + row["expectedListings"] + extra <= highest for extra in later[place]):
            chosen.append(row)
    return chosen if lowest <= total_of(chosen) <= highest else None
