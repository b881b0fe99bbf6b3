"""Tests the rules for rows of zipcode files: each rule, its limits, and that every input is handled by the
rules."""

import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
import zipcodes
from hypothesis import given
from hypothesis import strategies as st

from storage.zipcode_files.csv_files import read_csv
from storage.zipcode_files.prefixes import states_of
from storage.zipcode_files.row_rules import (
    COLUMNS,
    MARKET_TIERS,
    STATES,
    ImportFileError,
    Rejection,
    RowRules,
    ZipcodeRow,
    check_rows,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = {
    "zipcode": "19103",
    "state": "PA",
    "city": "Philadelphia",
    "county": "Philadelphia County",
    "population": "24214",
    "median_home_value": "512000",
    "recently_sold_listings": "310",
    "market_tier": "PREMIUM",
    "geographic_region": "PHILADELPHIA_METRO",
    "last_scraped": "2026-02-28T08:30:00Z",
}


def parse(content, **options):
    rows = read_csv(io.StringIO(content, newline=""))
    return list(check_rows(rows, RowRules(NOW, **options)))


def parse_one(**changes):
    fields = GOOD | changes
    quoted = ('"' + value.replace('"', '""') + '"' for value in fields.values())
    outcomes = parse(",".join(fields) + "\n" + ",".join(quoted) + "\n")
    assert len(outcomes) == 1
    return outcomes[0]


def rejected_field(**changes):
    outcome = parse_one(**changes)
    assert isinstance(outcome, Rejection)
    return outcome.field


def test_a_full_row_is_read_as_it_stands():
    assert parse_one() == ZipcodeRow(
        zipcode="19103",
        state="PA",
        city="Philadelphia",
        county="Philadelphia County",
        population=24214,
        median_home_value=512000,
        recently_sold_listings=310,
        market_tier="PREMIUM",
        geographic_region="PHILADELPHIA_METRO",
        last_scraped_at=datetime(2026, 2, 28, 8, 30, tzinfo=UTC),
        last_scraped_defaulted=False,
    )


def test_three_columns_are_enough():
    assert parse("zipcode,state,recently_sold_listings\n19801,DE,7\n") == [
        ZipcodeRow("19801", "DE", "", "", None, None, 7, "STANDARD", "DE_OTHER", NOW, True, True)
    ]


def test_column_order_is_free_and_unknown_columns_are_ignored():
    (row,) = parse("recently_sold_listings, note ,state,zipcode,note\n7,x,DE,19801,y\n")
    assert (row.zipcode, row.state, row.recently_sold_listings) == ("19801", "DE", 7)


@pytest.mark.parametrize("missing", ["zipcode", "state", "recently_sold_listings"])
def test_a_header_without_a_required_column_refuses_the_file(missing):
    header = ",".join(column for column in COLUMNS if column != missing)
    with pytest.raises(ImportFileError, match=f"no column {missing}"):
        read_csv([header])


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_refused(content):
    with pytest.raises(ImportFileError, match="no column zipcode"):
        parse(content)


def test_a_column_given_twice_refuses_the_file():
    with pytest.raises(ImportFileError, match="column state more than once"):
        parse("zipcode,state,recently_sold_listings,state\n")


@pytest.mark.parametrize("broken", ['"19801,DE,7\n', '"19801"x,DE,7\n', "1" * 200_000])
def test_broken_csv_refuses_the_file(broken):
    with pytest.raises(ImportFileError, match="line 3: broken CSV"):
        parse("zipcode,state,recently_sold_listings\n19802,DE,7\n" + broken)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_numbers_are_those_of_the_file(newline):
    lines = ["zipcode,state,recently_sold_listings,city", "", 'x,DE,7,"two', 'lines"', "y,DE,7,", ""]
    assert [outcome.place for outcome in parse(newline.join(lines))] == ["line 4", "line 5"]


@pytest.mark.parametrize(("record", "count"), [("19801,DE", 2), ("19801,DE,7,8", 4)])
def test_a_row_of_another_width_is_rejected(record, count):
    rule = f"has {count} fields where the header has 3"
    assert parse(f"zipcode,state,recently_sold_listings\n{record}\n") == [Rejection("line 2", "row", rule)]


@pytest.mark.parametrize(
    "value", ["", "1910", "191033", "1910a", "19103-1234", " 19103", "１９１０３", "19103\n"]
)
def test_a_zipcode_is_five_ascii_digits(value):
    assert rejected_field(zipcode=value) == "zipcode"


@pytest.mark.parametrize(
    ("value", "hinted"), [("7001", True), ("501", True), ("07", False), ("070011", False)]
)
def test_a_short_zipcode_hints_at_the_option_that_restores_its_zeros(value, hinted):
    assert ("--restore-leading-zeros" in parse_one(zipcode=value).rule) is hinted


@pytest.mark.parametrize(("value", "restored"), [("7001", "07001"), ("501", "00501"), ("19801", "19801")])
def test_leading_zeros_are_restored_when_asked_for(value, restored):
    state = states_of(restored)[0]
    (row,) = parse(f"zipcode,state,recently_sold_listings\n{value},{state},7\n", restore_leading_zeros=True)
    assert (row.zipcode, row.zeros_restored) == (restored, value != restored)


@pytest.mark.parametrize("value", ["", "01", "070011", "70a1", "٧٠٠١"])
def test_only_three_or_four_digits_are_restored(value):
    (rejected,) = parse(f"zipcode,state,recently_sold_listings\n{value},DE,7\n", restore_leading_zeros=True)
    assert rejected == Rejection("line 2", "zipcode", "must be five digits")


def test_a_restored_zipcode_is_the_one_that_has_its_zeros():
    lines = "zipcode,state,recently_sold_listings\n07001,NJ,7\n7001,NJ,8\n"
    _, second = parse(lines, restore_leading_zeros=True)
    assert second == Rejection("line 3", "zipcode", "already given in line 2")


def test_the_second_of_two_equal_zipcodes_is_rejected():
    first, second = parse("zipcode,state,recently_sold_listings\n19801,DE,7\n19801,DE,8\n")
    assert first.recently_sold_listings == 7
    assert second == Rejection("line 3", "zipcode", "already given in line 2")


def test_a_rejected_line_does_not_claim_its_zipcode():
    first, second = parse("zipcode,state,recently_sold_listings\n19801,DE,\n19801,DE,8\n")
    assert first.field == "recently_sold_listings"
    assert second.recently_sold_listings == 8


@pytest.mark.parametrize("value", ["", "XX", "PAX", "P", " PA", "\u017fc"])
def test_a_state_is_two_letters_of_the_postal_list(value):
    assert rejected_field(state=value) == "state"


@pytest.mark.parametrize("value", ["PA", "pa", "Pa"])
def test_a_state_is_stored_in_capitals(value):
    assert parse_one(state=value).state == "PA"


@pytest.mark.parametrize(("zipcode", "state"), [("20001", "DC"), ("00901", "PR"), ("09001", "AE")])
def test_the_district_territories_and_military_mail_are_known(zipcode, state):
    assert parse_one(zipcode=zipcode, state=state).state == state


@pytest.mark.parametrize(("zipcode", "state"), [("07710", "TX"), ("00902", "TX"), ("19103", "NJ")])
def test_a_zipcode_lies_in_its_state(zipcode, state):
    outcome = parse_one(zipcode=zipcode, state=state)
    assert outcome.field == "state"
    assert zipcode[:3] in outcome.rule


def test_every_real_zipcode_lies_in_its_state():
    real = {(one["zip_code"], one["state"]) for one in zipcodes.list_all()}
    strange = {(zipcode, state) for zipcode, state in real if state not in states_of(zipcode)}
    # The package has six numbers of the army's European post offices in New Jersey.
    assert {state for _, state in strange} == {"NJ"}
    assert {zipcode[:3] for zipcode, _ in strange} == {"099"}


def test_a_prefix_that_is_not_in_use_says_nothing():
    assert states_of("00001") == ()
    assert parse_one(zipcode="00001").state == "PA"


@pytest.mark.parametrize(
    ("column", "most"),
    [("recently_sold_listings", 1_000_000), ("population", 10_000_000), ("median_home_value", 100_000_000)],
)
def test_numbers_are_bounded(column, most):
    assert getattr(parse_one(**{column: "0"}), column) == 0
    assert getattr(parse_one(**{column: str(most)}), column) == most
    for value in (
        str(most + 1),
        "-1",
        "+1",
        "1e3",
        "1,00",
        "1,0000",
        "1_000",
        " 1",
        "٣",
        "9" * 5_000,
        "1.",
        ".5",
    ):
        assert rejected_field(**{column: value}) == column


@pytest.mark.parametrize("column", ["recently_sold_listings", "population"])
@pytest.mark.parametrize(
    ("value", "count"),
    [("310.0", 310), ("1,310", 1310), ("1 310.00", 1310), ("1'310", 1310), ("1\u202f310", 1310)],
)
def test_whole_floats_and_thousands_are_read(column, value, count):
    assert getattr(parse_one(**{column: value}), column) == count


@pytest.mark.parametrize("column", ["recently_sold_listings", "population"])
def test_a_count_is_whole(column):
    assert rejected_field(**{column: "310.5"}) == column


@pytest.mark.parametrize(
    ("value", "dollars"),
    [("515120.020417", 515120), ("$401,223.5", 401224), ("0.4", 0), ("99999999.9", 10**8)],
)
def test_a_home_value_is_rounded_to_dollars(value, dollars):
    assert parse_one(median_home_value=value).median_home_value == dollars


@pytest.mark.parametrize(("value", "weight"), [("", None), ("1", 1.0), ("0.5", 0.5), ("1000000", 1e6)])
def test_a_base_weight_may_be_given(value, weight):
    assert parse_one(base_weight=value).base_weight == weight


@pytest.mark.parametrize("value", ["0", "-1", "1000000.1", "0.0000001", "nan", "inf", "1e3"])
def test_a_base_weight_has_bounds(value):
    assert rejected_field(base_weight=value) == "base_weight"


@pytest.mark.parametrize("value", ["19103.0", "8701.0"])
def test_a_zipcode_that_pandas_made_a_float_of_is_read(value):
    (row,) = parse(
        f"zip,st,listings\n{value},{'PA' if value[0] == '1' else 'NJ'},7\n", restore_leading_zeros=True
    )
    assert row.zipcode in {"19103", "08701"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_recognised(delimiter):
    (row,) = parse(
        delimiter.join(["zipcode", "state", "city", "listings"])
        + "\n"
        + delimiter.join(["19103", "PA", "Philadelphia", "310"])
        + "\n"
    )
    assert (row.zipcode, row.city, row.recently_sold_listings) == ("19103", "Philadelphia", 310)


@pytest.mark.parametrize(
    "header",
    [
        "ZIP Code,State Code,Expected Listings",
        "zip_code,state,expectedListings",
        "RegionName,State,Recently Sold Listings",
        "\ufeffzip,st,homes sold",
        "StateName,postal-code,state,recently_sold",
    ],
)
def test_usual_names_of_columns_are_recognised(header):
    values = {"StateName": "Pennsylvania"}
    plainly = {"zip": "19103", "pos": "19103", "reg": "19103", "sta": "PA", "st": "PA"}
    record = [
        values.get(name) or plainly.get(name.lstrip("\ufeff")[:3].lower(), "310")
        for name in header.split(",")
    ]
    (row,) = parse(f"{header}\n{','.join(record)}\n")
    assert (row.zipcode, row.state, row.recently_sold_listings) == ("19103", "PA", 310)


def test_the_operator_names_a_column():
    rows = read_csv(io.StringIO("zip,state,n,listings\n19103,PA,7,8\n"), {"recently_sold_listings": "n"})
    (row,) = check_rows(rows, RowRules(NOW))
    assert row.recently_sold_listings == 7


@pytest.mark.parametrize("header", ["zip,state,m", "zip,state,n,n"])
def test_a_column_that_is_named_must_be_there_once(header):
    with pytest.raises(ImportFileError, match="recently_sold_listings as 'n', which"):
        read_csv([header], {"recently_sold_listings": "n"})


def test_a_missing_column_says_which_headers_there_are():
    with pytest.raises(
        ImportFileError, match=r"no column recently_sold_listings; it has: 'RegionName, State, .*--map"
    ):
        read_csv(["RegionName,State,2026-10-31"])


def test_listings_must_be_given():
    assert rejected_field(recently_sold_listings="") == "recently_sold_listings"


def test_population_and_home_value_may_be_empty():
    row = parse_one(population="", median_home_value="")
    assert (row.population, row.median_home_value) == (None, None)


def test_a_market_tier_may_have_any_case():
    assert parse_one(market_tier="Emerging").market_tier == "EMERGING"


@pytest.mark.parametrize("value", ["LUXURY", " PREMIUM", "ſtandard"])
def test_an_unknown_market_tier_is_rejected(value):
    assert rejected_field(market_tier=value) == "market_tier"


DERIVED = {"400000": "PREMIUM", "399999": "STANDARD", "200000": "STANDARD", "199999": "EMERGING"}


@pytest.mark.parametrize(("home_value", "tier"), [*DERIVED.items(), ("0", "EMERGING"), ("", "STANDARD")])
def test_an_empty_market_tier_follows_from_the_home_value(home_value, tier):
    row = parse_one(market_tier="", median_home_value=home_value)
    assert (row.market_tier, row.tier_derived) == (tier, True)


@pytest.mark.parametrize("column", ["city", "county", "geographic_region"])
def test_text_is_short_and_printable(column):
    assert getattr(parse_one(**{column: "é" * 100}), column) == "é" * 100
    for value in ("x" * 101, "a\nb", "a\x00b", "\x1b[2J", "a\u202eb", "a\u2028b", "\t"):
        assert rejected_field(**{column: value}) == column


def test_an_empty_region_is_the_rest_of_its_state():
    assert parse_one(geographic_region=" ").geographic_region == "PA_OTHER"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
        ("2026-02-28T08:30:00", datetime(2026, 2, 28, 8, 30, tzinfo=UTC)),
        ("2026-02-28t08:30:00.25z", datetime(2026, 2, 28, 8, 30, 0, 250_000, tzinfo=UTC)),
        ("2026-02-28 03:30:00-05:00", datetime(2026, 2, 28, 8, 30, tzinfo=UTC)),
        ("2026-03-01T12:01:00Z", NOW + timedelta(seconds=60)),
    ],
)
def test_last_scraped_is_rfc3339_in_utc(value, expected):
    row = parse_one(last_scraped=value)
    assert (row.last_scraped_at, row.last_scraped_defaulted) == (expected, False)
    assert row.last_scraped_at.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "2026-02-30",
        "20260228",
        "2026-W08-1",
        "2026-02-28T08",
        "2026-02-28T08:30Z",
        "2026-02-28T25:00:00Z",
        "2026-02-28T08:30:00+24:00",
        "0001-01-01T00:00:00+01:00",
        "0000-01-01",
        "1772270000",
        " 2026-02-28",
    ],
)
def test_other_times_are_rejected(value):
    assert rejected_field(last_scraped=value) == "last_scraped"


def test_a_time_beyond_the_clock_tolerance_is_rejected():
    assert parse_one(last_scraped="2026-03-01T12:01:01Z").rule == "must not be in the future"


def test_an_empty_last_scraped_is_the_import_in_utc():
    berlin = NOW.astimezone(timezone(timedelta(hours=1)))
    raw = read_csv(["zipcode,state,recently_sold_listings", "19801,DE,7"])
    (row,) = check_rows(raw, RowRules(berlin))
    assert (row.last_scraped_at, row.last_scraped_defaulted) == (NOW, True)
    assert row.last_scraped_at.tzinfo is UTC


def test_a_naive_import_time_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        RowRules(datetime(2026, 3, 1))  # noqa: DTZ001


# Digits and separators of every rule, and characters that only look like them.
NEAR_MISSES = st.text('0129PAepZT:-+. \t\n\r\0\u202e\u2028",éſ１', max_size=12)


@given(st.sampled_from(COLUMNS), NEAR_MISSES)
def test_any_field_is_either_within_the_rules_or_rejected(column, value):
    outcome = parse_one(**{column: value})
    if isinstance(outcome, Rejection):
        assert outcome.field == column
        return
    assert outcome.zipcode.isascii() and len(outcome.zipcode) == 5
    assert outcome.state in STATES and outcome.market_tier in MARKET_TIERS
    assert 0 <= outcome.recently_sold_listings <= 1_000_000
    assert outcome.last_scraped_at <= NOW + timedelta(seconds=60)


@given(st.lists(st.integers(0, 30), max_size=60))
def test_of_each_zipcode_exactly_the_first_line_counts(numbers):
    lines = ["zipcode,state,recently_sold_listings"]
    lines += [f"{number:05},DE,{listings}" for listings, number in enumerate(numbers)]
    rows = [outcome for outcome in parse("\n".join(lines)) if isinstance(outcome, ZipcodeRow)]
    assert [(row.zipcode, row.recently_sold_listings) for row in rows] == [
        (f"{number:05}", numbers.index(number)) for number in dict.fromkeys(numbers)
    ]
