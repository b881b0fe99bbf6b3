"""Limits how many connection attempts from one source address are processed. No I/O.

Each address has two token buckets. The bucket of attempts is large enough for many miners behind one NAT to
reconnect at once. The bucket of false proofs is much smaller, because checking a proof needs expensive
cryptography. Attempts beyond either bucket get no reply: a reply costs two signatures, and a client that
waits for one tries less often. An IPv6 address counts as its /64, because one customer usually has a whole
/64.

All clients behind a proxy that ends TLS share the proxy's address, because nats-server ignores
X-Forwarded-For. False proofs must not block such an address. Therefore a trusted proxy has a larger bucket of
attempts, and false proofs beyond its bucket of failures are checked but not answered.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum

from access.source_addresses import Network, counted_as, is_within
from service.token_buckets import Bucket, Rate

MAX_ADDRESSES = 20_000


class Limit(StrEnum):
    """Names the bucket that was empty."""

    ATTEMPTS = "attempts"
    FAILURES = "failures"
    PROXY = "proxy"
    HOTKEY = "hotkey"


@dataclass(slots=True)
class AddressLimits:
    """The buckets of the most recent addresses. `proxies` are the trusted proxies, and `proxy` is the rate of
    attempts for each. `now` is in monotonic seconds."""

    attempts: Rate
    failures: Rate
    most_addresses: int = MAX_ADDRESSES
    proxies: tuple[Network, ...] = ()
    proxy: Rate | None = None
    _buckets: OrderedDict[str, tuple[Bucket, Bucket]] = field(default_factory=OrderedDict)

    def exceeded(self, host: str, now: float) -> Limit | None:
        """Charge an attempt and return None, or return the limit that it exceeds."""
        attempts, failures = self._of(host, now)
        proxied = is_within(host, self.proxies)
        if failures.tokens < 1 and not proxied:
            return Limit.FAILURES
        if attempts.tokens < 1:
            return Limit.PROXY if proxied else Limit.ATTEMPTS
        attempts.tokens -= 1
        return None

    def failed(self, host: str, now: float) -> bool:
        """Charge a false proof to the address. Return whether to reply to it."""
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
