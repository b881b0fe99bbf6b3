"""Tests that epochs are prepared once and as promised, and never after their time, against a real
PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from schedulers.epochs import missed
from schedulers.epochs.loop import EpochEngine
from schedulers.epochs.missed import record_missed
from schedulers.epochs.preparation import EpochEndedError, EpochsOverlapError
from schedulers.epochs.seed_secrets import UnknownSecretError
from schedulers.epochs.start_gate import StartGate
from storage.database import epoch_changes, epoch_inputs
from storage.database.epoch_changes import MissedEpoch
from storage.database.tables import EpochInputs
from storage.zipcode_files.importing import import_zipcodes
from tests.support.fakes import MINER_HOTKEY
from tests.support.scheduling import (
    CALENDAR,
    FIRST,
    ROTATED,
    TRUST,
    open_all,
    preparer,
    running_epoch,
    statuses,
    upcoming,
)
from zipcast.clock import SystemClock
from zipcast.protocol import envelope
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.selection import seeds
from zipcast.selection.committed_inputs import ALGORITHM_VERSION


async def message_of(of, interval: EpochInterval) -> EpochMessage:
    return envelope.verify((await of.prepare(interval)).envelope, TRUST).message


async def test_replicas_that_race_get_the_same_bytes(database):
    (interval,) = upcoming(1)
    racers = [preparer(database) for _ in range(4)]
    stored = await asyncio.gather(*(racer.prepare(interval) for racer in racers))
    assert len({item.envelope for item in stored}) == 1


async def test_an_epoch_that_has_ended_is_not_made_up(database):
    ended = CALENDAR.before(CALENDAR.at(datetime.now(UTC)))
    with pytest.raises(EpochEndedError):
        await preparer(database).prepare(ended)


async def test_changed_settings_and_data_act_from_the_epoch_after_the_promised_one(database, tmp_path):
    first, second, third = upcoming(3)
    promise = await message_of(preparer(database), first)
    changed = preparer(database, target_listings=4000)
    smaller = tmp_path / "zipcodes.csv"
    smaller.write_text("zipcode,state,recently_sold_listings\n19123,PA,900\n")
    await import_zipcodes(database, smaller, now=datetime.now(UTC))
    kept = await message_of(changed, second)
    assert kept.target_listings == promise.target_listings
    assert (await message_of(changed, third)).target_listings == 4000


async def test_after_a_rotation_every_seed_is_the_one_that_was_promised(database):
    first, second, third = upcoming(3)
    before = await message_of(preparer(database, FIRST), first)
    rotated = preparer(database, ROTATED)
    kept, after = await message_of(rotated, second), await message_of(rotated, third)
    assert kept.seed_commitment == before.next_seed_commitment
    assert after.seed_commitment == kept.next_seed_commitment
    seed = seeds.derive_seed(ROTATED.keys["2"], "local", 46, third.epoch_id)
    assert after.seed_commitment == seeds.seed_commitment(seed)
    assert kept.revealed_seed is not None
    assert seeds.seed_commitment(bytes.fromhex(kept.revealed_seed)) == before.seed_commitment


async def test_an_epoch_promised_to_an_unknown_secret_is_not_prepared(database):
    first, second = upcoming(2)
    await preparer(database, ROTATED).prepare(first)
    with pytest.raises(UnknownSecretError, match="'2'"):
        await preparer(database, FIRST).prepare(second)


async def test_two_epochs_never_overlap_in_the_record(database):
    (interval,) = upcoming(1)
    await preparer(database).prepare(interval)
    half = timedelta(minutes=30)
    overlapping = EpochInterval(interval.start_at + half, interval.end_at + half)
    with pytest.raises(IntegrityError, match="ex_pending_epochs_overlap"):
        await preparer(database).prepare(overlapping)
    await open_all(database)
    with pytest.raises(EpochsOverlapError):
        await preparer(database).prepare(overlapping)


class NoStream:
    """Publishes nothing, because these tests do not test publishing: due epochs are left for later."""

    async def open(self) -> None: ...

    async def publish_due(self, now: datetime) -> None: ...


class SteppingClock(SystemClock):
    """A clock that each step moves forward, as for a process that was frozen meanwhile."""

    def __init__(self, *steps: timedelta) -> None:
        self.ahead, self._steps = timedelta(0), list(steps)

    def now(self) -> datetime:
        at = super().now() + self.ahead
        if self._steps:
            self.ahead += self._steps.pop(0)
        return at


async def test_a_freeze_between_two_looks_at_the_clock_skips_no_epoch_and_hides_no_gap(database):
    """The first reading of the clock is three epochs before the second one. PostgreSQL's clock shows the
    present."""
    running = await running_epoch()
    three_epochs = timedelta(seconds=3 * CALENDAR.epoch_seconds)
    interval = CALENDAR.at(running.start_at - three_epochs)
    frozen = SteppingClock(three_epochs)
    frozen.ahead = -three_epochs
    of = preparer(database)
    async with database.begin() as connection:
        seed = of.seed(interval.epoch_id, "1")
        before = CALENDAR.before(interval)
        missed = MissedEpoch(before, seed, seeds.seed_commitment(seed), "1")
        await epoch_changes.record_missed(connection, [missed], before.end_at)
    engine = EpochEngine(of, NoStream(), StartGate(database, frozen), frozen)
    following = await engine.catch_up()
    assert following == CALENDAR.after(running)
    gap = {CALENDAR.before(running).epoch_id: "missed", running.epoch_id: "pending"}
    assert gap.items() <= (await statuses(database)).items()


async def test_of_a_long_gap_the_newest_and_the_promised_are_recorded(database, monkeypatch):
    monkeypatch.setattr(missed, "MAX_MISSED", 2)
    first, promised, _, fourth, fifth, sixth = upcoming(6)
    await preparer(database).prepare(first)
    assert await record_missed(database, preparer(database), sixth) == 3
    recorded = {name for name, status in (await statuses(database)).items() if status == "missed"}
    assert recorded == {promised.epoch_id, fourth.epoch_id, fifth.epoch_id}


async def test_what_a_newer_program_committed_to_is_missed_and_stops_nothing_after_it(database):
    """This happens if an upgrade is taken back."""
    first, second, third = upcoming(3)
    await preparer(database).prepare(first)
    async with database.begin() as connection:
        committed = await epoch_inputs.committed_inputs(connection, second.epoch_id)
        newer = committed.replace(ALGORITHM_VERSION.encode(), b"zipcast-selection/99")
        await connection.execute(delete(EpochInputs).where(EpochInputs.epoch_id == second.epoch_id))
        await epoch_inputs.commit_inputs(connection, second.epoch_id, newer, datetime.now(UTC))
    with pytest.raises(ValueError, match="zipcast-selection/99"):
        await preparer(database).prepare(second)
    assert await record_missed(database, preparer(database), third) == 1
    assert (await statuses(database))[second.epoch_id] == "missed"
    assert (await preparer(database).prepare(third)).epoch_id == third.epoch_id


async def test_a_change_of_the_signer_is_announced_from_the_next_epoch_on(database):
    first, second = upcoming(2)
    assert (await message_of(preparer(database), first)).next_signer is None
    announcing = replace(preparer(database), next_signer=parse_hotkey(MINER_HOTKEY))
    assert (await message_of(announcing, first)).next_signer is None
    assert (await message_of(announcing, second)).next_signer == MINER_HOTKEY
