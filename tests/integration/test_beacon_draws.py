"""Tests with which round an epoch is drawn, on a real PostgreSQL: the promised one, the fallback, that of a
draft, or none."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.epochs.beacon import NoBeacon
from schedulers.epochs.drafts import DraftedEpoch
from schedulers.epochs.preparation import Preparer
from schedulers.epochs.start_gate import sleep_until
from storage.database import beacon_rounds, epoch_drafts
from storage.database.epochs import StoredEpoch
from storage.database.tables import BeaconRound, Epoch
from tests.support.beacons import stand_in
from tests.support.scheduling import SIGNER, TRUST, open_all, preparer
from zipcast.clock import SystemClock
from zipcast.protocol import envelope
from zipcast.protocol.beacon import LOCAL_CHAIN, check_signature, decided_at
from zipcast.protocol.calendar import EpochCalendar, EpochInterval
from zipcast.protocol.messages.epochs import EpochMessage, Proof
from zipcast.selection.model import PoolTooSmallError, SelectionSettings
from zipcast.verification.epochs import Evidence, Finding, verify_epochs

pytestmark = pytest.mark.long

CALENDAR = EpochCalendar(3600)
SHORT = EpochCalendar(10)


@dataclass(frozen=True, slots=True)
class StoredRounds(NoBeacon):
    """A scheduler whose relays are all down. It uses the rounds that others store, and notes the drafts that
    it sends."""

    database: AsyncEngine
    sent: list[Proof] = field(default_factory=list)
    reaches_nats: bool = True

    async def obtain(self, round_number: int, until: datetime) -> None:
        """Wait for another scheduler as long as one without relays does."""
        while datetime.now(UTC) < until:
            async with self.database.connect() as connection:
                if await beacon_rounds.stored_round(connection, LOCAL_CHAIN.name, round_number) is not None:
                    return
            await self.pause()

    async def pause(self) -> None:
        await asyncio.sleep(0.01)

    async def send(self, draft: Proof) -> bool:
        if self.reaches_nats:
            self.sent.append(draft)
        return self.reaches_nats


def following(calendar: EpochCalendar, count: int) -> list[EpochInterval]:
    """Return the next epochs. The first of them starts at least half an epoch from now."""
    interval = calendar.at(datetime.now(UTC) + timedelta(seconds=calendar.epoch_seconds * 3 // 2))
    found = [interval]
    while len(found) < count:
        found.append(calendar.after(found[-1]))
    return found


def without_relays(database: AsyncEngine, calendar: EpochCalendar = CALENDAR, **changes: object) -> Preparer:
    beacon = StoredRounds(database, **changes)  # type: ignore[arg-type]
    return replace(preparer(database), calendar=calendar, beacon=beacon)


def message_of(stored: StoredEpoch) -> EpochMessage:
    return envelope.verify(stored.envelope, TRUST).message


async def store(database: AsyncEngine, number: int) -> None:
    async with database.begin() as connection:
        await beacon_rounds.store_round(connection, LOCAL_CHAIN.name, number, stand_in(number).signature)


async def drafted(of: Preparer, interval: EpochInterval) -> DraftedEpoch:
    found = await of.draft(interval)
    assert isinstance(found, DraftedEpoch)
    return found


def finding(*stored: StoredEpoch) -> Finding:
    evidence = [Evidence(one.epoch_id, one.envelope, None) for one in stored]
    return verify_epochs(evidence, TRUST)[-1]


async def published(database: AsyncEngine, interval: EpochInterval, at: datetime) -> None:
    """Mark the epoch as published at that time."""
    await open_all(database)
    async with database.begin() as connection:
        done = {"status": "active", "published_at": at, "stream_sequence": 1}
        await connection.execute(update(Epoch).where(Epoch.epoch_id == interval.epoch_id).values(done))


async def test_nothing_is_drawn_before_its_round_and_then_with_it(database):
    first, second = following(CALENDAR, 2)
    before = await preparer(database).prepare(first)
    of = without_relays(database)
    waiting = await drafted(of, second)
    assert await of.draw(second) is None
    assert waiting.inputs.beacon.fallback_round is not None
    await store(database, waiting.inputs.beacon.fallback_round)
    assert await of.draw(second) is None
    await store(database, waiting.inputs.beacon.draw_round)
    drawn = await of.draw(second)
    assert drawn is not None
    message = message_of(drawn)
    assert message.beacon is not None
    assert (message.beacon.round, message.beacon.fallback) == (waiting.inputs.beacon.draw_round, False)
    check_signature(LOCAL_CHAIN, message.beacon.round, message.beacon.signature)
    assert message.draft is None
    assert (finding(before, drawn).faults, finding(before, drawn).weak) == ((), ())


async def test_a_first_epoch_is_promised_by_a_draft_that_goes_out_before_its_round(database):
    (interval,) = following(CALENDAR, 1)
    of = without_relays(database)
    promise = await drafted(of, interval)
    assert of.beacon.sent == [promise.draft]
    again = await drafted(without_relays(database), interval)
    assert (again.draft, again.is_promised) == (promise.draft, True)
    await store(database, promise.inputs.beacon.draw_round)
    drawn = await of.draw(interval)
    assert drawn is not None
    assert message_of(drawn).draft == promise.draft
    assert finding(drawn).faults == ()
    async with database.connect() as connection:
        stored = await epoch_drafts.stored_draft(connection, interval.epoch_id)
    assert stored is not None
    assert stored.is_sent


async def test_a_draft_that_was_not_sent_leaves_the_epoch_without_a_beacon(database):
    (interval,) = following(SHORT, 1)
    of = without_relays(database, SHORT, reaches_nats=False)
    promise = await drafted(of, interval)
    await store(database, promise.inputs.beacon.draw_round)
    await sleep_until(SystemClock(), LOCAL_CHAIN.instant(promise.inputs.beacon.draw_round))
    late = without_relays(database, SHORT)
    await drafted(late, interval)
    assert late.beacon.sent == []
    message = message_of(await of.prepare(interval))
    assert message.beacon is None
    assert datetime.now(UTC) >= decided_at(LOCAL_CHAIN, promise.inputs.beacon, interval)


async def test_an_epoch_that_the_pool_cannot_fill_is_not_drafted(database):
    """Otherwise no later import could help the epoch, because a draft is never replaced."""
    (interval,) = following(CALENDAR, 1)
    of = replace(without_relays(database), settings=SelectionSettings(target_listings=900_000))
    with pytest.raises(PoolTooSmallError, match="0 in cooldown"):
        await of.draft(interval)
    assert of.beacon.sent == []
    assert (await drafted(without_relays(database), interval)).inputs.settings.target_listings < 900_000


@pytest.mark.parametrize(
    ("published_after", "kind"), [(timedelta(0), "fallback"), (timedelta(seconds=6), "none")]
)
async def test_without_its_round_an_epoch_has_the_fallback_if_that_was_not_known_when_it_was_promised(
    database, published_after: timedelta, kind: str
):
    """The fallback of an epoch of 10 s is due 5 s after the start of the one before."""
    first, second = following(SHORT, 2)
    ready = replace(preparer(database), calendar=SHORT)
    before = await ready.prepare(first)
    of = without_relays(database, SHORT)
    promise = await drafted(of, second)
    assert promise.inputs.beacon.fallback_round is not None
    await store(database, promise.inputs.beacon.fallback_round)
    await published(database, first, first.start_at + published_after)
    drawn = await of.prepare(second)
    message = message_of(drawn)
    assert message.beacon_kind == kind
    result = finding(before, drawn)
    assert (result.faults, len(result.weak), result.unproven) == ((), 1, kind == "none")


async def test_a_promise_that_came_after_its_round_is_renewed_by_a_draft_with_the_same_seed(database):
    first, second = following(CALENDAR, 2)
    await preparer(database).prepare(first)
    await published(database, first, second.start_at)
    of = without_relays(database)
    promise = await drafted(of, second)
    assert promise.draft is not None
    draft = envelope.verify_draft(promise.draft, TRUST)
    async with database.connect() as connection:
        stored = await epoch_drafts.effective_inputs(connection, second.epoch_id)
    assert stored == promise.inputs.to_bytes()
    assert draft.round == promise.inputs.beacon.draw_round


async def test_of_two_schedulers_one_without_relays_both_have_one_message(database):
    first, second = following(SHORT, 2)
    await replace(preparer(database), calendar=SHORT).prepare(first)
    able, unable = replace(preparer(database), calendar=SHORT), without_relays(database, SHORT)
    one, other = await asyncio.gather(unable.prepare(second), able.prepare(second))
    assert one.envelope == other.envelope
    assert message_of(one).beacon_kind == "round"


async def test_a_round_is_stored_once_and_only_as_it_is_spelled(database):
    await store(database, 3)
    async with database.begin() as connection:
        await beacon_rounds.store_round(connection, LOCAL_CHAIN.name, 3, bytes(48))
        found = await beacon_rounds.stored_round(connection, LOCAL_CHAIN.name, 3)
        assert found == stand_in(3).signature
        rows = (await connection.execute(BeaconRound.__table__.select())).all()
        assert [row.signature for row in rows] == [found.hex()]
    assert SIGNER.ss58_address in TRUST.signers
