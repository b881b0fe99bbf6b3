"""Reading an operator's zipcode file: CSV in, checked rows and named rejections out.

Owns what a file may say: columns, ranges, defaults. Touches no file, database or clock;
`storage.zipcode_import` does. A fault of one row rejects that row; a fault that leaves in
doubt what the other rows say (header, encoding, quoting) refuses the file.
"""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

COLUMNS = (
    "zipcode",
    "state",
    "city",
    "county",
    "population",
    "median_home_value",
    "recently_sold_listings",
    "market_tier",
    "geographic_region",
    "last_scraped",
)
REQUIRED_COLUMNS = ("zipcode", "state", "recently_sold_listings")
# The states, the district, territories, freely associated states and military mail: all have zipcodes.
STATES = frozenset(
    re.findall(
        "[A-Z]{2}",
        "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM "
        "NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY AS GU MP PR VI FM MH PW AA AE AP",
    )
)
MARKET_TIERS = ("PREMIUM", "STANDARD", "EMERGING")
PREMIUM_HOME_VALUE = 400_000  # US dollars, from here on
STANDARD_HOME_VALUE = 200_000
MAX_LISTINGS = 1_000_000
MAX_POPULATION = 10_000_000
MAX_HOME_VALUE = 100_000_000
MAX_TEXT_LENGTH = 100
CLOCK_TOLERANCE = timedelta(seconds=60)

_ZIPCODE = re.compile(r"[0-9]{5}")
_SHORT_ZIPCODE = re.compile(r"[0-9]{3,4}")
_INTEGER = re.compile(r"[0-9]{1,18}")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)
# Control and formatting characters, line and paragraph separators: what a terminal or log acts on.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Zl", "Zp"})


class ImportFileError(ValueError):
    """The file as a whole cannot be imported; nothing was. The message is for the operator."""


@dataclass(frozen=True, slots=True)
class ZipcodeRow:
    """One accepted line. `median_home_value` is in US dollars; None means the file does not say."""

    zipcode: str
    state: str
    city: str
    county: str
    population: int | None
    median_home_value: int | None
    recently_sold_listings: int
    market_tier: str
    geographic_region: str
    last_scraped_at: datetime
    last_scraped_defaulted: bool  # the file left it empty, so it is the time of the import


@dataclass(frozen=True, slots=True)
class Rejection:
    """One line that was left out: the first field that broke a rule, and the rule.

    `line` counts the lines of the file from 1, header included; for a row that spans
    several it is the last. `field` is a column's name, or "row".
    """

    line: int
    field: str
    rule: str


class _RuleBrokenError(Exception):
    def __init__(self, field: str, rule: str) -> None:
        self.field = field
        self.rule = rule


def decode_lines(content: bytes) -> Iterable[str]:
    """The lines of a UTF-8 file, with or without byte order mark. Raises ImportFileError."""
    encoded = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = encoded.decode()
    except UnicodeDecodeError as error:
        line = encoded.count(b"\n", 0, error.start) + 1
        raise ImportFileError(f"line {line}: not UTF-8: {error.reason}") from error
    return io.StringIO(text, newline="")


def parse_csv(lines: Iterable[str], imported_at: datetime) -> Iterator[ZipcodeRow | Rejection]:
    """Each row of the file, accepted or rejected, in the file's order.

    `imported_at` is aware; it stands in for an empty last_scraped and bounds the others.
    Raises ImportFileError: for a header without the required columns at once, for broken
    CSV on the way, so the caller exhausts the iterator before it believes any row.
    """
    if imported_at.tzinfo is None:
        raise ValueError("imported_at has no time zone")
    records = _records(lines)
    _, names = next(records, (0, []))
    return _outcomes(_checked_header(names), records, imported_at)


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


def _outcomes(
    header: list[str], records: Iterable[tuple[int, list[str]]], imported_at: datetime
) -> Iterator[ZipcodeRow | Rejection]:
    line_of: dict[str, int] = {}
    for line, record in records:
        try:
            row = _parse_row(header, record, imported_at)
            _claim(row.zipcode, line, line_of)
        except _RuleBrokenError as broken:
            yield Rejection(line, broken.field, broken.rule)
        else:
            yield row


def _claim(zipcode: str, line: int, line_of: dict[str, int]) -> None:
    """Keeps a zipcode for the first accepted line that gives it."""
    first = line_of.setdefault(zipcode, line)
    if first != line:
        raise _RuleBrokenError("zipcode", f"already given in line {first}")


def _parse_row(header: list[str], record: list[str], imported_at: datetime) -> ZipcodeRow:
    if len(record) != len(header):
        raise _RuleBrokenError("row", f"has {len(record)} fields where the header has {len(header)}")
    fields = dict.fromkeys(COLUMNS, "") | dict(zip(header, record, strict=True))
    zipcode = _zipcode(fields["zipcode"])
    state = _state(fields["state"])
    home_value = _count(fields, "median_home_value", MAX_HOME_VALUE)
    return ZipcodeRow(
        zipcode=zipcode,
        state=state,
        city=_text(fields, "city"),
        county=_text(fields, "county"),
        population=_count(fields, "population", MAX_POPULATION),
        median_home_value=home_value,
        recently_sold_listings=_listings(fields),
        market_tier=_market_tier(fields["market_tier"], home_value),
        geographic_region=_text(fields, "geographic_region") or f"{state}_OTHER",
        last_scraped_at=_last_scraped_at(fields["last_scraped"], imported_at),
        last_scraped_defaulted=not fields["last_scraped"],
    )


def _zipcode(value: str) -> str:
    if _ZIPCODE.fullmatch(value):
        return value
    rule = "must be five digits"
    if _SHORT_ZIPCODE.fullmatch(value):
        rule += "; a spreadsheet has probably dropped its leading zeros"
    raise _RuleBrokenError("zipcode", rule)


def _state(value: str) -> str:
    if value not in STATES:
        raise _RuleBrokenError("state", "must be the two capital letters of a US state or territory")
    return value


def _count(fields: dict[str, str], name: str, most: int) -> int | None:
    """An integer in 0..most, None if empty."""
    value = fields[name]
    if value == "":
        return None
    if not _INTEGER.fullmatch(value) or int(value) > most:
        raise _RuleBrokenError(name, f"must be an integer from 0 to {most}, in digits only")
    return int(value)


def _listings(fields: dict[str, str]) -> int:
    listings = _count(fields, "recently_sold_listings", MAX_LISTINGS)
    if listings is None:
        raise _RuleBrokenError("recently_sold_listings", "must not be empty")
    return listings


def _text(fields: dict[str, str], name: str) -> str:
    """Text as given, without surrounding blanks."""
    value = fields[name]
    if len(value) > MAX_TEXT_LENGTH:
        raise _RuleBrokenError(name, f"must have at most {MAX_TEXT_LENGTH} characters")
    if not value.isprintable() and not _UNPRINTABLE.isdisjoint(map(unicodedata.category, value)):
        raise _RuleBrokenError(name, "must have no control characters")
    return value.strip()


def _market_tier(value: str, home_value: int | None) -> str:
    if value == "":
        return _derived_tier(home_value)
    tier = value.upper()
    # Unicode has letters beyond ASCII whose capital is an ASCII one.
    if not value.isascii() or tier not in MARKET_TIERS:
        raise _RuleBrokenError("market_tier", f"must be one of {', '.join(MARKET_TIERS)}, or empty")
    return tier


def _derived_tier(home_value: int | None) -> str:
    if home_value is None:
        return "STANDARD"
    if home_value >= PREMIUM_HOME_VALUE:
        return "PREMIUM"
    return "STANDARD" if home_value >= STANDARD_HOME_VALUE else "EMERGING"


def _last_scraped_at(value: str, imported_at: datetime) -> datetime:
    """In UTC. Without a zone it is UTC, a date alone is its midnight, empty is the import itself."""
    scraped_at = _timestamp(value) if value else imported_at.astimezone(UTC)
    if scraped_at > imported_at + CLOCK_TOLERANCE:
        raise _RuleBrokenError("last_scraped", "must not lie in the future")
    return scraped_at


def _timestamp(value: str) -> datetime:
    rule = "must be a date or an RFC 3339 time such as 2026-01-31T08:00:00Z"
    if not _TIMESTAMP.fullmatch(value):
        raise _RuleBrokenError("last_scraped", rule)
    try:
        given = datetime.fromisoformat(value.upper())
        return given.replace(tzinfo=given.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _RuleBrokenError("last_scraped", rule) from error
