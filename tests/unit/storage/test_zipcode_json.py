"""Tests zipcodes as JSON: accepted shapes, positions of errors, refused documents, and that JSON leads to the
same rows as CSV."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.zipcode_files import json_files
from storage.zipcode_files.csv_files import read_csv
from storage.zipcode_files.json_files import camel_case, read_json
from storage.zipcode_files.row_rules import COLUMNS, ImportFileError, RawRow, Rejection, RowRules, check_rows

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = {"zipcode": "19801", "state": "DE", "recently_sold_listings": 7}

EXAMPLES = "such as 1310, 1,310 or 1310.0"


def read(content):
    return list(read_json(io.StringIO(content, newline=None)))


def parse(entries):
    return list(check_rows(read(json.dumps(entries)), RowRules(NOW)))


def given_fields(**fields):
    return dict.fromkeys(COLUMNS, "") | fields


def test_an_entry_has_the_columns_of_the_csv():
    assert read(json.dumps([GOOD])) == [
        RawRow("entry 1", given_fields(zipcode="19801", state="DE", recently_sold_listings="7"))
    ]


def test_an_entry_may_have_camel_case():
    entry = {camel_case(column): column.upper() for column in COLUMNS}
    assert "recentlySoldListings" in entry
    assert read(json.dumps([entry])) == [RawRow("entry 1", {column: column.upper() for column in COLUMNS})]


def test_the_list_may_stand_in_an_object_whose_other_keys_are_ignored():
    document = {"source": {"zipcodes": []}, "zipcodes": [GOOD], "total": 1.5}
    assert read(json.dumps(document)) == read(json.dumps([GOOD]))


def test_null_is_an_absent_value_and_unknown_keys_are_ignored():
    assert read(json.dumps([GOOD | {"city": None, "note": {"any": ["thing"]}}])) == read(json.dumps([GOOD]))


@pytest.mark.parametrize("empty", ["[]", " [\n] ", '{"zipcodes": []}'])
def test_a_list_may_be_empty(empty):
    assert read(empty) == []


@pytest.mark.parametrize("document", ["[1, {}, 2]", '{"other": [{}], "zipcodes":\n[1,\n{}, 2]}'])
def test_an_entry_is_named_by_its_place_in_the_list(document):
    assert [row.place for row in read(document)] == ["entry 1", "entry 2", "entry 3"]


@pytest.mark.parametrize("entry", ["19801", "null", "[]", '"19801"', "true"])
def test_an_entry_that_is_no_object_is_rejected(entry):
    assert read(f"[{entry}]") == [Rejection("entry 1", "row", "must be an object")]


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("recently_sold_listings", 7.5, f"must be a whole number from 0 to 1000000, {EXAMPLES}"),
        ("recently_sold_listings", -7, f"must be a whole number from 0 to 1000000, {EXAMPLES}"),
        ("population", True, "must be text, a number or null"),
        ("zipcode", ["19801"], "must be text, a number or null"),
        ("city", 7, "must be text"),
        ("state", {}, "must be text, a number or null"),
        ("city", "a\ud800", "must not contain control characters"),
        ("city", "a\0", "must not contain control characters"),
        ("zipcode", 198010, "must be five digits"),
    ],
)
def test_a_value_of_another_kind_rejects_its_entry_only(field, value, rule):
    other = GOOD | {"zipcode": "19802"}
    rejected, accepted = parse([GOOD | {field: value}, other])
    assert rejected == Rejection("entry 1", field, rule)
    assert accepted.zipcode == "19802"


def test_a_number_may_be_a_zipcode_if_no_zero_is_lost():
    accepted, short = parse([GOOD | {"zipcode": 19801}, GOOD | {"zipcode": 7001}])
    assert accepted.zipcode == "19801"
    assert "--restore-leading-zeros" in short.rule


def test_a_number_may_be_a_whole_float():
    (row,) = parse([GOOD | {"recently_sold_listings": 7.0}])
    assert row.recently_sold_listings == 7


def test_a_column_in_both_spellings_rejects_its_entry():
    (rejected,) = read(json.dumps([GOOD | {"market_tier": "PREMIUM", "marketTier": "STANDARD"}]))
    assert (rejected.place, rejected.field) == ("entry 1", "row")
    assert "market_tier more than once: market_tier, marketTier" in rejected.rule


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "line 1: broken JSON: Expecting value"),
        ("19801", "neither a list of zipcodes nor an object with one under zipcodes"),
        ('"zipcodes"', "neither a list"),
        ("{}", "neither a list"),
        ('{"zipcodes": 1}', "neither a list"),
        ('{"zipcodes": [], "zipcodes": []}', "the key 'zipcodes' occurs twice"),
        ('{"a": 1, "\\u0061": 2, "zipcodes": []}', "the key 'a' occurs twice"),
        ('{"zipcodes": [],}', "line 1: broken JSON"),
        ('{"zipcodes": []\n"a": 1}', "line 2: broken JSON: Expecting ',' delimiter"),
        ("[1 2]", "Expecting ',' delimiter"),
        ("[1,\n2,]", "broken JSON"),
        ("[1,\n2", "line 2: broken JSON: Expecting ',' delimiter"),
        ("[1,", "line 1: broken JSON: Expecting value"),
        ("[]\n[]", "line 2: broken JSON: Extra data"),
        ('[\n{"city":\n"open}]', "line 3: broken JSON: Unterminated string"),
        ('[{"city": "a\nb"}]', "Invalid control character"),
        (
            '[1,\n{"city": "a", "city": "b"}]',
            "entry 2: broken JSON: the key 'city' occurs twice in one object",
        ),
        ('[{"note": [{"a": 1, "a": 1}]}]', "^broken JSON: the key 'a' occurs twice in one object"),
        ("[NaN]", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_document_that_leaves_a_doubt_is_refused(content, reason):
    with pytest.raises(ImportFileError, match=reason):
        read(content)


def test_a_document_that_is_too_large_is_refused(monkeypatch):
    content = json.dumps([GOOD])
    monkeypatch.setattr(json_files, "MAX_CHARACTERS", len(content))
    assert len(read(content)) == 1
    with pytest.raises(ImportFileError, match="characters of JSON: import it as CSV"):
        read(content + " ")


def test_entries_of_many_shapes_are_read_alike():
    entries = [GOOD | {f"note_{number}": 1} for number in range(2 * json_files.MAX_SHAPES)]
    assert {tuple(row.fields.items()) for row in read(json.dumps(entries))} == {
        tuple(given_fields(**GOOD | {"recently_sold_listings": "7"}).items())
    }


def test_a_zipcode_that_stands_twice_names_the_first():
    assert parse([GOOD, GOOD])[1] == Rejection("entry 2", "zipcode", "already given in entry 1")


# These values are close to the limits, on both sides. CSV cannot distinguish "\r\n" from "\n", and has no
# lone surrogate.
VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["", "19801", "7001", "DE", "PREMIUM", "200000", "2026-02-28", "2026-03-02", "7"]),
)
ROWS = st.lists(
    st.fixed_dictionaries(dict.fromkeys(COLUMNS, VALUES))
    | st.fixed_dictionaries(
        {column: st.just(value) for column, value in (GOOD | {"recently_sold_listings": "7"}).items()},
        optional=dict.fromkeys(set(COLUMNS) - set(GOOD), VALUES),
    ),
    max_size=3,
)


@given(ROWS, st.booleans(), st.booleans())
def test_a_row_parses_alike_as_csv_and_as_json(rows, camel, restore):
    rules = RowRules(NOW, restore)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    text.seek(0)
    entries = [{camel_case(name) if camel else name: value for name, value in row.items()} for row in rows]
    assert without_lines(check_rows(read_csv(text), rules)) == without_lines(
        check_rows(read(json.dumps(entries)), rules)
    )


def without_lines(outcomes):
    return [
        (outcome.field, outcome.rule.partition(" given in ")[0])
        if isinstance(outcome, Rejection)
        else outcome
        for outcome in outcomes
    ]
