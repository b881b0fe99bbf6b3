"""Decides whether any subset has a total within bounds, with another algorithm than the selection."""

from bisect import bisect_left
from collections.abc import Sequence


def is_feasible(listings: Sequence[int], lowest: int, highest: int) -> bool:
    """Return whether a subset has such a total. The result is exact: for each sum of one half of the numbers,
    a sum of the other half is searched that completes it. It works for about 30 numbers at most. `lowest` is
    at least 1."""
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
