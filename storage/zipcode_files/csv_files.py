"""Reads a zipcode file as CSV: a header with the columns' names in any order, then one row per line.

The delimiter may be a comma, semicolon, tab or vertical bar; it is recognised in the header. Unknown columns
are ignored. `storage.zipcode_files.row_rules` checks the rows, and `storage.zipcode_files.headers` has the
accepted headers.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from storage.zipcode_files.headers import NO_MAPPING, HeaderError, matched
from storage.zipcode_files.row_rules import COLUMNS, REQUIRED_COLUMNS, ImportFileError, RawRow, Rejection

DELIMITERS = ",;\t|"
MAX_HEADERS_SHOWN = 300


def read_csv(lines: Iterable[str], mapping: Mapping[str, str] = NO_MAPPING) -> Iterator[RawRow | Rejection]:
    """Return each row, in the file's order. `mapping` is the operator's {column: header}.

    Raises ImportFileError at once for a header without the required columns, and later for broken CSV."""
    rest = iter(lines)
    begin: list[str] = []
    for line in rest:
        begin.append(line)
        if line.strip():
            break
    recognised = {one: len(_recognised(begin[-1], one, mapping)) for one in DELIMITERS} if begin else {}
    delimiter = max(DELIMITERS, key=lambda one: recognised.get(one, 0))
    records = _records(chain(begin, rest), delimiter)
    _, names = next(records, ("", []))
    headers = [name.strip() for name in names]
    return _rows(headers, _columns(headers, mapping), records)


def _recognised(line: str, delimiter: str, mapping: Mapping[str, str]) -> dict[str, str]:
    try:
        names = next(csv.reader([line], delimiter=delimiter), [])
        return matched((name.strip() for name in names), mapping)
    except (csv.Error, HeaderError):
        return {}


def _columns(headers: list[str], mapping: Mapping[str, str]) -> dict[str, int]:
    """Return the position of each column in a row. Raises ImportFileError."""
    try:
        found = matched(headers, mapping)
    except HeaderError as error:
        raise ImportFileError(f"the header {error}") from None
    missing = [column for column in REQUIRED_COLUMNS if column not in found]
    if missing:
        shown = ", ".join(headers)
        raise ImportFileError(
            f"the header has no column {' and no column '.join(missing)}; it has: "
            f"{shown[:MAX_HEADERS_SHOWN]!a}. To use one of these, pass --map {missing[0]}=HEADER"
        )
    return {column: headers.index(header) for column, header in found.items()}


def _records(lines: Iterable[str], delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every record that is not a blank line, with the line in which it ends."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for record in reader:
            if record:
                yield f"line {reader.line_num}", record
    except csv.Error as error:
        raise ImportFileError(f"line {reader.line_num}: broken CSV: {error}") from error


def _rows(
    headers: list[str], columns: dict[str, int], records: Iterable[tuple[str, list[str]]]
) -> Iterator[RawRow | Rejection]:
    absent = dict.fromkeys(COLUMNS, "")
    for place, record in records:
        if len(record) == len(headers):
            yield RawRow(place, absent | {column: record[place] for column, place in columns.items()})
        else:
            rule = f"has {len(record)} fields where the header has {len(headers)}"
            yield Rejection(place, "row", rule)
