"""Tests zipcode files as bytes: formats, text and lines, and that no bytes lead to an unexpected error."""

import hashlib
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.zipcode_files.file import FileFormat, ZipcodeFile
from storage.zipcode_files.row_rules import ImportFileError, Rejection, RowRules, ZipcodeRow, check_rows

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEADER = b"zipcode,state,recently_sold_listings\n"
ENTRY = '{"zipcode": "19801", "state": "DE", "recently_sold_listings": 7}'


@pytest.fixture
def read(tmp_path):
    def read(content, name="zipcodes.csv", file_format=None):
        path = tmp_path / name
        path.write_bytes(content)
        with ZipcodeFile(path, file_format) as file:
            return list(check_rows(file.rows(), RowRules(NOW)))

    return read


@pytest.mark.parametrize(("name", "file_format"), [("a.json", "json"), ("A.JSON", "json"), ("json", "csv")])
def test_the_suffix_tells_the_format(name, file_format):
    assert FileFormat.of(Path(name)) == file_format


def test_the_format_may_be_said(read):
    assert len(read(f"[{ENTRY}]".encode(), "export.txt", FileFormat.JSON)) == 1
    assert len(read(HEADER + b"19801,DE,7\n", "export.json", FileFormat.CSV)) == 1


@pytest.mark.parametrize("name", ["zipcodes.csv", "zipcodes.json"])
def test_a_byte_order_mark_is_skipped(read, name):
    content = HEADER + b"19801,DE,7\n" if name.endswith("csv") else f"[{ENTRY}]".encode()
    (row,) = read(b"\xef\xbb\xbf" + content, name)
    assert row.zipcode == "19801"


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("before", [0, 1, 5_000])
def test_bytes_that_are_not_utf8_refuse_the_file_and_name_the_line(read, prefix, before):
    lines = b"".join(b"%05d,DE,\xc3\xa9\n" % number for number in range(before))
    with pytest.raises(ImportFileError, match=f"line {before + 2}: not UTF-8"):
        read(prefix + HEADER + lines + b"19802,DE,Pe\xf1a\n" + lines)


def test_a_character_cut_off_at_the_end_is_not_utf8(read):
    with pytest.raises(ImportFileError, match="line 2: not UTF-8"):
        read(HEADER + b"19802,DE,\xc3")


def test_the_digest_is_that_of_all_bytes(tmp_path):
    path = tmp_path / "zipcodes.json"
    path.write_bytes(f"[{ENTRY}]".encode() + b"\n" * 100_000)
    with ZipcodeFile(path) as file:
        assert len(list(file.rows())) == 1
        assert (file.bytes_read, file.sha256) == (100_066, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_file_that_is_not_there_is_named_as_such(tmp_path):
    with pytest.raises(ImportFileError, match="cannot be read: No such file"):
        ZipcodeFile(tmp_path / "absent.csv")


def test_a_name_that_is_no_text_becomes_text(tmp_path):
    path = tmp_path / "zip\udcff.csv"
    path.write_bytes(HEADER)
    with ZipcodeFile(path) as file:
        assert file.name == "zip?.csv"


# These texts, beside whole entries, move the JSON reader from one state to another.
JSON_PIECES = st.lists(
    st.sampled_from([ENTRY, "[", "]", "{", "}", ",", ":", '"', '"zipcodes"', "null", "1e", "\n", " ", "\\"])
).map("".join)


@given(st.one_of(st.binary(max_size=200), JSON_PIECES.map(str.encode)), st.sampled_from(FileFormat))
def test_any_bytes_are_rows_or_one_refusal(tail, file_format):
    head = HEADER if file_format is FileFormat.CSV else b"["
    with tempfile.NamedTemporaryFile() as temporary:
        Path(temporary.name).write_bytes(head + tail)
        with ZipcodeFile(Path(temporary.name), file_format) as file:
            try:
                outcomes = list(check_rows(file.rows(), RowRules(NOW)))
            except ImportFileError:
                return
    places = [int(one.place.split()[1]) for one in outcomes if isinstance(one, Rejection)]
    assert places == sorted(places)
    assert all(isinstance(outcome, ZipcodeRow | Rejection) for outcome in outcomes)
