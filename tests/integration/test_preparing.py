"""Preparing epochs against real PostgreSQL: once, as promised, never after the fact."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy.exc import IntegrityError

from schedulers.prepare import EpochEndedError, UnknownSecretError
from storage.zipcode_import import import_zipcodes
from tests.integration.scheduling import (
    CALENDAR,
    FIRST,
    ROTATED,
    TRUST,
    database_with_sample,
    preparer,
    upcoming,
)
from zipcast import envelope, fairness
from zipcast.calendar import EpochInterval
from zipcast.messages import EpochMessage


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str):
    database = await database_with_sample(database_url)
    yield database
    await database.dispose()


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
    seed = fairness.derive_seed(ROTATED.keys["2"], "local", 46, third.epoch_id)
    assert after.seed_commitment == fairness.seed_commitment(seed)
    assert kept.revealed_seed is not None
    assert fairness.seed_commitment(bytes.fromhex(kept.revealed_seed)) == before.seed_commitment


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
    with pytest.raises(IntegrityError, match="ex_epochs_overlap"):
        await preparer(database).prepare(overlapping)
