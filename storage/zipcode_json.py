"""A zipcode file as JSON: a list of objects with the CSV's columns as keys, in either spelling.

The list may also stand under `zipcodes` in an object, whose other keys are ignored. Owns the
syntax and which line an entry begins in. What a row may say is `storage.zipcode_rows`.

No parser in Python says where in the file a value stands, so the brackets and commas around
the entries are read here, and each entry by `json.JSONDecoder.raw_decode` on a window that
moves along the file: memory holds one window, not the document.
"""

import json
import re
from collections.abc import Iterator
from typing import NoReturn, TextIO

from storage.zipcode_rows import COLUMNS, ImportFileError, RawRow, Rejection

WINDOW_CHARACTERS = 1 << 16
LIST_KEY = "zipcodes"
_SPACE = re.compile(r"[ \t\r\n]*")
# What a number or literal may still lack at the window's end while what stands there looks whole.
_CUT_CHARACTERS = 3
_INTEGER_COLUMNS = frozenset({"population", "median_home_value", "recently_sold_listings"})
_MAY_BE_NUMBERS = _INTEGER_COLUMNS | {"zipcode"}


def camel_case(column: str) -> str:
    """The column's other spelling: `market_tier` -> `marketTier`."""
    first, *others = column.split("_")
    return first + "".join(word.capitalize() for word in others)


_COLUMN_OF = {column: column for column in COLUMNS} | {camel_case(column): column for column in COLUMNS}


class _Number(str):
    """A number as the file spells it, so that 7 and "7" can be told apart and nothing is rounded."""

    __slots__ = ()


class _RefusedError(ValueError):
    """JSON by its syntax, but nothing to rely on."""


def read_json(text: TextIO) -> Iterator[RawRow | Rejection]:
    """Each entry, in the file's order. `text` translates line ends to "\\n".

    Raises ImportFileError on the way: for broken JSON, a key that stands twice in one object,
    or a document that is no list of zipcodes.
    """
    window = _Window(text)
    opening = window.peek()
    if opening == "[":
        yield from _entries(window)
    elif opening == "{":
        yield from _list_in_object(window)
    else:
        raise window.broken(f"neither a list of zipcodes nor an object with one under {LIST_KEY}")
    if window.peek():
        raise window.broken("something follows the end of the document")


def _list_in_object(window: "_Window") -> Iterator[RawRow | Rejection]:
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
            yield from _entries(window)
        else:
            window.value()
        more = window.follows("}")
    if LIST_KEY not in keys:
        raise window.broken(f"the object has no list under {LIST_KEY}")


def _entries(window: "_Window") -> Iterator[RawRow | Rejection]:
    window.take("[")
    more = not window.taken("]")
    while more:
        window.peek()
        line = window.line
        yield _raw_row(line, window.value())
        more = window.follows("]")


def _raw_row(line: int, entry: object) -> RawRow | Rejection:
    if not isinstance(entry, dict):
        return Rejection(line, "row", "must be an object")
    fields = dict.fromkeys(COLUMNS, "")
    given: set[str] = set()
    for key, value in entry.items():
        column = _COLUMN_OF.get(key)
        if column is None:
            continue
        if column in given:
            return Rejection(line, column, f"is given in two spellings, {column} and {camel_case(column)}")
        given.add(column)
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
