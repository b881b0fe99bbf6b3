"""A zipcode file as JSON: a list of objects with the CSV's columns as keys.

The list may also stand under `zipcodes` in an object, whose other keys are ignored. Owns the
syntax and which line an entry begins in. What a row may say is `storage.zipcode_rows`.

No parser in Python says where in the file a value stands, so the brackets and commas around
the entries are read here, and each entry by `json.JSONDecoder.raw_decode` on a window that
moves along the file: memory holds one window, not the document.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import NoReturn, TextIO

from storage.zipcode_headers import NO_MAPPING, HeaderError, matched
from storage.zipcode_rows import COLUMNS, ImportFileError, RawRow, Rejection

WINDOW_CHARACTERS = 1 << 16
LIST_KEY = "zipcodes"
# A file in which every entry has other keys must not fill memory.
MAX_SHAPES = 100
_SPACE = re.compile(r"[ \t\r\n]*")
# What a number or literal may still lack at the window's end while what stands there looks whole.
_CUT_CHARACTERS = 3
_MAY_BE_NUMBERS = frozenset(
    {"zipcode", "population", "median_home_value", "recently_sold_listings", "base_weight"}
)


class _Number(str):
    """A number as the file spells it, so that 7 and "7" can be told apart and nothing is rounded."""

    __slots__ = ()


class _RefusedError(ValueError):
    """JSON by its syntax, but nothing to rely on."""


def camel_case(column: str) -> str:
    """Return the column's other spelling: `market_tier` -> `marketTier`."""
    first, *others = column.split("_")
    return first + "".join(word.capitalize() for word in others)


def read_json(text: TextIO, mapping: Mapping[str, str] = NO_MAPPING) -> Iterator[RawRow | Rejection]:
    """Yield each entry, in the file's order. `text` translates line ends to `\\n`; `mapping`: {column: key},
    where the operator names them.

    Raises ImportFileError on the way: for broken JSON, a key that stands twice in one object,
    or a document that is no list of zipcodes.
    """
    window = _Window(text)
    opening = window.peek()
    if opening == "[":
        yield from _entries(window, mapping)
    elif opening == "{":
        yield from _list_in_object(window, mapping)
    else:
        raise window.broken(f"neither a list of zipcodes nor an object with one under {LIST_KEY}")
    if window.peek():
        raise window.broken("something follows the end of the document")


def _list_in_object(window: "_Window", mapping: Mapping[str, str]) -> Iterator[RawRow | Rejection]:
    keys: set[object] = set()
    window.take("{")
    more = not window.taken("}")
    while more:
        if window.peek() != '"':
            raise window.broken("a key in quotes must stand here")
        key = window.value()
        if key in keys:
            raise window.broken(f"the key {key!a:.40} stands twice")
        keys.add(key)
        window.take(":")
        if key == LIST_KEY:
            yield from _entries(window, mapping)
        else:
            window.value()
        more = window.follows("}")
    if LIST_KEY not in keys:
        raise window.broken(f"the object has no list under {LIST_KEY}")


def _entries(window: "_Window", mapping: Mapping[str, str]) -> Iterator[RawRow | Rejection]:
    key_of_column = _KeysOfColumns(mapping)
    window.take("[")
    more = not window.taken("]")
    while more:
        window.peek()
        line = window.line
        yield _raw_row(line, window.value(), key_of_column)
        more = window.follows("]")


class _KeysOfColumns:
    """Which key of an entry gives which column; entries of one file mostly have the same keys."""

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self._mapping = mapping
        self._known: dict[tuple[str, ...], dict[str, str]] = {}

    def __call__(self, keys: tuple[str, ...]) -> dict[str, str]:
        """Return {column: key}. Raises HeaderError."""
        if keys not in self._known:
            mapping = {column: key for column, key in self._mapping.items() if key in keys}
            found = matched(keys, mapping)
            if len(self._known) >= MAX_SHAPES:
                self._known.clear()
            self._known[keys] = found
        return self._known[keys]


def _raw_row(line: int, entry: object, key_of_column: _KeysOfColumns) -> RawRow | Rejection:
    if not isinstance(entry, dict):
        return Rejection(line, "row", "must be an object")
    try:
        columns = key_of_column(tuple(entry))
    except HeaderError as error:
        return Rejection(line, "row", str(error))
    fields = dict.fromkeys(COLUMNS, "")
    for column, key in columns.items():
        value = entry[key]
        if value is not None and not isinstance(value, str):
            return Rejection(line, column, "must be text, a number or null")
        if isinstance(value, _Number) and column not in _MAY_BE_NUMBERS:
            return Rejection(line, column, "must be text")
        fields[column] = str(value or "")
    return RawRow(line, fields)


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Two parsers may each believe another of two equal keys."""
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise _RefusedError(f"the key {key!a:.40} stands twice in one entry")
        result[key] = value
    return result


def _no_constant(name: str) -> NoReturn:
    raise _RefusedError(f"{name} is not JSON")


class _Window:
    """A part of the text, and where in it reading has come to."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_no_twins,
            parse_constant=_no_constant,
            parse_float=_Number,
            parse_int=_Number,
        )
        self._held = ""
        self._position = 0
        self._counted = 0  # up to here `_line` has counted
        self._line = 1

    @property
    def line(self) -> int:
        """The line of the file in which the next character stands."""
        self._line += self._held.count("\n", self._counted, self._position)
        self._counted = self._position
        return self._line

    def peek(self) -> str:
        """The next character that is not space, "" at the end of the text."""
        while True:
            match = _SPACE.match(self._held, self._position)
            self._position = match.end() if match else self._position
            if self._position < len(self._held) or not self._grow():
                return self._held[self._position : self._position + 1]

    def taken(self, expected: str) -> bool:
        """Whether `expected` came next; if so, reading is past it."""
        found = self.peek() == expected
        self._position += found
        return found

    def take(self, expected: str) -> None:
        if not self.taken(expected):
            raise self.broken(f"{expected} must stand here")

    def follows(self, closing: str) -> bool:
        """Past a comma: True. Past the closing bracket: False."""
        if self.taken(closing):
            return False
        if not self.taken(","):
            raise self.broken(f", or {closing} must stand here")
        return True

    def value(self) -> object:
        """The value that begins here."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._held, self._position)
            except json.JSONDecodeError as error:
                # Perhaps it is only cut off by the window.
                if not self._grow():
                    self._position = error.pos
                    raise self.broken(error.msg) from error
            except (_RefusedError, RecursionError) as error:
                reason = str(error) if isinstance(error, _RefusedError) else "too many brackets"
                raise self.broken(reason) from error
            else:
                if len(self._held) - end >= _CUT_CHARACTERS or not self._grow():
                    self._position = end
                    return value

    def broken(self, reason: str) -> ImportFileError:
        return ImportFileError(f"line {self.line}: broken JSON: {reason}")

    def _grow(self) -> bool:
        """Read on, and drop what was read before. At the end of the text: False, and nothing moves.

        Each time at least as much again as is held, so that a long value is not tried too often."""
        more = self._text.read(max(WINDOW_CHARACTERS, len(self._held) - self._position))
        if not more:
            return False
        _ = self.line
        self._held = self._held[self._position :] + more
        self._position = self._counted = 0
        return True
