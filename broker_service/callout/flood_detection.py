"""Finds hotkeys that send too much, whatever they send, and keeps them out for a while. No I/O.

Owns one budget of messages and one of bytes for each hotkey, over all its connections. nats-server counts
what a connection sent, also what it refused to pass on. Each callout replica watches all servers for itself,
so that replicas agree without a store that they share.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from broker_service.callout.connections import Place
from service.token_buckets import Buckets, Rate
from zipcast.protocol.hotkeys import Hotkey

ENDED_REMEMBERED_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """Messages and bytes that one connection has sent since it began."""

    place: Place
    hotkey: Hotkey
    messages: int
    bytes: int


@dataclass(slots=True)
class FloodWatch:
    """`now` is monotonic seconds. What a connection had sent before `began_at` is not counted."""

    messages: Rate
    bytes: Rate
    kept_out_seconds: float
    began_at: datetime
    _messages: Buckets = field(init=False)
    _bytes: Buckets = field(init=False)
    _seen: dict[Place, Traffic] = field(default_factory=dict)
    _ended: dict[Place, float] = field(default_factory=dict)
    """The time until which a listing may still show a connection that has ended."""
    _kept_out_until: dict[Hotkey, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._messages, self._bytes = Buckets(self.messages), Buckets(self.bytes)

    def listed(self, listing: Iterable[tuple[Traffic, datetime]], now: float, at: datetime) -> list[Hotkey]:
        """Count what connections have sent by now; each comes with the time it began. `at` is the time of
        `now`. Return the hotkeys that are kept out from now on.

        A listing takes a second: a connection that ended meanwhile was counted by `ended` and is left out."""
        self._ended = {place: until for place, until in self._ended.items() if until > now}
        return [
            traffic.hotkey
            for traffic, since in listing
            if traffic.place not in self._ended
            and self._count(traffic, now, _seconds(at - since), unknown_before=since < self.began_at)
        ]

    def ended(self, traffic: Traffic, now: float, age_seconds: float) -> bool:
        """Count what a connection had sent when it ended, `age_seconds` after it began. Return whether its
        hotkey is kept out from now on. One that was never listed counts too, so that reconnecting hides
        nothing."""
        exceeded = self._count(traffic, now, age_seconds, unknown_before=False)
        self._seen.pop(traffic.place, None)
        self._ended[traffic.place] = now + ENDED_REMEMBERED_SECONDS
        return exceeded

    def seconds_kept_out(self, hotkey: Hotkey, now: float) -> float:
        """Return how long the hotkey stays kept out; 0 if it is not."""
        until = self._kept_out_until.get(hotkey)
        if until is None:
            return 0.0
        if now >= until:
            del self._kept_out_until[hotkey]
            return 0.0
        return until - now

    def _count(self, traffic: Traffic, now: float, age_seconds: float, *, unknown_before: bool) -> bool:
        before = self._seen.get(traffic.place)
        self._seen[traffic.place] = traffic
        if before is not None:
            messages, size = traffic.messages - before.messages, traffic.bytes - before.bytes
        elif unknown_before:
            return False
        else:
            # Not listed before: traffic that is allowed in its time is no flood, however much it has become.
            messages = max(0, traffic.messages - int(self.messages.per_second * age_seconds))
            size = max(0, traffic.bytes - int(self.bytes.per_second * age_seconds))
        within = self._messages.take(traffic.hotkey, now, messages) and self._bytes.take(
            traffic.hotkey, now, size
        )
        if within or self.seconds_kept_out(traffic.hotkey, now):
            return False
        self._kept_out_until[traffic.hotkey] = now + self.kept_out_seconds
        return True


def _seconds(age: timedelta) -> float:
    return max(0.0, age.total_seconds())
