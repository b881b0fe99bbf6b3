"""Tests whose request is next, and how many may wait."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from access.fair_queue import Bounds, FairQueue

BOUNDS = Bounds(
    waiting=1000, waiting_of_one=100, bytes=10_000, bytes_of_one=1000, at_once=4, at_once_of_one=2
)


def queue(**changed: int) -> FairQueue[int]:
    return FairQueue(replace(BOUNDS, **changed))


def drained(queue: FairQueue[int]) -> list[str]:
    """Return the owners in the order in which they are served, one request at a time."""
    served = []
    while (taken := queue.take()) is not None:
        served.append(taken[0])
        queue.done(taken[0])
    return served


def test_an_owner_with_many_requests_delays_another_by_one_request() -> None:
    filled = queue()
    for number in range(50):
        filled.put("flooder", number, 1)
    filled.put("honest", 0, 1)
    assert drained(filled).index("honest") <= 1


def test_requests_of_one_owner_stay_in_order() -> None:
    filled = queue(at_once_of_one=4)
    for number in range(4):
        filled.put("a", number, 1)
    assert [filled.take() for _ in range(4)] == [("a", number) for number in range(4)]


def test_no_more_of_one_owner_are_in_work_than_allowed_and_others_go_on() -> None:
    filled = queue()
    for number in range(5):
        filled.put("slow", number, 1)
    assert filled.take() == ("slow", 0)
    assert filled.take() == ("slow", 1)
    assert filled.take() is None
    filled.put("other", 7, 1)
    assert filled.take() == ("other", 7)
    filled.done("slow")
    assert filled.take() == ("slow", 2)


def test_no_more_of_all_are_in_work_than_allowed() -> None:
    filled = queue()
    for owner in "abcdef":
        filled.put(owner, 0, 1)
    assert [filled.take() is not None for _ in range(6)] == [True] * 4 + [False] * 2


def test_what_has_no_room_is_refused_and_other_owners_have_room() -> None:
    filled = queue(waiting_of_one=2)
    assert [filled.put("a", number, 1) for number in range(3)] == [True, True, False]
    assert filled.put("b", 0, 1)
    by_size = queue()
    assert by_size.put("a", 0, 900)
    assert not by_size.put("a", 1, 200)
    assert by_size.put("b", 0, 900)
    full = queue(waiting=1)
    assert [full.put("a", 0, 1), full.put("b", 0, 1)] == [True, False]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), max_size=60))
def test_everything_that_was_queued_is_served_once_and_leaves_room(arrivals: list[tuple[str, int]]) -> None:
    filled = queue(bytes_of_one=10_000)
    queued = [owner for owner, size in arrivals if filled.put(owner, 0, size)]
    assert sorted(drained(filled)) == sorted(queued)
    assert filled.put("a", 0, 10_000)
