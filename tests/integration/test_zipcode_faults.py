"""Tests the import of all zipcodes of the country with a hundred faults: each is named, and the other rows
are imported."""

import csv
import json
from datetime import UTC, datetime

import pytest

from storage.database.engine import open_engine
from storage.zipcode_files.importing import import_zipcodes, load_pool
from storage.zipcode_files.prefixes import states_of
from storage.zipcode_files.row_rules import COLUMNS, Rejection

pytestmark = pytest.mark.long

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS = 42_000
FAULTS = 100
COUNT_RULE = "must be a whole number from 0 to {}, such as 1310, 1,310 or 1310.0"
TIME_RULE = "must be a date or an RFC 3339 time such as 2026-01-31T08:00:00Z"
SHORT_RULE = (
    "must be five digits; to restore leading zeros that a spreadsheet removed, use --restore-leading-zeros"
)
# (field, value, rule). Each fault is planted five times.
KINDS = [
    ("zipcode", "", "must be five digits"),
    ("zipcode", "501", SHORT_RULE),
    ("zipcode", "7001", SHORT_RULE),
    ("zipcode", "19103-1234", "must be five digits"),
    ("zipcode", "00000", "already given in {first}"),
    ("state", "", "must be the two letters of a US state or territory"),
    ("state", "XX", "must be the two letters of a US state or territory"),
    ("city", "x" * 101, "must have at most 100 characters"),
    ("city", "Do\x1b[2Jver", "must not contain control characters"),
    ("county", "Kent\u202e", "must not contain control characters"),
    ("population", "-1", COUNT_RULE.format(10_000_000)),
    ("population", "10000001", COUNT_RULE.format(10_000_000)),
    ("median_home_value", "a lot", "must be US dollars from 0 to 100000000, such as 401,223.50"),
    ("recently_sold_listings", "", "must not be empty"),
    ("recently_sold_listings", "12.5", COUNT_RULE.format(1_000_000)),
    ("market_tier", "LUXURY", "must be one of PREMIUM, STANDARD, EMERGING, or empty"),
    ("geographic_region", "\x00", "must not contain control characters"),
    ("last_scraped", "2026-02-30", TIME_RULE),
    ("last_scraped", "2026-03-02", "must not be in the future"),
    ("row", None, None),
]
ROW_RULES = {"csv": "has 12 fields where the header has 11", "json": "must be an object"}


def planted():
    """{row number: (field, value, rule)}, spread from the second row to the last."""
    return {ROWS - 1 - number * 420: KINDS[number % len(KINDS)] for number in range(FAULTS)}


def rows():
    faults = planted()
    for number in range(ROWS):
        field, value, _ = faults.get(number, ("city", "Dover", None))
        zipcode = f"{number:05}"
        state = (*states_of(zipcode), "DE")[0]
        good = dict.fromkeys(COLUMNS, "") | {"state": state, "recently_sold_listings": "300"}
        yield good | {"zipcode": zipcode, field: value}


def write_csv(path):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([*row.values()] for row in rows())


def write_json(path):
    entries = ",\n".join("19801" if "row" in row else json.dumps(row) for row in rows())
    path.write_text(f"[\n{entries}\n]")


@pytest.mark.parametrize(("file_format", "write"), [("csv", write_csv), ("json", write_json)])
async def test_each_of_a_hundred_faults_is_named_and_the_rest_is_in(
    database_url, tmp_path, file_format, write
):
    path = tmp_path / f"zipcodes.{file_format}"
    write(path)
    engine = open_engine(database_url, application_name="test")
    try:
        report = await import_zipcodes(engine, path, now=NOW)
        async with engine.connect() as connection:
            pool = await load_pool(connection, report.import_id)
    finally:
        await engine.dispose()
    faults = planted()
    place = "line {}" if file_format == "csv" else "entry {}"
    first = 2 if file_format == "csv" else 1  # line 1 of CSV is the header
    assert report.rejected == tuple(
        Rejection(
            place.format(number + first),
            field,
            (rule or ROW_RULES[file_format]).replace("{first}", place.format(first)),
        )
        for number, (field, _, rule) in sorted(faults.items())
    )
    assert len(report.rejected) == FAULTS
    assert (report.added, report.changed, report.unchanged) == (ROWS - FAULTS, 0, 0)
    assert [row.zipcode for row in pool] == [f"{number:05}" for number in range(ROWS) if number not in faults]
