"""Computes to which shares the weights of docs/protocol.md lead, without `zipcast.selection.select`.

The states take turns as in step 4 of the protocol. Python's own generator draws which state begins, and then
each state's zipcodes one after the other, with chances in proportion to their weights among those that are
left. The protocol's ranks have the same distribution. The pool must be so large that looking ahead changes
nothing.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

from tests.replay.from_protocol import Row, weight_of

RARE = 25.0
FALSE_ALARM = 0.001


@dataclass(frozen=True)
class Difference:
    """The count of one group per epoch, seen and expected. `z` is their difference in standard errors."""

    group: str
    seen: float
    expected: float
    z: float


@dataclass(frozen=True)
class State:
    """The rows of a state with their chances, and its share of all zipcodes."""

    rows: list[Row]
    chances: list[float]
    share: float

    def drawn(self, taken: set[str], room: int, generator: random.Random) -> Row | None:
        """Return a randomly drawn row that was not taken yet and fits into `room`, or None."""
        for row in generator.choices(self.rows, self.chances, k=16):
            if row["zipcode"] not in taken and row["expectedListings"] <= room:
                return row
        left = [
            (row, chance)
            for row, chance in zip(self.rows, self.chances, strict=True)
            if row["zipcode"] not in taken and row["expectedListings"] <= room
        ]
        rows, chances = [row for row, _ in left], [chance for _, chance in left]
        return generator.choices(rows, chances)[0] if left else None


def states_of(pool: Sequence[Row], settings: Row) -> dict[str, State]:
    """Return the states of the pool, as in step 2 of the protocol."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in pool:
        rows[row["state"]].append(row)
    chances = {state: [weight_of(row, settings) for row in rows[state]] for state in rows}
    priorities = dict(settings["state_priorities"])
    left = 1 - settings["geographic_spread_factor"]
    spread = {state: (1 / priorities[state]) ** left for state in rows}
    return {state: State(rows[state], chances[state], spread[state] / sum(spread.values())) for state in rows}


def epochs(pool: Sequence[Row], settings: Row, count: int, seed: int) -> Iterator[list[Row]]:
    """Yield `count` independent epochs."""
    target, tolerance = settings["target_listings"], settings["tolerance_percent"]
    band = -(-target * (100 - tolerance) // 100), target * (100 + tolerance) // 100
    states = states_of(pool, settings)
    generator = random.Random(seed)  # noqa: S311 - need not be unpredictable
    for _ in range(count):
        yield _epoch(states, target, band, generator)


def _epoch(
    states: dict[str, State], target: int, band: tuple[int, int], generator: random.Random
) -> list[Row]:
    lowest, highest = band
    shares = {name: state.share for name, state in states.items()}
    first = generator.choices(list(shares), list(shares.values()))[0]
    times = {name: 0 if name == first else generator.random() / share for name, share in shares.items()}
    chosen: list[Row] = []
    counts = dict.fromkeys(shares, 0)
    total = 0
    while total < target:
        entitled = [name for name in times if counts[name] < shares[name] * (len(chosen) + 1)]
        if not entitled and total >= lowest:
            break
        name = min(entitled or times, key=times.__getitem__)
        room = highest - total if total < lowest else highest
        row = states[name].drawn({one["zipcode"] for one in chosen}, room, generator)
        if row is None:
            del times[name]
            continue
        if total >= lowest and target - total <= total + row["expectedListings"] - target:
            break
        chosen.append(row)
        total += row["expectedListings"]
        counts[name] += 1
        times[name] += 1 / shares[name]
    return chosen


def differences(
    seen: Sequence[Sequence[str]], expected: Sequence[Sequence[str]]
) -> tuple[list[Difference], float]:
    """Compare each group's mean count per epoch. Return the differences, and the absolute z that any of them
    exceeds by chance once in 1,000 times (Bonferroni). Groups that are expected fewer than 25 times in all
    epochs are merged into one."""
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
