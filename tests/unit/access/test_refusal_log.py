"""Tests which refusals are written, and which of their fields."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from access.refusal_log import (
    ALL_BURST,
    ALL_PER_SECOND,
    KIND_BURST,
    MAX_WAITING,
    RefusalTrail,
    Sampler,
    well_formed,
)
from storage.database.engine import open_engine
from storage.database.refusals import Refusal
from tests.support.fakes import MINER_HOTKEY, FakeClock

REFUSAL = Refusal(
    datetime(2026, 11, 22, tzinfo=UTC), "bridge", "epoch.current", "bad_signature", None, "192.0.2.7", "r"
)


def test_a_few_are_all_written() -> None:
    sampler = Sampler()
    written = [sampler.sample(REFUSAL, now / 10) for now in range(int(KIND_BURST))]
    assert written == [REFUSAL] * int(KIND_BURST)


def test_a_flood_is_cut_and_the_next_one_written_says_how_many_were_left_out() -> None:
    sampler = Sampler()
    written = [sampler.sample(REFUSAL, 0) for _ in range(1000)]
    assert sum(one is not None for one in written) == KIND_BURST
    later = sampler.sample(REFUSAL, 3600)
    assert later == replace(REFUSAL, suppressed=1000 - int(KIND_BURST))
    assert sampler.sample(REFUSAL, 3600) == REFUSAL


def test_a_flood_of_one_kind_hides_no_other() -> None:
    sampler = Sampler()
    for _ in range(1000):
        sampler.sample(REFUSAL, 0)
    assert sampler.sample(replace(REFUSAL, error="stale_request"), 0) is not None


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 5)), max_size=2000))
def test_whatever_comes_rows_are_bounded_and_none_is_forgotten(flood: list[tuple[int, float]]) -> None:
    sampler, now, written = Sampler(), 0.0, []
    for kind, pause in flood:
        now += pause
        sampled = sampler.sample(replace(REFUSAL, error=str(kind)), now)
        if sampled is not None:
            written.append(sampled)
    assert len(written) <= ALL_BURST + ALL_PER_SECOND * now + 1
    pending = sum(sampler._suppressed.values())
    assert len(written) + sum(one.suppressed for one in written) + pending == len(flood)


def test_only_a_hotkey_is_kept_of_what_a_request_claims_to_be() -> None:
    assert well_formed(MINER_HOTKEY) == MINER_HOTKEY
    for junk in ("", "x" * 10_000, "'; drop table epochs", 7, None, ["a"], MINER_HOTKEY + "\n"):
        assert well_formed(junk) is None


async def test_what_waits_for_the_record_is_bounded_and_the_loss_is_counted() -> None:
    engine = open_engine("postgresql://nobody@127.0.0.1:9/nothing", application_name="test")
    clock = FakeClock()
    trail = RefusalTrail("bridge", engine, clock)
    for number in range(2 * MAX_WAITING):
        await clock.sleep(10)
        trail.note(verb="v", error="e", hotkey=None, source="s", request_id=str(number))
    assert trail.lost == MAX_WAITING
    await trail.write()  # the database is unavailable, so the rows stay in memory
    assert len(trail._waiting) == MAX_WAITING
    await engine.dispose()
