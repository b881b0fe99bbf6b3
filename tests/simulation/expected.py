"""What shares the weights of docs/protocol.md lead to, found without `zipcast.selection`.

Zipcodes are drawn one after the other, each with a chance in proportion to its weight among those left, by
Python's own generator; the protocol's ranks equal that in distribution. Then they are taken as in its step 4,
for a pool so rich that looking ahead changes nothing.
"""

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist, fmean, variance

from tests.replay.from_protocol import Row, softened

RARE = 25.0
FALSE_ALARM = 0.001


@dataclass(frozen=True)
class Difference:
    """One group's count an epoch, seen and expected, in standard errors of their difference."""

    group: str
    seen: float
    expected: float
    z: float


def weights(pool: Sequence[Row], settings: Row) -> list[float]:
    """Step 2 of the protocol."""
    plain = [softened(row, settings) for row in pool]
    by_state: Counter[str] = Counter()
    for row, weight in zip(pool, plain, strict=True):
        by_state[row["state"]] += weight  # type: ignore[assignment]
    overall = sum(plain)
    factor = settings["geographic_spread_factor"]
    return [
        weight / math.pow(by_state[row["state"]] / overall, factor)
        for row, weight in zip(pool, plain, strict=True)
    ]


def epochs(pool: Sequence[Row], settings: Row, count: int, seed: int) -> Iterator[list[Row]]:
    """So many independent epochs."""
    highest = settings["target_listings"] * (100 + settings["tolerance_percent"]) // 100
    chances = list(accumulate(weights(pool, settings)))
    generator = random.Random(seed)  # noqa: S311 - nobody is to be surprised
    for _ in range(count):
        chosen, total = [], 0
        for row in _in_order(pool, chances, generator):
            if total + row["expectedListings"] <= highest:
                chosen.append(row)
                total += row["expectedListings"]
            if total >= settings["target_listings"]:
                break
        yield chosen


def _in_order(pool: Sequence[Row], chances: Sequence[float], generator: random.Random) -> Iterator[Row]:
    """Without replacement: what was drawn before is drawn again in vain."""
    seen: set[int] = set()
    places = range(len(pool))
    while True:
        for place in generator.choices(places, cum_weights=chances, k=32):
            if place not in seen:
                seen.add(place)
                yield pool[place]


def differences(
    seen: Sequence[Sequence[str]], expected: Sequence[Sequence[str]]
) -> tuple[list[Difference], float]:
    """Each group's mean count an epoch compared, and the |z| that chance exceeds anywhere among them once in
    1,000 times (Bonferroni). Groups expected less than 25 times in all that was seen count as one."""
    means = {name: count / len(expected) for name, count in _counted(expected).items()}
    common = {name for name, mean in means.items() if mean * len(seen) >= RARE}
    groups = [*sorted(common), "rest"]
    found = []
    for group in groups:
        ours, theirs = ([_of(epoch, group, common) for epoch in epochs] for epochs in (seen, expected))
        spread = math.sqrt(variance(ours) / len(ours) + variance(theirs) / len(theirs))
        gap = fmean(ours) - fmean(theirs)
        found.append(Difference(group, fmean(ours), fmean(theirs), gap / spread if spread else 0.0))
    return found, NormalDist().inv_cdf(1 - FALSE_ALARM / 2 / len(groups))


def _counted(epochs: Sequence[Sequence[str]]) -> Counter[str]:
    return Counter(name for epoch in epochs for name in epoch)


def _of(epoch: Sequence[str], group: str, common: set[str]) -> int:
    return sum(name == group if group in common else name not in common for name in epoch)
