"""Token buckets: how many may pass at once, and how many a second after that. No I/O, no clock.

Owns the arithmetic alone. What a token stands for, and what happens without one, is the caller's matter.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

MAX_BUCKETS = 20_000


@dataclass(slots=True)
class Bucket:
    """`burst` at once, and `per_second` after that. `at` is monotonic time."""

    burst: float
    per_second: float
    tokens: float
    at: float

    def refill(self, now: float) -> None:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.per_second)
        self.at = now


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, and `per_second` after that."""

    burst: float
    per_second: float

    @classmethod
    def of_minute(cls, amount: int) -> "Rate":
        """Return the rate that allows `amount` in no minute to be exceeded: a tenth of it at once."""
        return cls(max(1.0, amount / 10), amount * 0.9 / 60)

    def full(self, now: float) -> Bucket:
        return Bucket(self.burst, self.per_second, self.burst, now)


@dataclass(slots=True)
class Buckets:
    """One bucket a key. Of more than `most` keys, those used last are remembered."""

    rate: Rate
    most: int = MAX_BUCKETS
    _buckets: OrderedDict[object, Bucket] = field(default_factory=OrderedDict)

    def take(self, key: object, now: float, amount: float = 1) -> bool:
        """Take that many of the key's tokens, if there are so many."""
        bucket = self.of(key, now)
        if bucket.tokens < amount:
            return False
        bucket.tokens -= amount
        return True

    def of(self, key: object, now: float) -> Bucket:
        """Return the key's bucket, filled up to `now`."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = self.rate.full(now)
            if len(self._buckets) > self.most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        bucket.refill(now)
        return bucket
