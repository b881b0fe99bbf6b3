"""Tests how much may pass at once, and how much after that."""

from hypothesis import given
from hypothesis import strategies as st

from service.token_buckets import Buckets, Rate


def test_a_burst_passes_and_then_so_many_a_second() -> None:
    buckets = Buckets(Rate(10, 2))
    assert [buckets.take("a", 0.0) for _ in range(11)] == [True] * 10 + [False]
    assert [buckets.take("a", 1.0) for _ in range(3)] == [True, True, False]
    assert buckets.take("b", 1.0)


def test_more_than_there_is_takes_nothing() -> None:
    buckets = Buckets(Rate(10, 1))
    assert not buckets.take("a", 0.0, 11)
    assert buckets.take("a", 0.0, 10)


def test_of_too_many_keys_those_used_last_are_remembered() -> None:
    buckets = Buckets(Rate(1, 0), most=2)
    for key in ("a", "b", "a", "c"):
        buckets.take(key, 0.0)
    assert not buckets.take("a", 0.0)
    assert buckets.take("b", 0.0)


@given(st.integers(1, 3000), st.lists(st.floats(0, 240), max_size=300))
def test_a_rate_of_a_minute_lets_no_more_through_in_any_minute(amount: int, times: list[float]) -> None:
    buckets = Buckets(Rate.of_minute(amount))
    passed = [at for at in sorted(times * 10) if buckets.take("a", at)]
    assert all(sum(at <= other < at + 60 for other in passed) <= max(amount, 1) + 1 for at in passed)
