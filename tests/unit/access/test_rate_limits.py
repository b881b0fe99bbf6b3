"""Tests the limits of the contract, counted in memory."""

import asyncio
from unittest.mock import AsyncMock, patch

import pytest

from access.memory_counts import TIDY_SECONDS, MemoryCounts
from access.rate_limits import (
    MAX_COPIES_PER_MINUTE,
    MAX_HOTKEYS,
    MAX_REPETITIONS,
    REMEMBERED_SECONDS,
    Limits,
    Rule,
    Rules,
)
from http_bridge.rate_limits_reply import rate_limits
from service.settings import LimitSettings
from tests.support.fakes import MINER_HOTKEY, STRANGER_HOTKEY, FakeClock
from tests.support.limit_requests import KEYS, refusal
from zipcast.clock import SystemClock
from zipcast.protocol.verbs import Verb


def rules(**changes: object) -> Rules:
    return Rules.of(LimitSettings(**changes))


def limits(**changes: object) -> Limits:
    return Limits.of(LimitSettings(**changes), SystemClock())


def test_the_defaults_are_the_contract_s() -> None:
    found = {rule.name: (rule.amount, rule.seconds, rule.per) for rule in rules().all}
    assert found == {
        "address": (1000, 60, "address"),
        "stats": (30, 60, "address"),
        "current": (10, 60, "hotkey"),
        "epoch": (20, 3600, "hotkey"),
        "stream": (10, 60, "hotkey"),
        "sealed": (10, 60, "hotkey"),
        "epoch-get": (60, 3600, "hotkey"),
        "epoch-pool": (1000, 3600, "hotkey"),
        "status": (60, 3600, "hotkey"),
        "results": (20, 3600, "hotkey"),
        "consensus": (120, 3600, "hotkey"),
        "legacy-choice": (60, 3600, "hotkey"),
        "miner-uploads": (60, 3600, "hotkey"),
        "folder-access": (20, 86_400, "hotkey"),
        "miner-upload": (20, 86_400, "hotkey"),
        "validator-upload": (5, 3600, "hotkey"),
        "validator-read": (10_000, 86_400, "hotkey"),
        "credentials": (200_000, 86_400, "service"),
        "credentials-reserved": (390, 86_400, "hotkey"),
    }


def test_hours_and_days_shrink_with_short_epochs_and_minutes_do_not() -> None:
    short = rules(epoch_duration_seconds=60)
    assert short.by_verb[Verb.S3_VALIDATOR_UPLOAD].seconds == 15
    assert short.by_verb[Verb.S3_MINER_UPLOAD].seconds == 360
    assert short.by_verb[Verb.EPOCH_CURRENT].seconds == 60
    assert rules(epoch_duration_hours=24) == rules()


async def test_one_more_than_allowed_is_refused_and_told_when_to_come_again() -> None:
    counting = limits()
    for _ in range(10):
        await counting.charge(Verb.EPOCH_CURRENT, "a", next(KEYS))
    refused = await refusal(counting.charge(Verb.EPOCH_CURRENT, "a", next(KEYS)))
    assert 0 < refused.retry_after_seconds <= 60
    assert "10 requests in 60 s per hotkey (current)" in refused.message
    await counting.charge(Verb.EPOCH_CURRENT, "b", next(KEYS))


async def test_verbs_are_counted_apart_and_all_that_mints_together() -> None:
    counting = limits(total_daily_limit=3)
    await counting.charge(Verb.S3_MINER_UPLOAD, "a", next(KEYS))
    await counting.charge(Verb.S3_VALIDATOR_UPLOAD, "b", next(KEYS))
    await counting.charge(Verb.S3_FOLDER_ACCESS, "c", next(KEYS))
    refused = await refusal(counting.charge(Verb.S3_VALIDATOR_READ, "d", next(KEYS)))
    assert "(credentials)" in refused.message
    await counting.charge(Verb.EPOCH_CURRENT, "d", next(KEYS))


async def test_a_window_moves_on() -> None:
    clock = FakeClock()
    counting = Limits.of(LimitSettings(), clock)
    rule = Rule("short", 2, 10, "hotkey")
    assert await counting._refusal(rule, "a") is None
    await clock.sleep(4)
    assert await counting._refusal(rule, "a") is None
    assert await counting._refusal(rule, "a") == 6
    await clock.sleep(5.5)
    assert await counting._refusal(rule, "a") == 1
    await clock.sleep(0.5)
    assert await counting._refusal(rule, "a") is None
    assert await counting._refusal(rule, "a") == 4


async def test_addresses_are_counted_before_anything_else_is_known() -> None:
    counting = limits(limit_address_per_minute=2, limit_stats_per_minute=1)
    for _ in range(2):
        await counting.charge_address("192.0.2.7")
    await refusal(counting.charge_address("192.0.2.7"))
    await counting.charge_address("192.0.2.8")
    await counting.charge_statistics("192.0.2.7")
    await refusal(counting.charge_statistics("192.0.2.7"))


def test_what_is_in_force_is_published() -> None:
    published = rate_limits(rules(daily_limit_per_miner=7)).model_dump()["limits"]
    assert {"name": "folder-access", "amount": 7, "seconds": 86_400, "per": "hotkey"} in published
    assert len(published) == len(rules().all)


async def test_a_refund_is_good_for_one_request_of_that_hotkey_and_verb() -> None:
    counting = limits(limit_upload_per_hour=1)
    await counting.charge(Verb.S3_VALIDATOR_UPLOAD, "a", "first")
    counting.refund(Verb.S3_VALIDATOR_UPLOAD, "a", "first")
    await counting.charge(Verb.S3_VALIDATOR_UPLOAD, "b", next(KEYS))
    await refusal(counting.charge(Verb.S3_VALIDATOR_UPLOAD, "b", next(KEYS)))
    await counting.charge(Verb.S3_VALIDATOR_UPLOAD, "a", next(KEYS))
    await refusal(counting.charge(Verb.S3_VALIDATOR_UPLOAD, "a", next(KEYS)))


async def test_a_refund_lasts_no_longer_than_the_charge_it_takes_back() -> None:
    clock = FakeClock()
    counting = Limits.of(LimitSettings(limit_upload_per_hour=1), clock)
    await counting.charge(Verb.S3_VALIDATOR_UPLOAD, "a", "first")
    counting.refund(Verb.S3_VALIDATOR_UPLOAD, "a", "first")
    await clock.sleep(3600)
    await counting.charge(Verb.S3_VALIDATOR_UPLOAD, "a", next(KEYS))
    await refusal(counting.charge(Verb.S3_VALIDATOR_UPLOAD, "a", next(KEYS)))
    counting.refund(Verb.S3_VALIDATOR_UPLOAD, "b", "other")
    assert len(counting._credits._open) == 1  # charges that have expired are not kept


async def test_refunds_of_what_a_refund_paid_last_no_longer_than_the_first_charge() -> None:
    clock = FakeClock()
    counting = Limits.of(LimitSettings(limit_upload_per_hour=1), clock)
    for number in range(6):
        assert await counting.charge(Verb.S3_VALIDATOR_UPLOAD, "a", f"btauth:{number}")
        counting.refund(Verb.S3_VALIDATOR_UPLOAD, "a", f"btauth:{number}")
        await clock.sleep(500)
    # The charge counts for an hour, of which 3,000 s have passed. Its refund ends at the same time.
    await clock.sleep(601)
    assert not counting._credits.spend(("validator-upload", "a"), clock.monotonic())


def test_what_no_longer_counts_is_forgotten_once_a_minute_and_what_counts_is_not() -> None:
    counting = MemoryCounts()
    assert counting.refusal("short", "a", 1, 10, 0.0) is None
    assert counting.refusal("long", "a", 1, 1_000, 0.0) is None
    assert counting.refusal("long", "b", 1, 1_000, TIDY_SECONDS - 1) is None
    assert set(counting._hits) == {("short", "a"), ("long", "a"), ("long", "b")}
    assert counting.refusal("long", "b", 1, 1_000, TIDY_SECONDS) == 999
    assert set(counting._hits) == {("long", "a"), ("long", "b")}
    assert counting.refusal("long", "a", 1, 1_000, TIDY_SECONDS + 1) == 939
    counting.tidy(3_000.0)
    assert counting._hits == {}


async def test_over_nats_each_hotkey_counts_for_itself() -> None:
    counting = limits(limit_address_per_minute=1)
    await counting.charge_sender(MINER_HOTKEY)
    await refusal(counting.charge_sender(MINER_HOTKEY))
    await counting.charge_sender(STRANGER_HOTKEY)


async def test_all_addresses_of_one_ipv6_network_count_as_one() -> None:
    counting = limits(limit_stats_per_minute=2)
    for host in ("2001:db8::1", "2001:db8::ffff:2"):
        await counting.charge_statistics(host)
    await refusal(counting.charge_statistics("2001:db8::3"))
    await counting.charge_statistics("2001:db8:0:1::1")


async def test_a_request_that_is_repeated_by_a_stranger_uses_no_quota() -> None:
    counting = limits()
    await counting.charge(Verb.EPOCH_CURRENT, "a", "first")
    for _ in range(10):
        await counting.charge(Verb.EPOCH_CURRENT, "a", "first")
    refused = await refusal(counting.charge(Verb.EPOCH_CURRENT, "a", "first"))
    assert "10 requests in 60 s" in refused.message
    for number in range(9):
        await counting.charge(Verb.EPOCH_CURRENT, "a", f"own-{number}")
    await refusal(counting.charge(Verb.EPOCH_CURRENT, "a", "one too many"))


async def test_a_request_that_was_granted_access_may_be_repeated_ten_times() -> None:
    counting = limits(limit_upload_per_hour=1)
    assert await counting.charge(Verb.S3_VALIDATOR_UPLOAD, "a", "first")
    for _ in range(MAX_REPETITIONS):
        assert not await counting.charge(Verb.S3_VALIDATOR_UPLOAD, "a", "first")
    refused = await refusal(counting.charge(Verb.S3_VALIDATOR_UPLOAD, "a", "first"))
    assert "10 requests in 600 s per request (repetitions)" in refused.message


async def test_of_one_forwarded_request_twenty_copies_a_minute_are_forwarded() -> None:
    counting = limits()
    assert not await counting.charge_copy("a", "first")
    for _ in range(MAX_COPIES_PER_MINUTE):
        assert await counting.charge_copy("a", "first")
    refused = await refusal(counting.charge_copy("a", "first"))
    assert "20 requests in 60 s per request (copies)" in refused.message
    assert not await counting.charge_copy("a", "second")
    assert not await counting.charge_copy("b", "first")


async def test_what_was_refunded_is_charged_when_it_comes_again() -> None:
    counting = limits(limit_upload_per_hour=1)
    for _ in range(3):
        assert await counting.charge(Verb.S3_VALIDATOR_UPLOAD, "a", "first")
        counting.refund(Verb.S3_VALIDATOR_UPLOAD, "a", "first")


async def test_a_request_that_was_refused_is_refused_again_when_it_is_repeated() -> None:
    counting = limits()
    for number in range(10):
        await counting.charge(Verb.EPOCH_CURRENT, "a", f"own-{number}")
    for number in range(40):
        for _ in range(2):
            await refusal(counting.charge(Verb.EPOCH_CURRENT, "a", f"too many-{number}"))


async def test_of_copies_sent_at_once_none_is_a_repetition_of_one_that_is_refused() -> None:
    """The counting takes some time, as it does in Redis, so a copy comes before the first request is accepted
    or refused."""
    counting = limits()
    counted = counting._refusal

    async def slowly(rule: Rule, whom: str) -> int | None:
        await asyncio.sleep(0.001)
        return await counted(rule, whom)

    with patch.object(Limits, "_refusal", lambda _, rule, whom: slowly(rule, whom)):
        copies = (counting.charge(Verb.EPOCH_CURRENT, "a", f"{number // 2}") for number in range(40))
        outcomes = await asyncio.gather(*copies, return_exceptions=True)
    served = [n // 2 for n, outcome in enumerate(outcomes) if not isinstance(outcome, Exception)]
    assert len(set(served)) == 10
    assert len(served) == 20  # each of the ten requests, and its repetition


async def test_a_charged_request_is_remembered_for_as_long_as_it_can_be_repeated() -> None:
    clock = FakeClock()
    counting = Limits.of(LimitSettings(), clock)
    await counting.charge(Verb.EPOCH_CURRENT, "a", "old")
    await clock.sleep(REMEMBERED_SECONDS - 1)
    await counting.charge(Verb.EPOCH_CURRENT, "a", "new")
    assert len(counting._charged) == 2
    await clock.sleep(2)
    await counting.charge(Verb.EPOCH_CURRENT, "b", "new")
    assert len(counting._charged) == 2


@pytest.mark.parametrize("error", [IndexError, KeyError, RecursionError, AttributeError])
async def test_whatever_a_hostile_store_makes_of_the_library_this_process_counts(
    error: type[Exception],
) -> None:
    counting = limits(limit_stats_per_minute=1)
    counting.shared = AsyncMock(refusal=AsyncMock(side_effect=error), reach=AsyncMock(side_effect=error))
    await counting.ask_store()
    counting._ask_again_at = float("-inf")
    await counting.charge_statistics("192.0.2.1")
    await refusal(counting.charge_statistics("192.0.2.1"))
    assert counting.store_fault == error.__name__


async def test_a_few_hotkeys_cannot_use_up_the_credentials_of_a_day() -> None:
    counting = limits(total_daily_limit=2 * MAX_HOTKEYS * 3)
    shared = counting.rules.shared.amount
    assert shared == MAX_HOTKEYS * 3
    for number in range(shared + 2 * 3):
        await counting.charge(Verb.S3_VALIDATOR_READ, f"greedy-{number % 2}", next(KEYS))
    refused = await refusal(counting.charge(Verb.S3_VALIDATOR_READ, "greedy-0", next(KEYS)))
    assert "1536 requests in 86400 s per service (credentials)" in refused.message
    for number in range(5):
        for _ in range(3):
            await counting.charge(Verb.S3_MINER_UPLOAD, f"honest-{number}", next(KEYS))
        await refusal(counting.charge(Verb.S3_MINER_UPLOAD, f"honest-{number}", next(KEYS)))


async def test_what_the_total_refuses_does_not_count_against_the_hotkey() -> None:
    counting = limits(total_daily_limit=1, daily_limit_per_miner=1)
    await counting.charge(Verb.S3_MINER_UPLOAD, "a", next(KEYS))
    await refusal(counting.charge(Verb.S3_MINER_UPLOAD, "b", next(KEYS)))
    assert ("miner-upload", "b") in counting._credits._open


def test_all_hotkeys_together_get_no_more_than_the_total() -> None:
    for total in (1, 511, 512, 1000, 200_000):
        found = rules(total_daily_limit=total)
        reserved = 0 if found.reserved is None else found.reserved.amount
        assert found.shared.amount + MAX_HOTKEYS * reserved == total
        assert found.shared.amount >= 1
