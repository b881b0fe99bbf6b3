"""Somebody who keeps every open message and tries to tell decoys, and epochs with decoys, from the others.

He sees of each published zipcode its tier, state, region, count, and place in the message, and of each epoch
its total and number of zipcodes. Decoys are compared with all the others of all epochs. A comparison is a
z-score: chance alone gets beyond 3.3 once in a thousand comparisons.
"""

import hmac
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from zipcast.honeypots import Choice


@dataclass(frozen=True, slots=True)
class Seen:
    """One published zipcode. `place`: where it stands in its message, from 0 to 1."""

    tier: str
    state: str
    region: str
    count: int
    place: float


def auc(some: Sequence[float], others: Sequence[float]) -> float:
    """How often one of `some` is larger than one of `others`, ties counted half: 0.5 if they are alike."""
    ordered = sorted(others)
    won = sum(bisect_left(ordered, one) + bisect_right(ordered, one) for one in some)
    return won / 2 / len(some) / len(ordered)


def by_size(some: Sequence[float], others: Sequence[float]) -> float:
    """z of the AUC (Mann-Whitney)."""
    error = sqrt((len(some) + len(others) + 1) / (12 * len(some) * len(others)))
    return (auc(some, others) - 0.5) / error


def by_name(some: Sequence[str], others: Sequence[str]) -> float:
    """z of the chi-square of two samples (Wilson-Hilferty); names seen fewer than 20 times count as one."""
    total = Counter(some) + Counter(others)
    rare = {name for name, count in total.items() if count < 20}
    tables = [Counter("rare" if name in rare else name for name in sample) for sample in (some, others)]
    names = sorted(set(tables[0]) | set(tables[1]))
    share = len(some) / (len(some) + len(others))
    chi_square = 0.0
    for name in names:
        both = tables[0][name] + tables[1][name]
        for table, part in zip(tables, (share, 1 - share), strict=True):
            chi_square += (table[name] - both * part) ** 2 / (both * part)
    freedom = len(names) - 1
    spread = 2 / (9 * freedom)
    return float(((chi_square / freedom) ** (1 / 3) - (1 - spread)) / sqrt(spread))


def by_seed(choices: Sequence[tuple[Choice, bytes]]) -> float:
    """z of how decoys' draws lie beside others', for somebody who has each epoch's seed: everybody, once the
    epoch has ended. Who was drawn had a large draw."""
    decoys: list[float] = []
    others: list[float] = []
    for choice, seed in choices:
        names = {one.zipcode for one in choice.honeypots}
        for one in choice.zipcodes:
            drawn = hmac.digest(seed, f"draw:{one.zipcode}".encode(), "sha256")
            (decoys if one.zipcode in names else others).append(int.from_bytes(drawn[:8], "big"))
    return by_size(decoys, others)


def told_apart(choices: Sequence[Choice]) -> dict[str, float]:
    """The z-score of each way of telling, by name."""
    decoys: list[Seen] = []
    others: list[Seen] = []
    for choice in choices:
        one, other = _seen(choice)
        decoys += one
        others += other
    with_decoys = [choice for choice in choices if choice.honeypots]
    without = [choice for choice in choices if not choice.honeypots]
    return {
        "count": by_size([one.count for one in decoys], [one.count for one in others]),
        "place": by_size([one.place for one in decoys], [one.place for one in others]),
        "tier": by_name([one.tier for one in decoys], [one.tier for one in others]),
        "state": by_name([one.state for one in decoys], [one.state for one in others]),
        "region": by_name([one.region for one in decoys], [one.region for one in others]),
        "total": by_size(
            [one.published_total for one in with_decoys], [one.published_total for one in without]
        ),
        "number": by_size([len(one.zipcodes) for one in with_decoys], [len(one.zipcodes) for one in without]),
    }


def _seen(choice: Choice) -> tuple[list[Seen], list[Seen]]:
    """The decoys of an epoch, and all else that it published."""
    decoys: list[Seen] = []
    others: list[Seen] = []
    names = {one.zipcode for one in choice.honeypots}
    for place, one in enumerate(choice.zipcodes):
        seen = Seen(
            one.market_tier,
            one.state,
            one.geographic_region,
            one.expected_listings,
            (place + 0.5) / len(choice.zipcodes),
        )
        (decoys if one.zipcode in names else others).append(seen)
    return decoys, others
