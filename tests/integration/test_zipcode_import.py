"""Tests imports into a real PostgreSQL: versions, counts, atomicity, and the pool of a version."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from storage.database.engine import open_engine
from storage.database.tables import Zipcode, ZipcodeImport, ZipcodeRevision
from storage.zipcode_files.importing import (
    ImportOptions,
    import_zipcodes,
    load_pool,
    lock_versions,
    newest_import_id,
)
from storage.zipcode_files.prefixes import states_of
from storage.zipcode_files.row_rules import ImportFileError

SAMPLE = Path(__file__).parents[2] / "sample_data" / "zipcodes.csv"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
HEADER = "zipcode,state,recently_sold_listings,city,last_scraped"
DOVER = "19901,DE,300,Dover,"
LEWES = "19958,DE,250,Lewes,2026-02-01"


@pytest.fixture
async def engine(database_url):
    engine = open_engine(database_url, application_name="test")
    yield engine
    await engine.dispose()


@pytest.fixture
def write(tmp_path):
    def write(*rows, header=HEADER):
        path = tmp_path / "zipcodes.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    return write


def counts(report):
    return report.added, report.changed, report.unchanged


async def row_counts(engine):
    """Return the numbers of imports, zipcodes and revisions."""
    async with engine.connect() as connection:
        tables = (ZipcodeImport, Zipcode, ZipcodeRevision)
        return tuple([await connection.scalar(select(func.count()).select_from(table)) for table in tables])


async def pool_as_of(engine, import_id):
    async with engine.connect() as connection:
        return await load_pool(connection, import_id)


async def test_a_first_import_adds_every_row_and_records_its_source(engine, write):
    path = write(DOVER, LEWES)
    report = await import_zipcodes(engine, path, now=NOW)
    assert counts(report) == (2, 0, 0)
    async with engine.connect() as connection:
        recorded = (await connection.execute(select(ZipcodeImport.__table__))).one()
        assert await newest_import_id(connection) == report.import_id
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert recorded == (report.import_id, NOW, "zipcodes.csv", sha256, 2, 0, 0, 0, None)
    assert await row_counts(engine) == (1, 2, 2)


async def test_before_the_first_import_there_is_no_version_and_no_pool(engine):
    async with engine.connect() as connection:
        assert await newest_import_id(connection) is None
        assert await load_pool(connection, 1) == []


async def test_the_pool_is_ordered_and_holds_what_the_file_said(engine, write):
    report = await import_zipcodes(engine, write(LEWES, DOVER), now=NOW)
    dover, lewes = await pool_as_of(engine, report.import_id)
    assert (dover.zipcode, dover.city, dover.recently_sold_listings) == ("19901", "Dover", 300)
    assert (dover.state, dover.geographic_region, dover.market_tier) == ("DE", "DE_OTHER", "STANDARD")
    assert (dover.population, dover.median_home_value, dover.base_weight) == (None, None, 1.0)
    assert dover.last_scraped_at == NOW
    assert lewes.last_scraped_at == datetime(2026, 2, 1, tzinfo=UTC)


async def test_each_kind_of_difference_is_counted_and_only_writes_make_revisions(engine, write):
    first = await import_zipcodes(engine, write(DOVER, LEWES, "19970,DE,80,Ocean View,2026-02-01"), now=NOW)
    second = await import_zipcodes(
        engine,
        write(
            "19901,DE,301,Dover,",  # changed
            LEWES,  # the same in every column: no revision
            "19970,DE,80,Ocean View,2026-02-02",  # changed: scraped again
            "19971,DE,90,Rehoboth Beach,",  # added
        ),
        now=LATER,
    )
    assert counts(second) == (1, 2, 1)
    async with engine.connect() as connection:
        written = select(ZipcodeRevision.zipcode).where(ZipcodeRevision.import_id == second.import_id)
        assert set(await connection.scalars(written)) == {"19901", "19970", "19971"}
        kept = select(Zipcode.import_id).where(Zipcode.zipcode == "19958")
        assert await connection.scalar(kept) == first.import_id


async def test_a_row_that_is_only_fresher_by_default_is_unchanged_but_moves_on(engine, write):
    await import_zipcodes(engine, write(DOVER), now=NOW)
    second = await import_zipcodes(engine, write(DOVER), now=LATER)
    assert counts(second) == (0, 0, 1)
    assert await row_counts(engine) == (2, 1, 2)
    (dover,) = await pool_as_of(engine, second.import_id)
    assert dover.last_scraped_at == LATER


async def test_a_value_that_a_file_no_longer_states_is_a_change(engine, write):
    header = f"{HEADER},population"
    await import_zipcodes(engine, write(f"{LEWES},3000", header=header), now=NOW)
    second = await import_zipcodes(engine, write(f"{LEWES},", header=header), now=LATER)
    assert counts(second) == (0, 1, 0)
    (lewes,) = await pool_as_of(engine, second.import_id)
    assert lewes.population is None


async def test_a_past_pool_can_be_rebuilt(engine, write):
    first = await import_zipcodes(engine, write(DOVER, LEWES), now=NOW)
    before = await pool_as_of(engine, first.import_id)
    second = await import_zipcodes(engine, write("19901,DE,999,Dover,", "19971,DE,90,Lewes,"), now=LATER)
    assert await pool_as_of(engine, first.import_id) == before
    after = await pool_as_of(engine, second.import_id)
    assert [(row.zipcode, row.recently_sold_listings) for row in after] == [
        ("19901", 999),
        ("19958", 250),
        ("19971", 90),
    ]


async def test_weight_and_activity_survive_an_import_and_enter_its_revisions(engine, write):
    await import_zipcodes(engine, write(DOVER, LEWES), now=NOW)
    async with engine.begin() as connection:
        await connection.execute(text("update zipcodes set active = false where zipcode = '19901'"))
        await connection.execute(text("update zipcodes set base_weight = 2.5 where zipcode = '19958'"))
    second = await import_zipcodes(
        engine, write("19901,DE,301,Dover,", "19958,DE,251,Lewes,2026-02-01"), now=LATER
    )
    (lewes,) = await pool_as_of(engine, second.import_id)
    assert (lewes.zipcode, lewes.base_weight, lewes.recently_sold_listings) == ("19958", 2.5, 251)


async def test_rejected_rows_are_reported_and_the_rest_is_imported(engine, write):
    report = await import_zipcodes(engine, write(DOVER, "7001,NJ,5,Avenel,", "19958,DE,many,Lewes,"), now=NOW)
    assert counts(report) == (1, 0, 0)
    assert [(rejection.place, rejection.field) for rejection in report.rejected] == [
        ("line 3", "zipcode"),
        ("line 4", "recently_sold_listings"),
    ]
    async with engine.connect() as connection:
        assert await connection.scalar(select(ZipcodeImport.rejected)) == 2


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([DOVER, '19958,DE,250,"Lewes'], "broken CSV"),
        ([], "has no rows"),
        (["7001,NJ,5,Avenel,"], "line 2: zipcode must be five digits"),
    ],
)
async def test_a_broken_or_empty_file_changes_nothing(engine, write, rows, reason):
    await import_zipcodes(engine, write(LEWES), now=NOW)
    with pytest.raises(ImportFileError, match=reason):
        await import_zipcodes(engine, write(*rows), now=LATER)
    assert await row_counts(engine) == (1, 1, 1)


async def test_a_file_that_is_not_there_is_named_as_such(engine, tmp_path):
    with pytest.raises(ImportFileError, match="cannot be read: No such file"):
        await import_zipcodes(engine, tmp_path / "absent.csv", now=NOW)


async def test_a_database_fault_on_the_way_leaves_nothing_behind(engine, write):
    await import_zipcodes(engine, write(DOVER), now=NOW)
    async with engine.begin() as connection:
        await connection.execute(
            text("alter table zipcode_revisions add constraint fault check (zipcode <> '19958')")
        )
    with pytest.raises(DBAPIError, match="fault"):
        await import_zipcodes(engine, write("19901,DE,301,Dover,", LEWES), now=LATER)
    assert await row_counts(engine) == (1, 1, 1)
    async with engine.connect() as connection:
        assert await connection.scalar(select(Zipcode.recently_sold_listings)) == 300


async def test_an_import_waits_for_the_one_before_it(engine, write):
    async with engine.begin() as connection:
        await lock_versions(connection)
        waiting = asyncio.create_task(import_zipcodes(engine, write(DOVER), now=NOW))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
    assert counts(await waiting) == (1, 0, 0)


async def test_simultaneous_imports_of_one_file_add_it_once(engine, write):
    path = write(DOVER, LEWES)
    reports = await asyncio.gather(*(import_zipcodes(engine, path, now=NOW) for _ in range(4)))
    assert sorted(counts(report) for report in reports) == [(0, 0, 2)] * 3 + [(2, 0, 0)]
    assert await row_counts(engine) == (4, 2, 2)


async def test_the_sample_imports_without_a_rejection(engine):
    report = await import_zipcodes(engine, SAMPLE, now=NOW)
    assert report.rejected == ()
    assert len(await pool_as_of(engine, report.import_id)) == report.added > 4_000


@pytest.mark.long
async def test_the_whole_country_is_imported_and_imported_again(engine, write):
    path = write(
        *(f"{number:05},{(*states_of(f'{number:05}'), 'DE')[0]},300,Dover," for number in range(42_000))
    )
    told = []
    for now, expected in ((NOW, (42_000, 0, 0)), (LATER, (0, 0, 42_000))):
        assert counts(await import_zipcodes(engine, path, now=now, progress=told.append)) == expected
    assert told[-1] == path.stat().st_size
    assert 0 < told[0] < told[-1] / 2


async def test_what_was_filled_in_is_counted_in_accepted_rows_only(engine, write):
    path = write(
        "7001,NJ,5,Avenel,,,",  # restored, STANDARD by default
        "7002,NJ,many,Bayonne,,,",  # rejected
        "19901,DE,300,Dover,,400000,",  # derived
        "19958,DE,250,Lewes,,,EMERGING",
        header=f"{HEADER},median_home_value,market_tier",
    )
    options = ImportOptions(restore_leading_zeros=True)
    report = await import_zipcodes(engine, path, now=NOW, options=options)
    assert (report.restored, report.tiers_derived, report.tiers_defaulted) == (1, 2, 1)
    pool = await pool_as_of(engine, report.import_id)
    assert [(row.zipcode, row.market_tier) for row in pool] == [
        ("07001", "STANDARD"),
        ("19901", "PREMIUM"),
        ("19958", "EMERGING"),
    ]


async def test_a_dry_run_reports_what_an_import_would_do_and_changes_nothing(engine, write):
    await import_zipcodes(engine, write(DOVER), now=NOW)
    path = write("19901,DE,301,Dover,", LEWES, "x,DE,1,,")
    rehearsed = await import_zipcodes(engine, path, now=LATER, options=ImportOptions(dry_run=True))
    assert rehearsed.import_id is None
    assert await row_counts(engine) == (1, 1, 1)
    done = await import_zipcodes(engine, path, now=LATER)
    assert replace(done, import_id=None) == rehearsed


async def test_a_dry_run_meets_the_database_too(engine, write):
    async with engine.begin() as connection:
        await connection.execute(text("alter table zipcodes add constraint fault check (state <> 'DE')"))
    with pytest.raises(DBAPIError, match="fault"):
        await import_zipcodes(engine, write(DOVER), now=NOW, options=ImportOptions(dry_run=True))


@pytest.mark.parametrize(("rows", "imported"), [([DOVER], True), ([DOVER, "x,DE,1,,"], False)])
async def test_a_strict_import_is_whole_or_changes_nothing(engine, write, rows, imported):
    report = await import_zipcodes(engine, write(*rows), now=NOW, options=ImportOptions(strict=True))
    assert (report.import_id is not None) is imported
    assert report.added == 1
    assert await row_counts(engine) == ((1, 1, 1) if imported else (0, 0, 0))


async def test_a_json_file_says_what_the_csv_says(engine):
    await import_zipcodes(engine, SAMPLE, now=NOW)
    report = await import_zipcodes(engine, SAMPLE.with_suffix(".json"), now=NOW)
    assert (report.added, report.changed, report.rejected) == (0, 0, ())
    assert report.unchanged > 4_000


async def test_a_json_file_that_breaks_off_changes_nothing(engine, tmp_path):
    path = tmp_path / "zipcodes.json"
    path.write_bytes(SAMPLE.with_suffix(".json").read_bytes()[:-2])
    with pytest.raises(ImportFileError, match="broken JSON"):
        await import_zipcodes(engine, path, now=NOW)
    assert await row_counts(engine) == (0, 0, 0)
