"""A zipcode file as CSV: a header with the columns' names in any order, then one row a line.

Owns quoting, the header, and rows of another width. Unknown columns are ignored. What a
row may say is `storage.zipcode_rows`.
"""

import csv
from collections.abc import Iterable, Iterator

from storage.zipcode_rows import COLUMNS, REQUIRED_COLUMNS, ImportFileError, RawRow, Rejection


def read_csv(lines: Iterable[str]) -> Iterator[RawRow | Rejection]:
    """Each row, in the file's order.

    Raises ImportFileError: for a header without the required columns at once, for broken CSV
    on the way.
    """
    records = _records(lines)
    _, names = next(records, (0, []))
    return _rows(_checked_header(names), records)


def _records(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Every record that is not a blank line, with its line number."""
    reader = csv.reader(lines, strict=True)
    try:
        for record in reader:
            if record:
                yield reader.line_num, record
    except csv.Error as error:
        raise ImportFileError(f"line {reader.line_num}: broken CSV: {error}") from error


def _checked_header(names: list[str]) -> list[str]:
    header = [name.strip() for name in names]
    for column in REQUIRED_COLUMNS:
        if column not in header:
            raise ImportFileError(f"the header has no column {column}")
    for column in COLUMNS:
        if header.count(column) > 1:
            raise ImportFileError(f"the header has the column {column} more than once")
    return header


def _rows(header: list[str], records: Iterable[tuple[int, list[str]]]) -> Iterator[RawRow | Rejection]:
    absent = dict.fromkeys(COLUMNS, "")
    for line, record in records:
        if len(record) == len(header):
            yield RawRow(line, absent | dict(zip(header, record, strict=True)))
        else:
            rule = f"has {len(record)} fields where the header has {len(header)}"
            yield Rejection(line, "row", rule)
