"""Tests a year of four-hour epochs without any server: calendar, plan, selection, seeds, chain and
signatures."""

from collections import deque
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from schedulers.epochs import plan
from schedulers.epochs.drafts import DraftedEpoch
from schedulers.epochs.preparation import ChainLink, Preparer
from schedulers.epochs.seed_secrets import Secrets
from storage.database.epochs import Timeline
from tests.support.beacons import local_rounds, stand_in
from tests.support.fakes import SIGNER, SIGNER_HOTKEY
from zipcast.protocol import envelope
from zipcast.protocol.calendar import EpochCalendar, EpochInterval, preparation_lead
from zipcast.protocol.envelope import Trust
from zipcast.selection import seeds
from zipcast.selection.committed_inputs import SelectionInputs
from zipcast.selection.honeypots import HoneypotSettings
from zipcast.selection.model import Candidate, MarketTier, SelectionSettings
from zipcast.verification.epochs import Evidence, verify_epochs

CALENDAR = EpochCalendar(4 * 3600)
BEGIN = datetime(2027, 11, 22, tzinfo=UTC)  # a year with a 29th of February
YEAR = timedelta(days=366)
EPOCHS = 2196
SETTINGS = SelectionSettings(target_listings=900, tolerance_percent=10, cooldown=timedelta(hours=24))
SECRETS = Secrets("1", {"1": b"s" * 32})
PREPARER = Preparer(None, "local", 46, CALENDAR, SETTINGS, SECRETS, SIGNER)  # type: ignore[arg-type]
POOL = [
    (f"{15_000 + n}", 200 + 37 * n % 250, ("PA", "NJ", "NY")[n % 3], list(MarketTier)[n % 3])
    for n in range(40)
]


def planned() -> list[EpochInterval]:
    """Plan like the scheduler: at each start, look which epoch is running and which is next."""
    intervals: list[EpochInterval] = []
    now = BEGIN
    while now < BEGIN + YEAR:
        running = plan.running_interval(CALENDAR, Timeline(now, None, None, _end(intervals)))
        assert running is not None
        intervals.append(running)
        following = plan.next_interval(CALENDAR, Timeline(now, running, None, running.end_at))
        assert following.start_at - preparation_lead(CALENDAR.epoch_seconds) > now
        now = following.start_at
    return intervals


def _end(intervals: list[EpochInterval]) -> datetime | None:
    return intervals[-1].end_at if intervals else None


def candidates(now: datetime, last_assigned: dict[str, datetime]) -> list[Candidate]:
    return [
        Candidate(
            zipcode=zipcode,
            state=state,
            city="",
            county="",
            market_tier=tier,
            geographic_region=state,
            expected_listings=listings,
            population=10_000,
            base_weight=1.0,
            last_scraped_at=now,
            last_assigned_at=last_assigned.get(zipcode),
        )
        for zipcode, listings, state, tier in POOL
    ]


def seed_of(interval: EpochInterval) -> bytes:
    return PREPARER.seed(interval.epoch_id, "1")


def inputs_of(interval: EpochInterval) -> SelectionInputs:
    return SelectionInputs(
        interval.epoch_id,
        1,
        "1",
        (),
        SETTINGS,
        HoneypotSettings(),
        local_rounds(interval),
        "00" * 32,
    )


def year_of_messages() -> list[Evidence]:
    evidence: list[Evidence] = []
    recent: deque[tuple[EpochInterval, tuple[str, ...]]] = deque(maxlen=5)
    before: EpochInterval | None = None
    for interval in planned():
        assigned = {zipcode: one.start_at for one, zipcodes in recent for zipcode in zipcodes}
        pool = candidates(interval.start_at, assigned)
        inputs = inputs_of(interval)
        beacon = None if before is None else stand_in(inputs.beacon.draw_round)
        draw_seed = seeds.derive_draw_seed(seed_of(interval), beacon)
        chosen = inputs.choose(pool, {}, draw_seed, interval.start_at)
        assert not chosen.selection.relaxed_cooldown
        following = CALENDAR.after(interval)
        link = ChainLink(
            None if before is None else before.epoch_id,
            None if before is None else seed_of(before).hex(),
            seeds.seed_commitment(seed_of(following)),
            seeds.inputs_hash(inputs_of(following).to_bytes()),
        )
        drafted = DraftedEpoch(interval, inputs, b"", None, before is not None, interval.start_at)
        issued_at = interval.start_at - timedelta(seconds=90)
        message = PREPARER._message(drafted, chosen, link, issued_at, draw_seed, beacon)
        evidence.append(Evidence(interval.epoch_id, envelope.seal(message, SIGNER), seed_of(interval).hex()))
        recent.append((interval, tuple(one.zipcode for one in chosen.zipcodes)))
        before = interval
    return evidence


@pytest.mark.long
def test_a_year_of_epochs_is_without_a_gap_within_tolerance_and_verified_from_end_to_end() -> None:
    evidence = year_of_messages()
    assert len(evidence) == EPOCHS
    findings = verify_epochs(evidence, Trust(frozenset({SIGNER_HOTKEY}), "local", 46))
    assert [finding.faults for finding in findings if finding.faults] == []
    assert [finding.unproven for finding in findings] == [True, *[False] * (EPOCHS - 1)]
    assert not any(finding.weak for finding in findings[1:])
    expected = {"signature", "beacon", "seed", "nonce", "chain", "promise"}
    assert all(expected <= set(finding.checked) for finding in findings[1:])


def test_the_plan_of_a_year_has_every_epoch_once() -> None:
    intervals = planned()
    assert len(intervals) == EPOCHS
    assert all(after.start_at == before.end_at for before, after in pairwise(intervals))
    assert {interval.start_at.hour for interval in intervals} == {0, 4, 8, 12, 16, 20}
