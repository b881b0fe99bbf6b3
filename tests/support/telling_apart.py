"""Simulates an observer who keeps all public messages of a year and tries to identify honeypots.

The observer uses what one message says about a zipcode, and what all messages together say. An AUC of 0.5
means that a feature does not help.
"""

import random
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import sqrt

from zipcast.selection.honeypots import Choice
from zipcast.selection.model import Candidate, MarketTier

Features = dict[str, tuple[list[float], list[float]]]
"""For the name of each feature, the values of other zipcodes and the values of honeypots."""


def auc(some: Sequence[float], others: Sequence[float]) -> float:
    """Return how often a value of `some` is larger than a value of `others`. Ties count half, so the result
    is 0.5 if both have the same distribution."""
    ordered = sorted(others)
    won = sum(bisect_left(ordered, one) + bisect_right(ordered, one) for one in some)
    return won / 2 / len(some) / len(ordered)


def weighted_auc(some: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]) -> float:
    """Return the AUC of values with their weights."""
    both: dict[float, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for place, sample in enumerate((some, others)):
        for value, weight in sample:
            both[value][place] += weight
    below = won = 0.0
    for value in sorted(both):
        ours, theirs = both[value]
        won += ours * (below + theirs / 2)
        below += theirs
    return won / below / sum(weight for _, weight in some)


def by_size(some: Sequence[float], others: Sequence[float]) -> float:
    """Return z of the AUC (Mann-Whitney)."""
    error = sqrt((len(some) + len(others) + 1) / (12 * len(some) * len(others)))
    return (auc(some, others) - 0.5) / error


def by_name(some: Sequence[str], others: Sequence[str]) -> float:
    """Return z of the chi-square of two samples (Wilson-Hilferty). Names that occur fewer than 20 times are
    merged into one."""
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


def told_apart(worlds: Sequence[Sequence[Choice]]) -> dict[str, float]:
    """Return, by name, the AUC of each feature of a published zipcode in the messages. `worlds` are years
    with different honeypots. The first 60 days have little history and are used only as history."""
    features: Features = defaultdict(lambda: ([], []))
    for choices in worlds:
        _add_features(choices, features)
    return {
        name: auc(honeypots, others) for name, (others, honeypots) in features.items() if honeypots and others
    }


def _add_features(choices: Sequence[Choice], features: Features) -> None:
    history: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, choice in enumerate(choices):
        for one in choice.zipcodes:
            history[one.zipcode].append((number, one.expected_listings))
    for number, choice in enumerate(choices):
        if number < 360:
            continue
        honeypots = {one.zipcode for one in choice.honeypots}
        for place, one in enumerate(choice.zipcodes):
            told = _history_of(history[one.zipcode], number)
            told |= {"count": one.expected_listings, "total": choice.published_total}
            told |= {"number": len(choice.zipcodes), "place": place / len(choice.zipcodes)}
            told |= {f"tier {tier}": one.market_tier is tier for tier in MarketTier}
            for name, value in told.items():
                features[name][one.zipcode in honeypots].append(value)


def _history_of(published: Sequence[tuple[int, int]], number: int) -> dict[str, float]:
    """Return the features of a zipcode's history, as of epoch `number`. `published` has the epoch and the
    count of each publication of the zipcode."""
    place = [epoch for epoch, _ in published].index(number)
    before, count = published[:place], published[place][1]
    counts = [listings for _, listings in published]
    told: dict[str, float] = {
        "how often before": len(before),
        "how often in all": len(published),
        "first seen": published[0][0],
        "last seen": published[-1][0],
        "how many counts": len(set(counts)),
        "spread of counts": max(counts) / min(counts),
        "seen before with the same count": any(listings == count for _, listings in before),
    }
    if before:
        told["since the last time"] = number - before[-1][0]
        told["same count as the last time"] = before[-1][1] == count
        told["change since the last time"] = abs(count / before[-1][1] - 1)
    return told


def monthly_imports(
    zipcodes: Sequence[Candidate], start_at: datetime, months: int, seed: int
) -> dict[datetime, list[Candidate]]:
    """Return one import for each month. Most zipcodes are unchanged, some change, some lose nearly all their
    listings, and some small ones grow."""
    chance = random.Random(seed)  # noqa: S311 - need not be unpredictable
    imports = {}
    now = list(zipcodes)
    for month in range(1, months + 1):
        now = [replace(one, expected_listings=_next(one.expected_listings, chance)) for one in now]
        imports[start_at + timedelta(days=30 * month)] = now
    return imports


def _next(listings: int, chance: random.Random) -> int:
    drawn = chance.random()
    if drawn < 0.6:
        return listings
    if listings >= 200 and drawn < 0.61:
        return chance.randrange(50)
    if listings < 50 and drawn < 0.602:
        return chance.randrange(200, 1500)
    return round(listings * chance.lognormvariate(0, 0.15))
