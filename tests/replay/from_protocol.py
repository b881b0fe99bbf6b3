"""A second implementation of selection and its use of the beacon, written from docs/protocol.md alone,
without code of zipcast.

It is plain and slow on purpose, and uses only the standard library. Functions take and return the values
of the test vectors on that page.
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
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Ranked:
    """One zipcode of the pool with its numbers from steps 2 and 3."""

    row: Row
    weight: float
    draw: bytes
    key: Decimal

    def numbers(self) -> Row:
        """Return the numbers in the notation of the page."""
        return {
            "zipcode": self.row["zipcode"],
            "weight": f"{rounded(self.weight):.11e}",
            "draw": self.draw.hex(),
            "key": f"{self.key:.11e}",
        }


def replay(
    candidates: Sequence[Row],
    settings: Row,
    draw_key: str,
    start: str,
    honeypots: Sequence[str] | None = None,
) -> Row:
    """Do steps 1 to 6. With `honeypots` None, no honeypots are hidden. `zipcodes` is None if there is no
    selection."""
    start_at = datetime.fromisoformat(start)
    key = bytes.fromhex(draw_key)
    usable = [row for row in candidates if may_be_drawn(row, settings)]
    rested = [row for row in usable if is_rested(row, settings, start_at)]
    fresh = [row for row in rested if days_too_old(row, settings, start_at) <= 0]
    old = [row for row in rested if row not in fresh]
    cooling = [row for row in usable if row not in rested]
    attempts: list[tuple[list[Row], int, list[Row]]] = []
    if honeypots is not None:
        attempts.append(([row for row in fresh if row["expectedListings"] <= most_false(settings)], 0, []))
    attempts.append((fresh, 0, []))
    days = sorted({days_too_old(row, settings, start_at) for row in old})
    for day in days:
        pool = fresh + [row for row in old if days_too_old(row, settings, start_at) <= day]
        if day == days[-1] or total_of(pool) >= 3 * settings["target_listings"]:
            attempts.append((pool, day, []))
    let_back: list[Row] = []
    for instant in sorted({datetime.fromisoformat(row["lastAssigned"]) for row in cooling}):
        let_back += [row for row in cooling if instant == datetime.fromisoformat(row["lastAssigned"])]
        attempts.append((fresh + old + let_back, days[-1] if days else 0, list(let_back)))
    tried = iter(attempts)
    chosen = None
    while chosen is None and (attempt := next(tried, None)) is not None:
        pool, day, relaxed = attempt
        ranked = rank(pool, settings, key)
        chosen = fit([one.row for one in ranked], settings, key, honeypots)
    shares = shares_of(ranked, settings)
    return {
        "pool": [one.numbers() for one in sorted(ranked, key=lambda one: one.row["zipcode"])],
        "ranked": [one.row["zipcode"] for one in ranked],
        "shares": {state: f"{shares[state]:.11e}" for state in sorted(shares)},
        "stateDraws": {state: draw_bytes(key, f"state:{state}").hex() for state in sorted(shares)},
        "firstDraws": {state: draw_bytes(key, f"first:{state}").hex() for state in sorted(shares)},
        "zipcodes": None if chosen is None else [row["zipcode"] for row in chosen],
        "totalListings": None if chosen is None else total_of(chosen),
        "relaxedAgeDays": day,
        "relaxedCooldown": sorted(row["zipcode"] for row in relaxed),
    }


# Beacon: the rounds, and the key of the draw


def rounds(network: str, start: str, previous_start: str, epoch_seconds: int) -> Row:
    """Return the draw round, and the fallback, which falls into the previous epoch. That epoch ends at
    `start`."""
    start_at, previous_at = datetime.fromisoformat(start), datetime.fromisoformat(previous_start)
    ahead_ms = min(300_000, epoch_seconds * 1000 // 2)
    lead_ms = min(90_000, ahead_ms * 3 // 5)
    middle = previous_at + (start_at - previous_at) / 2
    return {
        "round": last_round(network, start_at - timedelta(milliseconds=lead_ms), 0),
        "fallbackRound": last_round(network, middle, 2),
        "leadMilliseconds": lead_ms,
    }


def last_round(network: str, instant: datetime, purpose: int) -> int:
    milliseconds = (instant - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) // timedelta(
        milliseconds=1
    )
    if network == "local":
        return 3 * milliseconds + purpose
    return (milliseconds - 1692803367 * 1000) // 3000 + 1


def signature_bytes(signature: str) -> bytes | None:
    """Return the 48 bytes that are hashed, or None if the text is not 96 lower-case hex digits."""
    if len(signature) != 96 or set(signature) - set("0123456789abcdef"):
        return None
    return bytes.fromhex(signature)


def draw_seed(seed: str, beacon: Row | None) -> str:
    if beacon is None:
        return hmac.digest(bytes.fromhex(seed), b"no beacon", "sha256").hex()
    signature = signature_bytes(beacon["signature"])
    assert signature is not None
    mixed = beacon["chain"].encode() + beacon["round"].to_bytes(8, "big") + signature
    return hmac.digest(bytes.fromhex(seed), mixed, "sha256").hex()


def nonce(draw_seed: str, epoch_id: str, start_timestamp: int, zipcodes_hash: str) -> str:
    text = f"nonce:{epoch_id}:{start_timestamp}:{zipcodes_hash}"
    return hmac.digest(bytes.fromhex(draw_seed), text.encode(), "sha256").hex()


def choose(
    candidates: Sequence[Row],
    real_listings: dict[str, int],
    settings: Row,
    draw_key: str,
    start: str,
    probability: float,
) -> Row:
    """Make the attempts of section "Honeypots" until one counts, and return it. `honeypots` are the honeypots
    of that attempt."""
    lowest, highest = band(settings)
    published = {row["zipcode"]: row["expectedListings"] for row in candidates}
    discarded: set[str] = set()
    attempt = 0
    while True:
        key = hmac.digest(bytes.fromhex(draw_key), f"attempt:{attempt}".encode(), "sha256").hex()
        left = [row for row in candidates if attempt < 8 or row["zipcode"] not in discarded]
        found = replay(left, settings, key, start, list(real_listings) if probability else None)
        if found["zipcodes"] is None:
            return {"attempt": attempt, "zipcodes": None}
        honeypots = sorted(zipcode for zipcode in found["zipcodes"] if zipcode in real_listings)
        surplus = sum(published[zipcode] - real_listings[zipcode] for zipcode in honeypots)
        true_total = found["totalListings"] - surplus
        if honeypots:
            counts = len(honeypots) == 1 and probability > 0
        else:
            counts = attempt >= 8 or draw(bytes.fromhex(key), "without honeypots") > probability
        if counts and lowest <= true_total <= highest:
            return {
                "attempt": attempt,
                "zipcodes": sorted(found["zipcodes"]),
                "publishedTotal": found["totalListings"],
                "trueTotal": true_total,
                "honeypots": honeypots,
                "discarded": sorted(discarded - set(honeypots)),
            }
        discarded |= set(honeypots)
        attempt += 1


def draw_bytes(key: bytes, label: str) -> bytes:
    return hmac.digest(key, label.encode(), "sha256")[:8]


def draw(key: bytes, label: str) -> float:
    return ((int.from_bytes(draw_bytes(key, label), "big") >> 11) + 0.5) / 2**53


def rounded(number: float) -> Decimal:
    return TWELVE_DIGITS.create_decimal_from_float(number)


# 1. Pool


def may_be_drawn(row: Row, settings: Row) -> bool:
    listings = row["expectedListings"]
    in_limits = settings["min_zipcode_listings"] <= listings <= settings["max_zipcode_listings"]
    return in_limits and row["state"] in dict(settings["state_priorities"])


def days_too_old(row: Row, settings: Row, start_at: datetime) -> int:
    """Round up."""
    age = start_at - datetime.fromisoformat(row["lastScraped"])
    return -((timedelta(seconds=settings["max_data_age"]) - age) // DAY)


def is_rested(row: Row, settings: Row, start_at: datetime) -> bool:
    if row["lastAssigned"] is None:
        return True
    rested = start_at - datetime.fromisoformat(row["lastAssigned"])
    return rested >= timedelta(seconds=settings["cooldown"])


def most_false(settings: Row) -> int:
    lowest, highest = band(settings)
    most: int = highest - lowest - settings["min_zipcode_listings"]
    return most


# 2. Weight and share, 3. Rank


def weight_of(row: Row, settings: Row) -> float:
    listings = row["expectedListings"]
    plain = listings * math.log((row["population"] or 0) + listings)
    plain = plain * dict(settings["tier_weights"])[row["marketTier"]]
    plain = plain * (1 / dict(settings["state_priorities"])[row["state"]])
    return math.pow(plain * row["baseWeight"], 1 - settings["selection_randomness"])


def shares_of(pool: Sequence[Ranked], settings: Row) -> dict[str, float]:
    priorities = dict(settings["state_priorities"])
    exponent = 1 - settings["geographic_spread_factor"]
    parts = {state: math.pow(1 / priorities[state], exponent) for state in {one.row["state"] for one in pool}}
    # Fractions are added exactly, and float() rounds once.
    whole = float(sum(map(Fraction, parts.values())))
    return {state: float(rounded(part / whole)) for state, part in parts.items()}


def rank(pool: Sequence[Row], settings: Row, key: bytes) -> list[Ranked]:
    ranked = []
    for row in pool:
        weight = weight_of(row, settings)
        label = f"draw:{row['zipcode']}"
        of_rank = rounded(-math.log(draw(key, label)) / weight)
        ranked.append(Ranked(row, weight, draw_bytes(key, label), of_rank))
    return sorted(ranked, key=lambda one: (one.key, one.row["zipcode"]))


# 4. Turns and 5. Look ahead


def band(settings: Row) -> tuple[int, int]:
    target, tolerance = settings["target_listings"], settings["tolerance_percent"]
    lowest = math.ceil(Fraction(target * (100 - tolerance), 100))
    return lowest, math.floor(Fraction(target * (100 + tolerance), 100))


def floor_and_goal(
    taken: Sequence[Row], settings: Row, key: bytes, honeypots: Sequence[str] | None
) -> tuple[int, int]:
    lowest, _ = band(settings)
    hideable = [row for row in taken if row["expectedListings"] <= most_false(settings)]
    if honeypots is None or not hideable:
        return lowest, settings["target_listings"]
    guides = [row for row in hideable if row["zipcode"] in honeypots] or hideable
    guide = min(guides, key=lambda row: draw(key, f"room:{row['zipcode']}"))
    floor = lowest + guide["expectedListings"]
    return floor, max(settings["target_listings"], floor)


def total_of(rows: Sequence[Row]) -> int:
    return sum(row["expectedListings"] for row in rows)


def fit(
    ranked: Sequence[Row], settings: Row, key: bytes, honeypots: Sequence[str] | None
) -> list[Row] | None:
    taken = turns(ranked, settings, key, honeypots)
    if total_of(taken) >= band(settings)[0]:
        return taken
    return look_ahead([*taken, *(row for row in ranked if row not in taken)], settings, key, honeypots)


def turns(ranked: Sequence[Row], settings: Row, key: bytes, honeypots: Sequence[str] | None) -> list[Row]:
    _, highest = band(settings)
    priorities = dict(settings["state_priorities"])
    shares = shares_of([Ranked(row, 0.0, b"", Decimal(0)) for row in ranked], settings)
    first = min(
        shares,
        key=lambda state: (rounded(-math.log(draw(key, f"first:{state}")) / shares[state]), state),
        default=None,
    )
    left = list(ranked)
    taken: list[Row] = []

    def count(state: str) -> int:
        return len([row for row in taken if row["state"] == state])

    def time_of(state: str) -> tuple[float, str]:
        offset = 0.0 if state == first else draw(key, f"state:{state}")
        return (count(state) + offset) / shares[state], state

    while True:
        floor, goal = floor_and_goal(taken, settings, key, honeypots)
        total = total_of(taken)
        states = {row["state"] for row in left}
        if total >= goal or not states:
            return taken
        if settings.get("strict_priorities"):
            smallest = min(priorities[state] for state in states)
            entitled = {state for state in states if priorities[state] == smallest}
        else:
            entitled = {state for state in states if count(state) < shares[state] * (len(taken) + 1)}
        if not entitled and total >= floor:
            return taken
        turn = min(entitled or states, key=time_of)
        of_state = [row for row in left if row["state"] == turn]
        for row in of_state:
            if total >= floor and goal - total <= total + row["expectedListings"] - goal:
                return taken
            left.remove(row)
            if total >= floor or total + row["expectedListings"] <= highest:
                taken.append(row)
                break


def look_ahead(
    ordered: Sequence[Row], settings: Row, key: bytes, honeypots: Sequence[str] | None
) -> list[Row] | None:
    lowest, highest = band(settings)
    # The total that the zipcodes after each place can add, from the last one up.
    later: list[set[int]] = [{0}]
    for row in reversed(ordered):
        more = {extra + row["expectedListings"] for extra in later[-1]}
        later.append({extra for extra in later[-1] | more if extra <= highest})
    later.reverse()
    chosen: list[Row] = []
    for place, row in enumerate(ordered, start=1):
        total = total_of(chosen)
        if total >= floor_and_goal(chosen, settings, key, honeypots)[1]:
            break
        if any(lowest <= total + row["expectedListings"] + extra <= highest for extra in later[place]):
            chosen.append(row)
    return chosen if lowest <= total_of(chosen) <= highest else None
