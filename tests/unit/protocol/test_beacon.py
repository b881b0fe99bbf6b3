"""Tests rounds of the beacon: which ones an epoch uses, and which signatures are valid, with the vectors of
docs/protocol.md."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.beacon_relay import SIGNATURES, stand_in_signature
from tests.replay import from_protocol
from tests.support.golden_vectors import vectors
from zipcast.protocol.beacon import (
    LOCAL_CHAIN,
    MAX_ROUND,
    QUICKNET,
    BeaconError,
    Purpose,
    chain_of,
    check_signature,
    decided_at,
    decision_lead,
    drafted_rounds,
    draw_lead,
    parse_beacon_signature,
    promised_rounds,
)
from zipcast.protocol.calendar import EpochCalendar

PAGE = vectors("Beacon")
DIVISORS = [n for n in range(1, 86_401) if 86_400 % n == 0]
INSTANTS = st.integers(1_767_225_600, 2_208_988_800).map(lambda second: datetime.fromtimestamp(second, UTC))
GOOD = SIGNATURES[1000]


@pytest.mark.parametrize("row", PAGE["rounds"], ids=lambda row: f"{row['network']}-{row['epochSeconds']}")
def test_the_documented_rounds_hold(row: dict[str, Any]) -> None:
    calendar = EpochCalendar(row["epochSeconds"])
    interval = calendar.starting(row["epochId"])
    rounds = promised_rounds(chain_of(row["network"]), interval, calendar.before(interval))
    assert (rounds.draw_round, rounds.fallback_round) == (row["round"], row["fallbackRound"])
    assert rounds.lead == timedelta(milliseconds=row["leadMilliseconds"])


@given(st.sampled_from(["finney", "local"]), st.sampled_from(DIVISORS), INSTANTS)
def test_rounds_are_those_of_the_replay(network: str, seconds: int, instant: datetime) -> None:
    calendar = EpochCalendar(seconds)
    interval = calendar.at(instant)
    previous = calendar.before(interval)
    rounds = promised_rounds(chain_of(network), interval, previous)
    replayed = from_protocol.rounds(
        network, interval.start_at.isoformat(), previous.start_at.isoformat(), seconds
    )
    assert (rounds.draw_round, rounds.fallback_round) == (replayed["round"], replayed["fallbackRound"])


@given(st.sampled_from([QUICKNET, LOCAL_CHAIN]), INSTANTS, st.sampled_from(Purpose))
def test_a_round_lies_at_its_instant_and_not_a_period_away(
    chain: Any, instant: datetime, purpose: Purpose
) -> None:
    last, first = chain.last_by(instant, purpose), chain.first_from(instant, purpose)
    assert chain.instant(last) <= instant < chain.instant(last) + chain.period
    assert chain.instant(first) - chain.period < instant <= chain.instant(first)


def test_every_boundary_of_four_hours_is_a_round_of_quicknet() -> None:
    calendar = EpochCalendar(14_400)
    for interval in (calendar.at(datetime(2026, 11, 22, 4 * n, tzinfo=UTC)) for n in range(6)):
        opening = QUICKNET.last_by(interval.start_at, Purpose.OPENING)
        assert QUICKNET.instant(opening) == interval.start_at


@given(st.sampled_from(DIVISORS), INSTANTS)
def test_an_epoch_is_drawn_between_its_draft_and_its_decision_and_after_its_promise(
    seconds: int, instant: datetime
) -> None:
    calendar = EpochCalendar(seconds)
    interval = calendar.at(instant)
    rounds = promised_rounds(LOCAL_CHAIN, interval, calendar.before(interval))
    length = timedelta(seconds=seconds)
    assert decision_lead(length) < draw_lead(length) < min(timedelta(seconds=300), length / 2)
    drawn_at = LOCAL_CHAIN.instant(rounds.draw_round)
    assert calendar.before(interval).start_at < drawn_at < interval.start_at
    assert drawn_at < decided_at(LOCAL_CHAIN, rounds, interval) < interval.start_at


@given(st.sampled_from([QUICKNET, LOCAL_CHAIN]), st.sampled_from(DIVISORS), INSTANTS, st.floats(-400, 400))
def test_a_draft_precedes_its_round_and_its_epoch_is_not_drawn_earlier_than_usual(
    chain: Any, seconds: int, instant: datetime, ahead: float
) -> None:
    interval = EpochCalendar(seconds).at(instant)
    issued_at = interval.start_at - timedelta(seconds=ahead)
    rounds = drafted_rounds(chain, interval, issued_at)
    drawn_at = chain.instant(rounds.draw_round)
    assert rounds.fallback_round is None
    assert drawn_at >= issued_at + rounds.lead
    assert drawn_at + chain.period > interval.start_at - draw_lead(timedelta(seconds=seconds))
    assert decided_at(chain, rounds, interval) > drawn_at


@pytest.mark.parametrize("text", [*PAGE["malformed"], GOOD.replace("b", "B"), "٠" * 96, GOOD + " "])
def test_a_signature_is_spelled_in_one_way(text: str) -> None:
    with pytest.raises(BeaconError, match="96 lower-case hex digits"):
        parse_beacon_signature(text)
    assert from_protocol.signature_bytes(text) is None


@pytest.mark.parametrize("number", SIGNATURES)
def test_a_public_signature_is_the_one_of_its_round_and_of_no_other(number: int) -> None:
    assert check_signature(QUICKNET, number, SIGNATURES[number]) == bytes.fromhex(SIGNATURES[number])
    for other in {999, *SIGNATURES, 1003} - {number}:
        with pytest.raises(BeaconError, match="not that of round"):
            check_signature(QUICKNET, other, SIGNATURES[number])


@pytest.mark.parametrize("signature", ["00" * 48, "ff" * 48, "c0" + "00" * 47, GOOD[:-1] + "8", GOOD[::-1]])
def test_no_other_point_is_a_signature(signature: str) -> None:
    with pytest.raises(BeaconError):
        check_signature(QUICKNET, 1000, signature)


@pytest.mark.parametrize("number", [0, -1, MAX_ROUND + 1])
def test_a_round_is_a_positive_number_that_has_an_instant(number: int) -> None:
    with pytest.raises(BeaconError, match="a beacon's round must"):
        check_signature(QUICKNET, number, GOOD)
    with pytest.raises(BeaconError, match="a beacon's round must"):
        check_signature(LOCAL_CHAIN, MAX_ROUND, stand_in_signature(MAX_ROUND))


def test_each_purpose_has_its_stand_in() -> None:
    at = datetime(2026, 11, 22, 4, tzinfo=UTC)
    rounds = [LOCAL_CHAIN.last_by(at, purpose) for purpose in Purpose]
    assert [LOCAL_CHAIN.drand_round(number) for number in rounds] == [1000, 1001, 1002]
    for number in rounds:
        check_signature(LOCAL_CHAIN, number, stand_in_signature(number))


def test_the_documented_draw_seed_and_nonce_are_those_of_the_replay() -> None:
    page = vectors("Seed, commitments, nonce")
    replayed = from_protocol.draw_seed(page["seed"], page["beacon"])
    assert replayed == page["drawSeed"]
    assert from_protocol.draw_seed(page["seed"], None) == page["drawSeedWithoutBeacon"]
    text = page["epochId"], page["startTimestamp"], page["selectedZipcodesHash"]
    assert from_protocol.nonce(replayed, *text) == page["nonce"]
