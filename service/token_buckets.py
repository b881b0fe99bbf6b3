"""Implements token buckets, which allow a burst at once and then a constant rate. This module does no I/O and
reads no clock.

The caller decides what a token stands for, and what happens without one.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

MAX_BUCKETS = 20_000


@dataclass(slots=True)
class Bucket:
    """A bucket that allows `burst` at once, and `per_second` after that. `at` is monotonic time."""

    burst: float
    per_second: float
    tokens: float
    at: float

    def refill(self, now: float) -> None:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.per_second)
        self.at = now


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate that allows `burst` at once, and `per_second` after that."""

    burst: float
    per_second: float

    @classmethod
    def of_minute(cls, amount: int) -> "Rate":
        """Return a rate that never exceeds `amount` within a minute; a tenth of it may come at once."""
        return cls(max(1.0, amount / 10), amount * 0.9 / 60)

    def full(self, now: float) -> Bucket:
        return Bucket(self.burst, self.per_second, self.burst, now)


@dataclass(slots=True)
class Buckets:
    """One bucket per key. If there are more than `most` keys, only the most recently used are kept."""

    rate: Rate
    most: int = MAX_BUCKETS
    _buckets: OrderedDict[object, Bucket] = field(default_factory=OrderedDict)

    def take(self, key: object, now: float, amount: float = 1) -> bool:
        """Take this many of the key's tokens. Return False if there are not enough."""
        bucket = self.of(key, now)
        if bucket.tokens < amount:
            return False
        bucket.tokens -= amount
        return True

    def of(self, key: object, now: float) -> Bucket:
        """Return the key's bucket as of `now`."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = self.rate.full(now)
            if len(self._buckets) > self.most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        bucket.refill(now)
        return bucket
