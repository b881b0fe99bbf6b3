"""Tests the fault driver's plan: it can be repeated, has the requested size, and is fair."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.plan import (
    CLEAR_MS,
    EPOCH_MS,
    LEAD_MS,
    PARTS,
    SCHEDULERS,
    SETTLE_MS,
    Fault,
    Harm,
    PlanTooDenseError,
    as_it_went,
    is_fair,
    leaves_room,
    make_plan,
    outages,
)

SEEDS = st.integers(0, 2**63)


def pairs(plan: tuple[Fault, ...]) -> list[tuple[str, Harm]]:
    return [(fault.part, fault.harm) for fault in plan]


@settings(max_examples=15)
@given(SEEDS)
def test_the_same_seed_is_the_same_plan_of_the_size_asked_for(seed: int):
    plan = make_plan(seed, 100, 40)
    assert plan == make_plan(seed, 100, 40)
    assert len(plan) == 40
    assert list(plan) == sorted(plan)


@settings(max_examples=15)
@given(SEEDS, st.data())
def test_a_plan_that_is_kept_up_with_never_waits(seed: int, data: st.DataObject):
    plan = make_plan(seed, 60, 24)
    number = data.draw(st.integers(0, len(plan) - 1))
    now = plan[number].at_ms
    backs = [one.end_ms + data.draw(st.integers(0, SETTLE_MS.get(one.part, 0))) for one in plan[:number]]
    went = [
        as_it_went(one, one.at_ms, back if back <= now else None, now)
        for one, back in zip(plan, backs, strict=False)
    ]
    assert leaves_room([*went, as_it_went(plan[number], now, now, now)], now)


def test_while_a_scheduler_is_overdue_the_other_is_left_alone():
    first, second = (Fault(10, 0, name, Harm.KILL, 500) for name in SCHEDULERS)
    now = first.at_ms + 500 + SETTLE_MS["schedulers"] + 1000
    candidate = as_it_went(second, now, now, now)
    overdue = as_it_went(first, first.at_ms, None, now)
    assert overdue.end_ms == now
    assert not leaves_room([overdue, candidate], now)
    late = as_it_went(first, first.at_ms, now, now)
    assert late.end_ms == now - SETTLE_MS["schedulers"]
    assert leaves_room([late, candidate], now)


def test_another_seed_is_another_plan():
    assert len({make_plan(seed, 100, 40) for seed in range(10)}) == 10


@settings(max_examples=15)
@given(SEEDS)
def test_every_part_is_harmed(seed: int):
    plan = make_plan(seed, 100, 40)
    assert {fault.part for fault in plan} == set(PARTS)
    assert len(set(pairs(plan))) >= 20


@settings(max_examples=15)
@given(SEEDS, st.integers(10, 60))
def test_every_epoch_has_time_to_be_prepared_and_published(seed: int, epochs: int):
    plan = make_plan(seed, epochs, epochs * 2 // 5)
    away = [ms for begin, end in outages(plan) for ms in range(begin, end)]
    for epoch in range(epochs):
        window = range(epoch * EPOCH_MS - LEAD_MS, (epoch + 1) * EPOCH_MS)
        usable = sorted(set(window) - set(away))
        assert longest_run(usable) >= CLEAR_MS


def longest_run(instants: list[int]) -> int:
    """Return the length of the longest run of consecutive milliseconds."""
    longest = run = 1
    for before, after in pairwise(instants):
        run = run + 1 if after == before + 1 else 1
        longest = max(longest, run)
    return longest


@settings(max_examples=15)
@given(SEEDS)
def test_a_run_begins_and_ends_with_everything_up(seed: int):
    plan = make_plan(seed, 12, 4)
    assert all(fault.epoch >= 1 and fault.end_ms <= 10 * EPOCH_MS for fault in plan)


@settings(max_examples=15)
@given(SEEDS)
def test_many_faults_strike_around_a_boundary(seed: int):
    close = [min(f.offset_ms, EPOCH_MS - f.offset_ms) <= 60 for f in make_plan(seed, 100, 40)]
    assert sum(close) >= 6


def test_more_than_fits_is_refused():
    with pytest.raises(PlanTooDenseError, match="60 faults do not fit into 8 epochs"):
        make_plan(1, 8, 60)


def test_one_scheduler_may_be_down_over_two_starts_while_the_other_is_up():
    assert is_fair([Fault(3, 2000, "schedulers", Harm.KILL, 6000)])
    assert not is_fair([Fault(3, 2000, "schedulers", Harm.KILL, 6000)], parts=["schedulers"])


def test_both_schedulers_may_be_down_for_a_moment_only():
    def both(lasts_ms: int) -> list[Fault]:
        return [Fault(3, 10, part, Harm.KILL, lasts_ms) for part in ("schedulers", "schedulers_2")]

    assert is_fair(both(100))
    assert not is_fair(both(3000))


@pytest.mark.parametrize("part", ["postgres", "nats"])
def test_a_server_may_not_be_away_for_a_whole_epoch(part: str):
    assert is_fair([Fault(3, 0, part, Harm.KILL, 700)])
    assert not is_fair([Fault(3, 0, part, Harm.KILL, 3500)])


def test_a_part_is_not_harmed_again_before_it_is_back():
    assert not is_fair([Fault(3, 0, "callout", Harm.KILL, 500), Fault(4, 0, "callout", Harm.FREEZE, 50)])
