"""Limits how many connection attempts of one source address are looked at. No I/O.

Owns two buckets an address: of attempts, wide enough for a farm behind one NAT to come back at once, and of
false proofs, the only ones that cost cryptography, much tighter. What is beyond either gets no answer: an
answer costs two signatures, and a client that waits for one asks less often. An IPv6 address counts as its
/64, since that is what one customer holds.

All clients behind a proxy that ends TLS share its address, whatever X-Forwarded-For says. There false proofs
must not close the address: a trusted proxy has a wider bucket of attempts, and false proofs beyond its bucket
of failures are looked at but not answered.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum

from access.source_addresses import Network, counted_as, is_within
from service.token_buckets import Bucket, Rate

MOST_ADDRESSES = 20_000


class Limit(StrEnum):
    """The bucket that was empty."""

    ATTEMPTS = "attempts"
    FAILURES = "failures"
    PROXY = "proxy"
    HOTKEY = "hotkey"


@dataclass(slots=True)
class AddressLimits:
    """`now` is monotonic seconds. The addresses seen last are remembered. `proxies` are trusted, and
    `proxy` is the rate of attempts of each."""

    attempts: Rate
    failures: Rate
    most_addresses: int = MOST_ADDRESSES
    proxies: tuple[Network, ...] = ()
    proxy: Rate | None = None
    _buckets: OrderedDict[str, tuple[Bucket, Bucket]] = field(default_factory=OrderedDict)

    def exceeded(self, host: str, now: float) -> Limit | None:
        """The limit that keeps this attempt from being looked at; None, and it is charged as one attempt."""
        attempts, failures = self._of(host, now)
        proxied = is_within(host, self.proxies)
        if failures.tokens < 1 and not proxied:
            return Limit.FAILURES
        if attempts.tokens < 1:
            return Limit.PROXY if proxied else Limit.ATTEMPTS
        attempts.tokens -= 1
        return None

    def failed(self, host: str, now: float) -> bool:
        """Charge a false proof from there. Return whether it is worth an answer."""
        _, failures = self._of(host, now)
        answered = failures.tokens >= 1
        failures.tokens = max(0.0, failures.tokens - 1)
        return answered

    def _of(self, host: str, now: float) -> tuple[Bucket, Bucket]:
        key = host if is_within(host, self.proxies) else counted_as(host)
        pair = self._buckets.get(key)
        if pair is None:
            attempts = self.proxy if self.proxy and is_within(host, self.proxies) else self.attempts
            pair = (attempts.full(now), self.failures.full(now))
            self._buckets[key] = pair
            if len(self._buckets) > self.most_addresses:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        for bucket in pair:
            bucket.refill(now)
        return pair
