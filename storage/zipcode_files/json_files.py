"""Reads a zipcode file as JSON: a list of objects with the CSV's columns as keys.

The list may also be under the key `zipcodes` of an object, whose other keys are ignored.
`storage.zipcode_files.row_rules` checks the rows.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NoReturn, TextIO

from storage.zipcode_files.headers import NO_MAPPING, HeaderError, matched
from storage.zipcode_files.row_rules import COLUMNS, ImportFileError, RawRow, Rejection

LIST_KEY = "zipcodes"
# The largest length of a file, because the whole document is kept in memory. All zipcodes of the United
# States need a twentieth of it.
MAX_CHARACTERS = 200_000_000
# The columns are cached for at most this many different sets of keys. Usually all entries of a file have the
# same keys. Without the limit, a file with different keys in every entry could fill the memory.
MAX_SHAPES = 100
_MAY_BE_NUMBERS = frozenset(
    {"zipcode", "population", "median_home_value", "recently_sold_listings", "base_weight"}
)


class _Number(str):
    """A number in the spelling of the file, so that 7 and "7" can be distinguished and nothing is rounded."""

    __slots__ = ()


class _RefusedError(ValueError):
    """The document is JSON by its syntax, but ambiguous or unusable."""


def camel_case(column: str) -> str:
    """Return the column's name in camelCase, such as `marketTier` for `market_tier`."""
    first, *others = column.split("_")
    return first + "".join(word.capitalize() for word in others)


def read_json(text: TextIO, mapping: Mapping[str, str] = NO_MAPPING) -> Iterator[RawRow | Rejection]:
    """Yield each entry, in the file's order. `mapping` is the operator's {column: key}.

    Raises ImportFileError for a document that is too large, broken JSON, a key that occurs twice in one
    object, or a document that is not a list of zipcodes.
    """
    document = text.read(MAX_CHARACTERS + 1)
    if len(document) > MAX_CHARACTERS:
        raise ImportFileError(
            f"more than {MAX_CHARACTERS:,} characters of JSON: import it as CSV, which is read row by row"
        )

    @lru_cache(MAX_SHAPES)
    def key_of_column(keys: tuple[str, ...]) -> dict[str, str]:
        return matched(keys, {column: key for column, key in mapping.items() if key in keys})

    for number, entry in enumerate(_entries(document), start=1):
        yield _raw_row(f"entry {number}", entry, key_of_column)


def _entries(document: str) -> list[object]:
    """Return the list of zipcodes. Raises ImportFileError."""
    twins: list[tuple[object, str]] = []

    def noting_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
        """Note keys that occur twice in an object, because parsers may use different ones."""
        result = dict(pairs)
        if len(result) < len(pairs):
            keys = [key for key, _ in pairs]
            twins.append((result, next(key for key in keys if keys.count(key) > 1)))
        return result

    try:
        parsed: object = json.loads(
            document,
            object_pairs_hook=noting_twins,
            parse_constant=_no_constant,
            parse_float=_Number,
            parse_int=_Number,
        )
    except json.JSONDecodeError as error:
        raise ImportFileError(f"line {error.lineno}: broken JSON: {error.msg}") from error
    except _RefusedError as error:
        raise ImportFileError(f"broken JSON: {error}") from error
    except RecursionError as error:
        raise ImportFileError("broken JSON: nested too deeply") from error
    found = parsed.get(LIST_KEY) if isinstance(parsed, dict) else parsed
    entries: list[object] = found if isinstance(found, list) else []
    if twins:
        holder, key = twins[0]
        place = next((f"entry {n}: " for n, entry in enumerate(entries, start=1) if entry is holder), "")
        raise ImportFileError(f"{place}broken JSON: the key {key!a:.40} occurs twice in one object")
    if found is not entries:
        raise ImportFileError(f"neither a list of zipcodes nor an object with one under {LIST_KEY}")
    return entries


def _raw_row(
    place: str, entry: object, key_of_column: Callable[[tuple[str, ...]], dict[str, str]]
) -> RawRow | Rejection:
    if not isinstance(entry, dict):
        return Rejection(place, "row", "must be an object")
    try:
        columns = key_of_column(tuple(entry))
    except HeaderError as error:
        return Rejection(place, "row", str(error))
    fields = dict.fromkeys(COLUMNS, "")
    for column, key in columns.items():
        value = entry[key]
        if value is not None and not isinstance(value, str):
            return Rejection(place, column, "must be text, a number or null")
        if isinstance(value, _Number) and column not in _MAY_BE_NUMBERS:
            return Rejection(place, column, "must be text")
        fields[column] = str(value or "")
    return RawRow(place, fields)


def _no_constant(name: str) -> NoReturn:
    raise _RefusedError(f"{name} is not JSON")
