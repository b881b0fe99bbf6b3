"""How many connection attempts of one source address are looked at. No I/O.

Owns two buckets an address: of attempts, wide enough for a farm behind one NAT to come back at once, and of
false proofs, the only ones that cost cryptography, much tighter. What is beyond either gets no answer: an
answer costs two signatures, and whoever waits for one asks less often. An IPv6 address counts as its /64,
since that is what one customer holds.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum

from runtime.source_addresses import counted_as
from runtime.token_buckets import Bucket, Rate

MOST_ADDRESSES = 20_000


class Limit(StrEnum):
    """Which bucket was empty."""

    ATTEMPTS = "attempts"
    FAILURES = "failures"


@dataclass(slots=True)
class AddressLimits:
    """`now` is monotonic seconds. Of the addresses, those heard of last are remembered."""

    attempts: Rate
    failures: Rate
    most_addresses: int = MOST_ADDRESSES
    _buckets: OrderedDict[str, tuple[Bucket, Bucket]] = field(default_factory=OrderedDict)

    def exceeded(self, host: str, now: float) -> Limit | None:
        """The limit that keeps this attempt from being looked at; None, and it is charged as one attempt."""
        attempts, failures = self._of(host, now)
        if failures.tokens < 1:
            return Limit.FAILURES
        if attempts.tokens < 1:
            return Limit.ATTEMPTS
        attempts.tokens -= 1
        return None

    def failed(self, host: str, now: float) -> None:
        """An attempt from there held a false proof."""
        _, failures = self._of(host, now)
        failures.tokens = max(0.0, failures.tokens - 1)

    def _of(self, host: str, now: float) -> tuple[Bucket, Bucket]:
        key = counted_as(host)
        pair = self._buckets.get(key)
        if pair is None:
            pair = (self.attempts.full(now), self.failures.full(now))
            self._buckets[key] = pair
            if len(self._buckets) > self.most_addresses:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        for bucket in pair:
            bucket.refill(now)
        return pair
