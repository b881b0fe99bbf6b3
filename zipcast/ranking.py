"""The order in which a pool is drawn: weights, soft shares, draws, keys. Pure.

Owns steps 2 and 3 of docs/protocol.md, "Selection"; every number here is part of the protocol.
"""

import hashlib
import math
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, count, groupby
from operator import attrgetter, le
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zipcast.selection import Candidate, SelectionSettings

_FIRST_8_BYTES = struct.Struct(">Q24x").unpack
_TWO_TO_53 = 2.0**53


@dataclass(frozen=True, slots=True)
class Ranking:
    """A pool in rank order; of each state its soft share of the zipcodes (all together 1), and what part of
    the time between two of its turns passes before its first: none for the state of the first rank."""

    ranked: "Sequence[Candidate]"
    shares: Mapping[str, float]
    offsets: Mapping[str, float]


def rank(pool: "Sequence[Candidate]", settings: "SelectionSettings", draw_key: bytes) -> Ranking:
    """Efraimidis–Spirakis: small keys first, ties by zipcode.

    Keys and shares count to 12 significant digits, because the last ones of ln and of powers differ between
    machines. ValueError unless the draw key has 32 bytes.
    """
    if len(draw_key) != 32:
        raise ValueError("the draw key must be 32 bytes")
    pool = sorted(pool, key=attrgetter("zipcode"))
    softened = _softened(pool, settings)
    parts = _parts(pool, softened)
    spread = {state: part**settings.geographic_spread_factor for state, part in parts.items()}
    draws = _draws(draw_key, b"draw:", (candidate.zipcode for candidate in pool))
    keys = [
        -math.log(number) / (weight / spread[candidate.state])
        for number, weight, candidate in zip(draws, softened, pool, strict=True)
    ]
    order = sorted(range(len(pool)), key=keys.__getitem__)
    settle_ties(order, keys)
    ranked = [pool[index] for index in order]
    by_chance = dict(zip(parts, _draws(draw_key, b"state:", parts), strict=True))
    return Ranking(
        ranked=ranked,
        shares=_soft_shares(parts, settings),
        offsets=by_chance | {one.state: 0.0 for one in ranked[:1]},
    )


def _draws(draw_key: bytes, label: bytes, names: Iterable[str]) -> Iterator[float]:
    """Between 0 and 1, from the first 8 bytes of HMAC-SHA256(draw_key, label and name), as RFC 2104 spells
    it: both keyed hashes are begun once and copied, which takes half the time of `hmac`."""
    key = draw_key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + label)
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))
    begin, finish = inner.copy, outer.copy
    for name in names:
        code, mac = begin(), finish()
        code.update(name.encode())
        mac.update(code.digest())
        yield ((_FIRST_8_BYTES(mac.digest())[0] >> 11) + 0.5) / _TWO_TO_53


def settle_ties(order: list[int], keys: Sequence[float]) -> None:
    """Bring `order`, which is by exact keys, into the order of keys of 12 significant digits.

    Rounding never turns two keys around, so only neighbours that it may make equal change places."""
    exact = [keys[index] for index in order]
    # 12 digits tell apart what differs by 1e-11 of its value; within ten times that, see what rounding says.
    is_close = map(le, exact[1:], [key * (1 + 1e-10) for key in exact])
    close = list(compress(count(), is_close))
    runs = groupby(enumerate(close), lambda numbered: numbered[1] - numbered[0])
    for _, run in runs:
        places = [place for _, place in run]
        begin, end = places[0], places[-1] + 2
        order[begin:end] = sorted(order[begin:end], key=lambda index: (float(f"{keys[index]:.11e}"), index))


def _softened(pool: "Sequence[Candidate]", settings: "SelectionSettings") -> list[float]:
    by_priority = {state: 1 / priority for state, priority in settings.state_priorities}
    by_tier = dict(settings.tier_weights)
    softened = []
    exponent = 1 - settings.selection_randomness
    for candidate in pool:
        listings, state = candidate.expected_listings, candidate.state
        weight = listings * math.log((candidate.population or 0) + listings) * by_tier[candidate.market_tier]
        softened.append((weight * by_priority[state] * candidate.base_weight) ** exponent)
    return softened


def _parts(pool: "Sequence[Candidate]", softened: Sequence[float]) -> dict[str, float]:
    """By state, its part of all weight; fsum is exact, so the pool's order reaches no digit."""
    by_state: dict[str, list[float]] = defaultdict(list)
    for candidate, weight in zip(pool, softened, strict=True):
        by_state[candidate.state].append(weight)
    overall = math.fsum(softened)
    return {state: math.fsum(weights) / overall for state, weights in by_state.items()}


def _soft_shares(parts: Mapping[str, float], settings: "SelectionSettings") -> dict[str, float]:
    """What is left of each state's part once it is spread."""
    left = {state: part ** (1 - settings.geographic_spread_factor) for state, part in parts.items()}
    overall = math.fsum(left.values())
    return {state: float(f"{one / overall:.11e}") for state, one in left.items()}
