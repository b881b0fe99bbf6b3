"""The order in which a pool is drawn: weights, shares of the states, draws, keys. Pure.

Owns steps 2 and 3 of docs/protocol.md, "Selection"; every number here is part of the protocol.
"""

import hashlib
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, count, groupby
from operator import attrgetter, le

from zipcast.selection.model import Candidate, SelectionSettings

_FIRST_8_BYTES = struct.Struct(">Q24x").unpack
_TWO_TO_53 = 2.0**53


@dataclass(frozen=True, slots=True)
class Ranking:
    """A pool in rank order, and when the states take their turns.

    `shares` has each state's share of the zipcodes; they add up to 1. `offsets` says which part of the time
    between two turns of a state passes before its first turn: 0 for the state that begins."""

    ranked: Sequence[Candidate]
    shares: Mapping[str, float]
    offsets: Mapping[str, float]
    draw_key: bytes

    def room_draw(self, zipcode: str) -> float:
        """Return the number that decides which zipcode's count the total leaves room for."""
        return draw_number(self.draw_key, f"room:{zipcode}")


def rank(pool: Sequence[Candidate], settings: SelectionSettings, draw_key: bytes) -> Ranking:
    """Rank by Efraimidis–Spirakis: small keys first, equal keys by zipcode.

    Keys and shares count to 12 significant digits, because the last digits of ln and of powers differ
    between machines. Raises ValueError unless the draw key has 32 bytes.
    """
    if len(draw_key) != 32:
        raise ValueError("the draw key must be 32 bytes")
    pool = sorted(pool, key=attrgetter("zipcode"))
    draws = _draws(draw_key, b"draw:", (candidate.zipcode for candidate in pool))
    keys = [-math.log(number) / weight for number, weight in zip(draws, weights(pool, settings), strict=True)]
    order = sorted(range(len(pool)), key=keys.__getitem__)
    settle_ties(order, keys)
    shares = state_shares({candidate.state for candidate in pool}, settings)
    return Ranking(
        ranked=[pool[index] for index in order],
        shares=shares,
        offsets=_offsets(shares, draw_key),
        draw_key=draw_key,
    )


def draw_number(draw_key: bytes, label: str) -> float:
    """Return the number between 0 and 1 that the draw key has for one label."""
    return next(_draws(draw_key, b"", (label,)))


def _draws(draw_key: bytes, label: bytes, names: Iterable[str]) -> Iterator[float]:
    """Yield a number between 0 and 1 for each name, from the first 8 bytes of HMAC-SHA256(draw_key, label and
    name), as RFC 2104 spells it: both keyed hashes are begun once and copied, which takes half the time of
    `hmac`."""
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


def weights(pool: Sequence[Candidate], settings: SelectionSettings) -> list[float]:
    """Return the weight of each candidate, in the order of the pool."""
    by_priority = {state: 1 / priority for state, priority in settings.state_priorities}
    by_tier = dict(settings.tier_weights)
    softened = []
    exponent = 1 - settings.selection_randomness
    for candidate in pool:
        listings, state = candidate.expected_listings, candidate.state
        weight = listings * math.log((candidate.population or 0) + listings) * by_tier[candidate.market_tier]
        softened.append((weight * by_priority[state] * candidate.base_weight) ** exponent)
    return softened


def state_shares(states: Iterable[str], settings: SelectionSettings) -> dict[str, float]:
    """Return each state's share of the zipcodes, by its priority alone, whatever its size."""
    priorities = dict(settings.state_priorities)
    exponent = 1 - settings.geographic_spread_factor
    parts = {state: (1 / priorities[state]) ** exponent for state in sorted(states)}
    overall = math.fsum(parts.values())
    return {state: float(f"{part / overall:.11e}") for state, part in parts.items()}


def _offsets(shares: Mapping[str, float], draw_key: bytes) -> dict[str, float]:
    """A state begins with a chance that is its share."""
    offsets = dict(zip(shares, _draws(draw_key, b"state:", shares), strict=True))
    races = zip(shares, _draws(draw_key, b"first:", shares), strict=True)
    times = [(float(f"{-math.log(number) / shares[state]:.11e}"), state) for state, number in races]
    return offsets | {state: 0.0 for _, state in sorted(times)[:1]}
