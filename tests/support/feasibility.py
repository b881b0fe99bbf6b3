"""Whether any subset adds up to a total within bounds: decided by halves, not as selection decides it."""

from bisect import bisect_left
from collections.abc import Sequence


def is_feasible(listings: Sequence[int], lowest: int, highest: int) -> bool:
    """Exact, by meeting in the middle: for each sum of one half, is there one of the other that completes it?

    For some 30 numbers at most. `lowest` is at least 1."""
    middle = len(listings) // 2
    others = sorted(_sums(listings[middle:]))
    for one in _sums(listings[:middle]):
        place = bisect_left(others, lowest - one)
        if place < len(others) and one + others[place] <= highest:
            return True
    return False


def _sums(listings: Sequence[int]) -> set[int]:
    sums = {0}
    for count in listings:
        sums |= {one + count for one in sums}
    return sums
