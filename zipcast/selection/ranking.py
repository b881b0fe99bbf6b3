"""Ranks a pool by weighted random draws, and computes the states' shares. Pure.

These are steps 2 and 3 of docs/protocol.md, "Selection"; every number here is part of the protocol.
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
    """A pool in rank order, and the timing of the states' turns. `shares` has each state's share of the
    zipcodes; the shares add up to 1. `offsets` has, for each state, the fraction of the time between two of
    its turns that passes before its first turn: 0 for the state that begins."""

    ranked: Sequence[Candidate]
    shares: Mapping[str, float]
    offsets: Mapping[str, float]
    draw_key: bytes

    def room_draw(self, zipcode: str) -> float:
        """Return the number that decides for which zipcode's count the total leaves room."""
        return draw_number(self.draw_key, f"room:{zipcode}")


def rank(pool: Sequence[Candidate], settings: SelectionSettings, draw_key: bytes) -> Ranking:
    """Rank the pool by the method of Efraimidis and Spirakis: small keys first, equal keys by zipcode.

    Keys and shares are rounded to 12 significant digits, because the last digits of logarithms and powers
    differ between machines. Raises ValueError unless the draw key has 32 bytes.
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
    """Return a pseudo-random number between 0 and 1, derived from the draw key and the label."""
    return next(_draws(draw_key, b"", (label,)))


def _draws(draw_key: bytes, label: bytes, names: Iterable[str]) -> Iterator[float]:
    """Yield a number between 0 and 1 for each name, from the first 8 bytes of HMAC-SHA256(draw_key, label +
    name). HMAC is written out as in RFC 2104: the two keyed hashes are started once and copied, which takes
    half the time of the module `hmac`."""
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
    """Change `order`, which is sorted by exact keys, to the order of keys rounded to 12 significant digits.

    Rounding never reverses two keys, so only neighbours whose rounded keys are equal need sorting."""
    exact = [keys[index] for index in order]
    # Keys that differ by more than 1e-11 of their value stay different with 12 digits. To be safe, compare
    # the rounded keys of all neighbours within ten times that distance.
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
    """Return each state's share of the zipcodes, which depends on its priority and not on its size."""
    priorities = dict(settings.state_priorities)
    exponent = 1 - settings.geographic_spread_factor
    parts = {state: (1 / priorities[state]) ** exponent for state in sorted(states)}
    overall = math.fsum(parts.values())
    return {state: float(f"{part / overall:.11e}") for state, part in parts.items()}


def _offsets(shares: Mapping[str, float], draw_key: bytes) -> dict[str, float]:
    """Return the offsets of the states. The probability that a state begins is its share."""
    offsets = dict(zip(shares, _draws(draw_key, b"state:", shares), strict=True))
    races = zip(shares, _draws(draw_key, b"first:", shares), strict=True)
    times = [(float(f"{-math.log(number) / shares[state]:.11e}"), state) for state, number in races]
    return offsets | {state: 0.0 for _, state in sorted(times)[:1]}
