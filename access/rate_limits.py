"""Limits requests. This module has the rules and counts the requests.

If several replicas share their counts, the library `limits` counts in Redis or Valkey. Without that store, or
while it is unavailable, the process counts in its own memory.
"""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from math import ceil

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from access.memory_counts import MemoryCounts
from access.refunds import Credits
from access.source_addresses import counted_as
from service import logs
from service.settings import LimitSettings
from zipcast.clock import Clock
from zipcast.protocol.calendar import scaled
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.verbs import VERBS, Verb

log = logs.logger()

# The time limit of one count in Redis. It is short, because a request waits for the count.
TIMEOUT_SECONDS = 0.25
ASK_AGAIN_SECONDS = 5.0
# A limit of up to this many requests per window is counted exactly, by storing the time of each request.
EXACT_UP_TO = 1000
# The largest number of hotkeys in a subnet. Half of the daily total is reserved for them, in equal parts.
MAX_HOTKEYS = 256
# A charged request is remembered for this long. A signed request can be repeated from 300 s before the time
# that it states until 300 s after that time.
REMEMBERED_SECONDS = 600.0
MAX_REMEMBERED = 100_000
MAX_REPETITIONS = 10
MAX_COPIES_PER_MINUTE = 20
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@dataclass(frozen=True)
class Rule:
    """A limit of `amount` requests within any `seconds`. `per` names what it counts for, such as a hotkey."""

    name: str
    amount: int
    seconds: int
    per: str

    @cached_property
    def item(self) -> RateLimitItemPerSecond:
        return RateLimitItemPerSecond(self.amount, self.seconds, self.name)


@dataclass(frozen=True)
class Rules:
    """The limits. If epochs are shorter than four hours, windows of hours and days are shortened in the same
    proportion, like the cooldown."""

    address: Rule
    statistics: Rule
    total: Rule
    reserved: Rule | None
    """Credentials reserved for each hotkey, whatever others use; None if `total` is too small to share."""
    by_verb: dict[Verb, Rule]
    repetitions: Rule
    """The limit of copies of one signed request that was granted access. Each copy gets the same access."""
    copies: Rule
    """The limit of copies of one signed request that the bridge forwards."""

    @classmethod
    def of(cls, settings: LimitSettings) -> "Rules":
        def rule(name: str, amount: int, window: timedelta, per: str) -> Rule:
            length = window if window == MINUTE else scaled(window, settings.epoch_seconds)
            return Rule(name, amount, max(1, int(length.total_seconds())), per)

        reserved = settings.total_daily_limit // (2 * MAX_HOTKEYS)
        return cls(
            address=rule("address", settings.limit_address_per_minute, MINUTE, "address"),
            statistics=rule("stats", settings.limit_stats_per_minute, MINUTE, "address"),
            total=rule("credentials", settings.total_daily_limit, DAY, "service"),
            reserved=rule("credentials-reserved", reserved, DAY, "hotkey") if reserved else None,
            by_verb={
                verb: rule(
                    spec.limit.name, getattr(settings, spec.limit.setting), spec.limit.window, "hotkey"
                )
                for verb, spec in VERBS.items()
                if spec.limit is not None
            },
            repetitions=Rule("repetitions", MAX_REPETITIONS, int(REMEMBERED_SECONDS), "request"),
            copies=Rule("copies", MAX_COPIES_PER_MINUTE, int(MINUTE.total_seconds()), "request"),
        )

    @property
    def all(self) -> tuple[Rule, ...]:
        reserved = () if self.reserved is None else (self.reserved,)
        every = (self.address, self.statistics, *self.by_verb.values(), self.total, *reserved)
        return tuple(dict.fromkeys(every))

    @cached_property
    def shared(self) -> Rule:
        """Return the part of the total that is not reserved for single hotkeys."""
        reserved = 0 if self.reserved is None else self.reserved.amount * MAX_HOTKEYS
        return replace(self.total, amount=self.total.amount - reserved)


class SharedCounts:
    """Counts in Redis or Valkey: exactly for limits of up to a thousand, otherwise with two buckets per
    window."""

    def __init__(self, storage: RedisStorage) -> None:
        self._exact = MovingWindowRateLimiter(storage)
        self._rough = SlidingWindowCounterRateLimiter(storage)

    async def reach(self) -> bool:
        """Return whether the store responds. Raises the errors of `refusal`."""
        return await self._exact.storage.check()

    async def refusal(self, rule: Rule, whom: str, now_unix: float) -> int | None:
        """Count a request and return None. If the limit is reached, return the number of seconds until there
        is room for it. Raises StorageError."""
        limiter = self._exact if rule.amount <= EXACT_UP_TO else self._rough
        if await limiter.hit(rule.item, whom):
            return None
        window = await limiter.get_window_stats(rule.item, whom)
        return max(1, min(rule.seconds, ceil(window.reset_time - now_unix)))


@dataclass(slots=True)
class Limits:
    """Counts requests and refuses those beyond a limit. `store_fault` is the reason why the shared store is
    not in use."""

    rules: Rules
    clock: Clock
    shared: SharedCounts | None = None
    store_fault: str | None = None
    _own: MemoryCounts = field(default_factory=MemoryCounts)
    _ask_again_at: float = field(default=float("-inf"))
    _credits: Credits = field(default_factory=Credits)
    _charged: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """Charged requests, by rule, hotkey and key, with the time when they may be forgotten; oldest first."""
    _being_charged: dict[tuple[str, str, str], asyncio.Event] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: LimitSettings, clock: Clock) -> "Limits":
        url = settings.redis_url
        return cls(Rules.of(settings), clock, None if url is None else _shared(url.get_secret_value()))

    async def charge_address(self, address: str) -> None:
        """Charge an HTTP request to its address, before it is read. Raises ServiceError(RATE_LIMITED)."""
        await self._charge(self.rules.address, counted_as(address))

    async def charge_sender(self, hotkey: str) -> None:
        """Charge a NATS request to the hotkey of its subject, before its signature is verified. This is safe,
        because only connections of that hotkey can publish on the subject. Raises
        ServiceError(RATE_LIMITED)."""
        await self._charge(self.rules.address, hotkey)

    async def charge_statistics(self, address: str) -> None:
        """Charge a request for public statistics. Raises ServiceError(RATE_LIMITED)."""
        await self._charge(self.rules.statistics, counted_as(address))

    async def charge(self, verb: Verb, hotkey: str, request_key: str) -> bool:
        """Charge a request whose signature was verified. Return False if this process has already charged it.
        Such a repetition has a separate limit and does not count against the hotkey, because someone else may
        have sent it. Raises ServiceError(RATE_LIMITED)."""
        rule = self.rules.by_verb.get(verb)
        if rule is not None and not await self._charge_once(verb, rule, hotkey, request_key):
            return False
        if VERBS[verb].mints:
            try:
                await self._charge_total(hotkey)
            except ServiceError:
                self.refund(verb, hotkey, request_key)
                raise
        return True

    async def charge_repetition(self, verb: Verb, hotkey: str, request_key: str) -> None:
        """Charge a copy of a request. Raises ServiceError(RATE_LIMITED)."""
        rule = self.rules.repetitions if VERBS[verb].mints else self.rules.by_verb[verb]
        await self._charge(rule, f"{hotkey} {request_key}")

    async def charge_copy(self, hotkey: str, request_key: str) -> bool:
        """Return whether this process has forwarded the signed request before. If so, charge the copy. Raises
        ServiceError(RATE_LIMITED)."""
        rule = self.rules.copies
        key = (rule.name, hotkey, request_key)
        if self._was_charged(key):
            await self._charge(rule, f"{hotkey} {request_key}")
            return True
        self._charged[key] = self.clock.monotonic() + REMEMBERED_SECONDS
        return False

    async def _charge_once(self, verb: Verb, rule: Rule, hotkey: str, request_key: str) -> bool:
        key = (rule.name, hotkey, request_key)
        # A copy that arrives while the first request is being charged waits here. The copy counts as a
        # repetition only if the first request was charged.
        while (decided := self._being_charged.get(key)) is not None:
            await decided.wait()
        if self._was_charged(key):
            await self.charge_repetition(verb, hotkey, request_key)
            return False
        decided = self._being_charged[key] = asyncio.Event()
        try:
            await self._charge_hotkey(rule, hotkey)
            self._charged[key] = self.clock.monotonic() + REMEMBERED_SECONDS
        finally:
            del self._being_charged[key]
            decided.set()
        return True

    async def _charge_hotkey(self, rule: Rule, hotkey: str) -> None:
        if not self._credits.spend((rule.name, hotkey), self.clock.monotonic()):
            await self._charge(rule, hotkey)

    def _was_charged(self, key: tuple[str, str, str]) -> bool:
        """Return whether the request was charged before. Also forget requests that can no longer be
        repeated."""
        now = self.clock.monotonic()
        while self._charged:
            oldest = next(iter(self._charged))
            if self._charged[oldest] > now and len(self._charged) < MAX_REMEMBERED:
                break
            del self._charged[oldest]
        return key in self._charged

    async def _charge_total(self, hotkey: str) -> None:
        """Charge the daily total: first the part reserved for the hotkey, then the shared part, so that a few
        hotkeys cannot use up the total."""
        if self._credits.spend((self.rules.total.name, hotkey), self.clock.monotonic()):
            return
        reserved = self.rules.reserved
        if reserved is not None and await self._refusal(reserved, hotkey) is None:
            return
        retry_after = await self._refusal(self.rules.shared, "all")
        if retry_after is not None:
            raise _refused(self.rules.total, retry_after)

    def refund(self, verb: Verb, hotkey: str, request_key: str) -> None:
        """Make the hotkey's next request free, because this one failed through no fault of the hotkey.

        Only this process knows the refund, and only as long as the charge would count. The daily total is not
        refunded, because it limits work, which was done."""
        rule = self.rules.by_verb.get(verb)
        if rule is not None:
            self._credit(rule, hotkey)
            self._charged.pop((rule.name, hotkey, request_key), None)

    def take_back(self, verb: Verb, hotkey: str) -> None:
        """Undo the charges for a request that another process had already charged: that of the hotkey's limit
        and that of the total. The request stays known, so that its next copy counts as a repetition."""
        for rule in (self.rules.by_verb.get(verb), self.rules.total if VERBS[verb].mints else None):
            if rule is not None:
                self._credit(rule, hotkey)

    def _credit(self, rule: Rule, hotkey: str) -> None:
        self._credits.give((rule.name, hotkey), rule.seconds, self.clock.monotonic())

    async def ask_store(self) -> None:
        """Check the shared store, for the health page."""
        if self.shared is None:
            return
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answered = await self.shared.reach()
        except Exception as error:  # noqa: BLE001 - whatever a library makes of odd answers
            self._fall_back(error)
        else:
            if answered:
                self._recover()
            else:
                self._fall_back(ConnectionError())

    async def _charge(self, rule: Rule, whom: str) -> None:
        retry_after = await self._refusal(rule, whom)
        if retry_after is not None:
            raise _refused(rule, retry_after)

    async def _refusal(self, rule: Rule, whom: str) -> int | None:
        now = self.clock.monotonic()
        if self.shared is not None and now >= self._ask_again_at:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    refusal = await self.shared.refusal(rule, whom, self.clock.now().timestamp())
            except Exception as error:  # noqa: BLE001 - whatever a library makes of odd answers
                self._fall_back(error)
            else:
                self._recover()
                return refusal
        return self._own.refusal(rule.name, whom, rule.amount, rule.seconds, now)

    def _fall_back(self, error: Exception) -> None:
        cause = error.storage_error if isinstance(error, StorageError) else error
        self._ask_again_at = self.clock.monotonic() + ASK_AGAIN_SECONDS
        if self.store_fault is None:
            log.warning("rate_limit_store_lost", error=type(cause).__name__)
        self.store_fault = type(cause).__name__

    def _recover(self) -> None:
        if self.store_fault is not None:
            log.info("rate_limit_store_back")
        self.store_fault = None


@dataclass(frozen=True, slots=True)
class Quota:
    """The methods of `Limits`, bound to one request."""

    limits: Limits
    verb: Verb
    hotkey: str
    request_key: str

    async def charge(self) -> bool:
        """Charge the request. Raises ServiceError(RATE_LIMITED)."""
        return await self.limits.charge(self.verb, self.hotkey, self.request_key)

    async def charge_repetition(self) -> None:
        """Charge a copy of the request. Raises ServiceError(RATE_LIMITED)."""
        await self.limits.charge_repetition(self.verb, self.hotkey, self.request_key)

    async def charge_copy(self) -> bool:
        """Return whether the request is a copy. If so, charge it. Raises ServiceError(RATE_LIMITED)."""
        return await self.limits.charge_copy(self.hotkey, self.request_key)

    def refund(self) -> None:
        self.limits.refund(self.verb, self.hotkey, self.request_key)

    def take_back(self) -> None:
        self.limits.take_back(self.verb, self.hotkey)


def _refused(rule: Rule, retry_after_seconds: int) -> ServiceError:
    return ServiceError(
        ErrorCode.RATE_LIMITED,
        f"The limit is {rule.amount} requests in {rule.seconds} s per {rule.per} ({rule.name}).",
        retry_after_seconds=retry_after_seconds,
    )


def _shared(url: str) -> SharedCounts:
    scheme, _, rest = url.partition("://")
    storage = RedisStorage(
        f"async+{scheme.replace('valkey', 'redis')}://{rest}",  # Redis and Valkey have the same protocol
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix="zipcast",
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
    )
    return SharedCounts(storage)
