"""The order in which a pool is drawn: weights, draws, keys. Pure.

Owns steps 2 and 3 of docs/protocol.md, "Selection"; every number here is part of the protocol.
"""

import hashlib
import math
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, count, groupby
from operator import attrgetter, le
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zipcast.selection import Candidate, SelectionSettings

_FIRST_8_BYTES = struct.Struct(">Q24x").unpack
_TWO_TO_53 = 2.0**53


def rank(pool: "Sequence[Candidate]", settings: "SelectionSettings", seed: bytes) -> "list[Candidate]":
    """The pool in the order of its draws: Efraimidis–Spirakis, small keys first, ties by zipcode.

    Keys count to 12 significant digits, because the last ones of ln and of powers differ between machines.
    ValueError unless the seed has 32 bytes.
    """
    pool = sorted(pool, key=attrgetter("zipcode"))
    weights = _weights(pool, settings)
    keys = [
        -math.log(((number >> 11) + 0.5) / _TWO_TO_53) / weight
        for number, weight in zip(_draws(pool, seed), weights, strict=True)
    ]
    order = sorted(range(len(pool)), key=keys.__getitem__)
    settle_ties(order, keys)
    return [pool[index] for index in order]


def _draws(pool: "Iterable[Candidate]", seed: bytes) -> Iterator[int]:
    """The first 8 bytes of HMAC-SHA256(seed, "draw:" and each zipcode), as RFC 2104 spells it: both keyed
    hashes are begun once and copied, which takes half the time of `hmac`."""
    if len(seed) != 32:
        raise ValueError("seed must be 32 bytes")
    key = seed.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + b"draw:")
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))
    begin, finish = inner.copy, outer.copy
    for candidate in pool:
        code, mac = begin(), finish()
        code.update(candidate.zipcode.encode())
        mac.update(code.digest())
        yield _FIRST_8_BYTES(mac.digest())[0]


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


def _weights(pool: "Sequence[Candidate]", settings: "SelectionSettings") -> list[float]:
    """Softened and spread over the states; fsum is exact, so the pool's order reaches no digit."""
    by_priority = {state: 1 / priority for state, priority in settings.state_priorities}
    by_tier = dict(settings.tier_weights)
    softened = []
    by_state: dict[str, list[float]] = defaultdict(list)
    exponent = 1 - settings.selection_randomness
    for candidate in pool:
        listings, state = candidate.expected_listings, candidate.state
        weight = listings * math.log((candidate.population or 0) + listings) * by_tier[candidate.market_tier]
        soft = (weight * by_priority[state] * candidate.base_weight) ** exponent
        softened.append(soft)
        by_state[state].append(soft)
    overall, factor = math.fsum(softened), settings.geographic_spread_factor
    spread = {state: (math.fsum(weights) / overall) ** factor for state, weights in by_state.items()}
    return [weight / spread[candidate.state] for candidate, weight in zip(pool, softened, strict=True)]
