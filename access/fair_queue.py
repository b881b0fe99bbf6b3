"""Serves the requests of several owners in turn, so that an owner with many requests does not delay others.
No I/O.

This module decides the order of requests, and limits how many may wait and how many are handled at once.
"""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits. `waiting` and `bytes` apply to all owners together, `…_of_one` to each owner."""

    waiting: int
    waiting_of_one: int
    bytes: int
    bytes_of_one: int
    at_once: int
    at_once_of_one: int


@dataclass(slots=True)
class _Line(Generic[Item]):
    """The waiting items of one owner with their sizes, oldest first."""

    items: deque[tuple[Item, int]] = field(default_factory=deque)
    bytes: int = 0


@dataclass(slots=True)
class FairQueue(Generic[Item]):
    """A queue in which owners take turns. The items of one owner stay in order."""

    bounds: Bounds
    _lines: OrderedDict[str, _Line[Item]] = field(default_factory=OrderedDict)
    _in_work: Counter[str] = field(default_factory=Counter)
    _waiting: int = 0
    _bytes: int = 0

    def put(self, owner: str, item: Item, size_bytes: int) -> bool:
        """Queue the item. Return False if there is no room for it."""
        line = self._lines.get(owner) or _Line()
        bounds = self.bounds
        if (
            self._waiting >= bounds.waiting
            or self._bytes + size_bytes > bounds.bytes
            or len(line.items) >= bounds.waiting_of_one
            or line.bytes + size_bytes > bounds.bytes_of_one
        ):
            return False
        self._lines[owner] = line
        line.items.append((item, size_bytes))
        line.bytes += size_bytes
        self._waiting += 1
        self._bytes += size_bytes
        return True

    def take(self) -> tuple[str, Item] | None:
        """Return the next owner and its oldest item, which counts as being handled until `done` is called.
        Return None if no item may be handled now."""
        if self._in_work.total() >= self.bounds.at_once:
            return None
        for owner, line in self._lines.items():
            if self._in_work[owner] < self.bounds.at_once_of_one:
                return owner, self._take_of(owner, line)
        return None

    def done(self, owner: str) -> None:
        """Note that one item of the owner has been handled."""
        self._in_work[owner] -= 1
        if self._in_work[owner] <= 0:
            del self._in_work[owner]

    def _take_of(self, owner: str, line: _Line[Item]) -> Item:
        item, size_bytes = line.items.popleft()
        line.bytes -= size_bytes
        self._waiting -= 1
        self._bytes -= size_bytes
        self._in_work[owner] += 1
        if line.items:
            self._lines.move_to_end(owner)
        else:
            del self._lines[owner]
        return item
