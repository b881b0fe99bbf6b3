"""Computes the consensus of validators' reports on one epoch. The formulas are in docs/protocol.md,
"Validators' reports and consensus".

The functions are pure: the caller decides which reports count. Arithmetic is exact until the last step, so
that the result does not depend on the order of the reports or on the machine. The result is only information;
no weight or right follows from it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement

POINTS = (3, 2, 1)
MIN_FOR_OUTLIERS = 3
APART = Fraction(1, 3)
TOGETHER = Fraction(1, 2)
DIGITS = 6
# All overlaps are multiples of 1/30, because the longer of two rankings gives 3, 5 or 6 points.
_PARTS = 30


@dataclass(frozen=True, slots=True)
class Report:
    """The report of one validator. `stake` is in any unit and not negative. `top` lists at most three
    different miners, best first."""

    validator: str
    stake: int
    top: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreed:
    """The consensus. `top` lists miners with their support, best first. `agreement`, and the `closeness` of
    each validator to the others, are None if there is nothing to compare. Shares are from 0 to 1, rounded to
    six digits."""

    top: tuple[tuple[str, float], ...]
    agreement: float | None
    closeness: Mapping[str, float | None]
    outliers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Beside:
    """One validator compared with the others: the sums `shared` and `whole` over the others, and its
    weight."""

    weight: int
    shared: int
    whole: int

    @property
    def closeness(self) -> Fraction | None:
        return _share(self.shared, self.whole)


def agree(reports: Iterable[Report]) -> Agreed:
    """Return the consensus of these reports. Each validator has one report."""
    known = sorted(reports, key=lambda report: report.validator)
    weights = _weights(known)
    supported = sorted(_support(known, weights).items(), key=lambda item: (-item[1], item[0]))
    beside = _beside(known, weights)
    # The sums contain every pair twice, once from each side.
    shared = sum(one.weight * one.shared for one in beside.values()) // 2
    whole = sum(one.weight * one.whole for one in beside.values()) // 2
    return Agreed(
        top=tuple((miner, _rounded(share)) for miner, share in supported[: len(POINTS)]),
        agreement=_rounded_or_none(_share(shared, whole)),
        closeness={validator: _rounded_or_none(one.closeness) for validator, one in beside.items()},
        outliers=tuple(
            validator
            for validator, one in beside.items()
            if len(known) >= MIN_FOR_OUTLIERS and _stands_apart(one, shared, whole)
        ),
    )


def overlap(one: Sequence[str], other: Sequence[str]) -> Fraction:
    """Return the similarity of two rankings: 1 if they are the same, 0 if they share no miner. It is the sum
    of the points that both give to each miner, divided by the points that the longer ranking gives."""
    return Fraction(_parts(_points(one), _points(other)), _PARTS)


def _parts(left: Mapping[str, int], right: Mapping[str, int]) -> int:
    most = max(sum(left.values()), sum(right.values()))
    if most == 0:
        return _PARTS
    return sum(min(points, right.get(miner, 0)) for miner, points in left.items()) * _PARTS // most


def _points(top: Sequence[str]) -> dict[str, int]:
    return dict(zip(top, POINTS, strict=False))


def _weights(reports: Sequence[Report]) -> dict[str, int]:
    """Return each validator's weight: its stake, or 1 for all if none has stake."""
    if any(report.stake for report in reports):
        return {report.validator: report.stake for report in reports}
    return {report.validator: 1 for report in reports}


def _support(reports: Sequence[Report], weights: Mapping[str, int]) -> dict[str, Fraction]:
    whole = sum(weights.values()) * POINTS[0]
    given: dict[str, int] = {}
    for report in reports:
        for miner, points in _points(report.top).items():
            given[miner] = given.get(miner, 0) + points * weights[report.validator]
    return {miner: Fraction(points, whole) for miner, points in given.items() if points}


def _beside(reports: Sequence[Report], weights: Mapping[str, int]) -> dict[str, _Beside]:
    """Return each validator's overlap with the others. Two rankings are compared once, however many
    validators have them."""
    held: dict[tuple[str, ...], int] = {}
    for report in reports:
        held[report.top] = held.get(report.top, 0) + weights[report.validator]
    points = {top: _points(top) for top in held}
    shared = dict.fromkeys(held, 0)
    for one, other in combinations_with_replacement(held, 2):
        parts = _parts(points[one], points[other])
        shared[one] += parts * held[other]
        if one != other:
            shared[other] += parts * held[one]
    whole = sum(held.values())
    # Leave out each validator's overlap with itself, which is 1.
    return {
        one.validator: _Beside(own := weights[one.validator], shared[one.top] - _PARTS * own, whole - own)
        for one in reports
    }


def _stands_apart(one: _Beside, shared: int, whole: int) -> bool:
    """Return whether a validator is far from the others, while the others agree and have more weight.

    If the others disagree too, or have no more weight, it is unknown which side is wrong."""
    closeness = one.closeness
    if closeness is None or closeness >= APART or one.whole <= one.weight:
        return False
    among = _share(shared - one.weight * one.shared, whole - one.weight * one.whole)
    return among is not None and among >= TOGETHER


def _share(shared: int, whole: int) -> Fraction | None:
    """Return shared / whole, or None if the whole is 0."""
    return Fraction(shared, whole * _PARTS) if whole else None


def _rounded_or_none(share: Fraction | None) -> float | None:
    return None if share is None else _rounded(share)


def _rounded(share: Fraction) -> float:
    return float(round(share, DIGITS))
