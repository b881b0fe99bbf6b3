"""Tests which hotkeys send too much over all their connections, and when they may return."""

from datetime import UTC, datetime, timedelta

from broker_service.callout.connections import Place
from broker_service.callout.flood_detection import FloodWatch, Traffic
from service.token_buckets import Rate
from tests.support.fakes import MINER_HOTKEY, VALIDATOR_HOTKEY
from zipcast.protocol.hotkeys import Hotkey

BEGAN_AT = datetime(2026, 11, 30, tzinfo=UTC)
LATER = BEGAN_AT + timedelta(hours=1)
KEPT_OUT = 300.0


def watch() -> FloodWatch:
    return FloodWatch(Rate(1000, 50), Rate(20_000_000, 1_000_000), KEPT_OUT, BEGAN_AT)


def traffic(messages: int, *, size: int = 0, client: int = 1, hotkey: Hotkey = MINER_HOTKEY) -> Traffic:
    return Traffic(Place("S", client), hotkey, messages, size)


def test_a_flood_is_seen_at_the_first_look_and_nobody_else_is_kept_out() -> None:
    watching = watch()
    quiet = traffic(20, client=2, hotkey=VALIDATOR_HOTKEY)
    assert watching.listed([(traffic(20_000), LATER), (quiet, LATER)], 10.0, LATER) == [MINER_HOTKEY]
    assert watching.seconds_kept_out(MINER_HOTKEY, 10.0) == KEPT_OUT
    assert watching.seconds_kept_out(VALIDATOR_HOTKEY, 10.0) == 0


def test_it_may_come_back_after_its_time_and_a_new_flood_is_seen_again() -> None:
    watching = watch()
    watching.listed([(traffic(20_000), LATER)], 10.0, LATER)
    assert watching.seconds_kept_out(MINER_HOTKEY, 10.0 + KEPT_OUT) == 0
    again = traffic(20_000, client=2)
    assert watching.listed([(again, LATER)], 20.0 + KEPT_OUT, LATER) == [MINER_HOTKEY]


def test_honest_bursts_are_never_kept_out() -> None:
    """Each of ten connections sends twenty requests at every start, and connects again in between."""
    watching = watch()
    for epoch in range(50):
        now = epoch * 60.0
        connections = [(traffic(20, client=epoch * 10 + n), LATER) for n in range(10)]
        assert watching.listed(connections, now, LATER) == []
        assert not any(watching.ended(one, now + 1, 0) for one, _ in connections)


def test_a_flood_spread_over_connections_that_end_before_they_are_listed_is_seen() -> None:
    watching = watch()
    seen = [watching.ended(traffic(400, client=n), 1.0, 0) for n in range(3)]
    assert seen == [False, False, True]


def test_a_slow_flood_is_seen_after_a_while_and_what_is_allowed_never() -> None:
    assert _seen_after(per_second=100) in range(15, 25)
    assert _seen_after(per_second=45) is None


def test_bytes_count_beside_messages() -> None:
    watching = watch()
    assert watching.listed([(traffic(100, size=25_000_000), LATER)], 0.0, LATER) == [MINER_HOTKEY]


def test_what_was_sent_before_the_watch_began_is_not_counted() -> None:
    """A callout that has just started may see connections that are weeks old."""
    watching = watch()
    old = BEGAN_AT - timedelta(days=20)
    assert watching.listed([(traffic(1_000_000), old)], 0.0, LATER) == []
    assert watching.listed([(traffic(1_000_100), old)], 1.0, LATER) == []
    assert watching.listed([(traffic(1_020_000), old)], 2.0, LATER) == [MINER_HOTKEY]


def _seen_after(per_second: int) -> int | None:
    watching = watch()
    for second in range(600):
        if watching.listed([(traffic(per_second * second), LATER)], float(second), LATER):
            return second
    return None


def test_a_connection_that_ended_is_not_counted_again_by_a_listing_that_was_under_way() -> None:
    """The connection had sent much in all, but slowly, so its hotkey may return at once."""
    watching = watch()
    for second in range(120):
        assert watching.listed([(traffic(25 * second), LATER)], float(second), LATER) == []
    assert not watching.ended(traffic(3_000), 120.0, 120.0)
    stale = [(traffic(3_000), LATER)]
    assert watching.listed(stale, 120.5, LATER + timedelta(seconds=120)) == []
    assert watching.seconds_kept_out(MINER_HOTKEY, 120.5) == 0


def test_what_was_never_listed_is_judged_by_its_age() -> None:
    """Examples are a long connection behind a thousand others, and the time after a restart of
    nats-server."""
    watching = watch()
    assert not watching.ended(traffic(50 * 3_600), 0.0, 3_600)
    assert watching.ended(traffic(50 * 3_600 + 1_100, client=2), 0.0, 3_600)
    day_old = LATER - timedelta(minutes=50)
    assert watch().listed([(traffic(100_000), day_old)], 0.0, LATER) == []
