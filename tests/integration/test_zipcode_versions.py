"""Tests versions of the zipcode data on a real PostgreSQL: they can be shown and rebuilt, and deactivating
makes one."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from devstack.first_data import load_data
from storage.database.engine import open_engine
from storage.database.zipcode_activity import UnknownZipcodesError, UnusableReasonError, set_active
from storage.database.zipcode_versions import (
    find_version,
    list_revisions,
    list_versions,
    list_zipcodes,
    rebuild_version,
)
from storage.zipcode_files.importing import import_zipcodes, load_pool

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
HEADER = "zipcode,state,recently_sold_listings,city,median_home_value\n"
FIRST = HEADER + "19901,DE,300,Dover,210000\n19958,DE,250,Lewes,\n07001,NJ,90,Avenel,\n"
SECOND = HEADER + "19901,DE,301,Dover,210000\n19958,DE,250,Lewes,\n"


@pytest.fixture
async def engine(database_url):
    engine = open_engine(database_url, application_name="test")
    yield engine
    await engine.dispose()


@pytest.fixture
def import_text(engine, tmp_path):
    async def import_text(content, now, name="zipcodes.csv"):
        path = tmp_path / name
        path.write_text(content)
        return await import_zipcodes(engine, path, now=now)

    return import_text


async def reading(engine, read, *arguments, **options):
    async with engine.connect() as connection:
        return await read(connection, *arguments, **options)


async def pool_as_of(engine, import_id):
    return [row.zipcode for row in await reading(engine, load_pool, import_id)]


async def test_a_deactivated_zipcode_leaves_the_pool_and_past_pools_keep_it(engine, import_text):
    first = await import_text(FIRST, NOW)
    change = await set_active(engine, ["19958", "19901", "19958"], active=False, now=LATER, reason="flood")
    assert (change.changed, change.unchanged) == (("19901", "19958"), ())
    assert await pool_as_of(engine, first.import_id) == ["07001", "19901", "19958"]
    assert await pool_as_of(engine, change.import_id) == ["07001"]
    version = await reading(engine, find_version, change.import_id)
    assert (version.source_name, version.imported_at) == ("zipcodes/deactivate: flood", LATER)
    assert (version.added, version.changed, version.unchanged, version.rejected) == (0, 2, 0, 0)


async def test_an_import_does_not_activate_again_and_activation_does(engine, import_text):
    await import_text(FIRST, NOW)
    await set_active(engine, ["19901"], active=False, now=NOW)
    second = await import_text(SECOND, LATER)
    assert await pool_as_of(engine, second.import_id) == ["07001", "19958"]
    change = await set_active(engine, ["19901", "19958"], active=True, now=LATER)
    assert (change.changed, change.unchanged) == (("19901",), ("19958",))
    (dover,) = [row for row in await reading(engine, load_pool, change.import_id) if row.city == "Dover"]
    assert dover.recently_sold_listings == 301


async def test_what_is_so_already_makes_no_version(engine, import_text):
    await import_text(FIRST, NOW)
    change = await set_active(engine, ["19901"], active=True, now=LATER)
    assert (change.import_id, change.unchanged) == (None, ("19901",))
    assert len(await reading(engine, list_versions)) == 1


@pytest.mark.parametrize("unknown", ["19999", "1990", "", "Dover\0", "\udcff", "１９９０１"])
async def test_one_unknown_zipcode_and_nothing_changes(engine, import_text, unknown):
    first = await import_text(FIRST, NOW)
    with pytest.raises(UnknownZipcodesError, match="never imported") as caught:
        await set_active(engine, ["19901", unknown], active=False, now=LATER)
    assert str(caught.value).isascii()
    assert len(await reading(engine, list_versions)) == 1
    assert await pool_as_of(engine, first.import_id) == ["07001", "19901", "19958"]


@pytest.mark.parametrize("reason", ["x" * 201, "two\nlines", "\x1b[2J", "\udcff"])
async def test_a_reason_is_short_and_printable(engine, reason):
    with pytest.raises(UnusableReasonError):
        await set_active(engine, ["19901"], active=False, now=NOW, reason=reason)


async def test_simultaneous_changes_of_one_zipcode_make_one_version(engine, import_text):
    await import_text(FIRST, NOW)
    changes = await asyncio.gather(
        *(set_active(engine, ["19901"], active=False, now=LATER) for _ in range(4))
    )
    assert sorted(change.import_id is None for change in changes) == [False, True, True, True]


async def test_a_rebuilt_version_has_every_zipcode_as_it_was(engine, import_text):
    first = await import_text(FIRST, NOW)
    change = await set_active(engine, ["07001"], active=False, now=NOW)
    second = await import_text(SECOND, LATER)
    then = await reading(engine, rebuild_version, change.import_id)
    assert [(row.zipcode, row.recently_sold_listings, row.active, row.import_id) for row in then] == [
        ("07001", 90, False, change.import_id),
        ("19901", 300, True, first.import_id),
        ("19958", 250, True, first.import_id),
    ]
    now = await reading(engine, rebuild_version, second.import_id)
    assert [row.recently_sold_listings for row in now] == [90, 301, 250]
    assert await reading(engine, rebuild_version, 0) == []


async def test_what_is_shown_can_be_imported_again(engine, import_text):
    first = await import_text(FIRST, NOW)
    shown = [row.as_json() for row in await reading(engine, rebuild_version, first.import_id)]
    again = await import_text(json.dumps({"zipcodes": shown}), LATER, "shown.json")
    assert (again.added, again.changed, again.unchanged, again.rejected) == (0, 0, 3, ())
    after = await reading(engine, rebuild_version, again.import_id)
    assert [row.as_json() for row in after] == shown


async def test_zipcodes_are_listed_by_state_and_activity(engine, import_text):
    await import_text(FIRST, NOW)
    await set_active(engine, ["19901"], active=False, now=LATER)
    for options, expected in [
        ({}, ["07001", "19958"]),
        ({"state": "DE"}, ["19958"]),
        ({"active": False}, ["19901"]),
        ({"state": "NJ", "active": False}, []),
    ]:
        assert [row.zipcode for row in await reading(engine, list_zipcodes, **options)] == expected


async def test_the_history_of_a_zipcode_names_the_version_of_each_revision(engine, import_text):
    first = await import_text(FIRST, NOW)
    change = await set_active(engine, ["19901"], active=False, now=LATER)
    second = await import_text(SECOND, LATER)
    history = await reading(engine, list_revisions, "19901")
    assert [(row.recently_sold_listings, row.active, version.id) for row, version in history] == [
        (301, False, second.import_id),
        (300, False, change.import_id),
        (300, True, first.import_id),
    ]
    assert all(row.import_id == version.id for row, version in history)
    assert await reading(engine, list_revisions, "19999") == []


async def test_a_stack_still_refreshes_its_sample_after_a_deactivation(engine, database_url):
    await load_data(database_url, None)
    async with engine.begin() as connection:
        await connection.execute(
            text("update zipcode_imports set imported_at = imported_at - interval '3 days'")
        )
    await set_active(engine, ["19901"], active=False, now=datetime.now(UTC))
    await load_data(database_url, None)
    sources = [version.source_name for version in await reading(engine, list_versions)]
    assert sources == ["zipcodes.csv", "zipcodes/deactivate", "zipcodes.csv"]
