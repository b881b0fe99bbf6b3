"""Checks the rows of an operator's zipcode file, and returns accepted rows and rejections. Pure.

Columns, ranges and defaults are the same for each format; `storage.zipcode_files.csv_files` and
`storage.zipcode_files.json_files` read the formats. A fault in one row rejects that row. A fault that makes
the other rows uncertain (header, encoding, quoting, brackets) rejects the file.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from storage.zipcode_files.prefixes import states_of

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
    "base_weight",
    "last_scraped",
)
REQUIRED_COLUMNS = ("zipcode", "state", "recently_sold_listings")
# The codes of all areas with zipcodes: states, the federal district, territories, freely associated states
# and military mail.
STATES = frozenset(
    re.findall(
        "[A-Z]{2}",
        "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM "
        "NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY AS GU MP PR VI FM MH PW AA AE AP",
    )
)
MARKET_TIERS = ("PREMIUM", "STANDARD", "EMERGING")
PREMIUM_HOME_VALUE = 400_000  # the lowest home value of this tier, in US dollars
STANDARD_HOME_VALUE = 200_000
MAX_LISTINGS = 1_000_000
MAX_POPULATION = 10_000_000
MAX_HOME_VALUE = 100_000_000
MAX_TEXT_LENGTH = 100
CLOCK_TOLERANCE = timedelta(seconds=60)

_ZIPCODE = re.compile(r"[0-9]{5}")
_SHORT_ZIPCODE = re.compile(r"[0-9]{3,4}")
# A zipcode such as `2134.0`: pandas writes a column of integers as floats if a value is missing.
_FLOAT_ZIPCODE = re.compile(r"([0-9]{3,5})\.0+")
# The accepted numbers: 1310, 1,310 or 1'310 (also with no-break spaces), each with an optional fraction.
_NUMBER = re.compile(r"([0-9]{1,18}|[0-9]{1,3}(?:[,' \u00a0\u202f][0-9]{3}){1,5})(?:\.([0-9]{1,18}))?")
_WEIGHT = re.compile(r"[0-9]{1,7}(\.[0-9]{1,12})?")
MIN_BASE_WEIGHT, MAX_BASE_WEIGHT = 1e-6, 1e6
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)
# Categories of characters that could affect a terminal or log: control and formatting characters, line and
# paragraph separators, and halves of surrogate pairs, which JSON can contain.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class ImportFileError(ValueError):
    """The file cannot be imported, and nothing was imported. The message is for the operator."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One unchecked row. `place` is its place in the file, such as "line 4" or "entry 3". `fields` has every
    column; missing values are empty."""

    place: str
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class RowRules:
    """The values that the rules need besides the row.

    `imported_at` is aware. It replaces an empty last_scraped, and no last_scraped may be later."""

    imported_at: datetime
    restore_leading_zeros: bool = False

    def __post_init__(self) -> None:
        if self.imported_at.tzinfo is None:
            raise ValueError("imported_at has no time zone")


@dataclass(frozen=True, slots=True)
class ZipcodeFacts:
    """The data of one zipcode. `median_home_value` is in US dollars, or None if no file stated it."""

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


@dataclass(frozen=True, slots=True)
class ZipcodeRow(ZipcodeFacts):
    """One accepted row."""

    last_scraped_defaulted: bool  # whether the field was empty; then the time of the import is used
    tier_derived: bool = False  # whether the field was empty; the tier then follows from the home value
    zeros_restored: bool = False  # whether the zipcode had fewer than five digits
    base_weight: float | None = None  # None if the field was empty, in which case the stored value is kept


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected row: the first field that broke a rule, and the rule.

    `place` is the line of a CSV file ("line 4"), the last one if a row has several lines, or the entry of a
    JSON list ("entry 3"); both are counted from 1. `field` is the name of a column, or "row".
    """

    place: str
    field: str
    rule: str


class _RuleBrokenError(Exception):
    def __init__(self, field: str, rule: str) -> None:
        self.field = field
        self.rule = rule


def check_rows(rows: Iterable[RawRow | Rejection], rules: RowRules) -> Iterator[ZipcodeRow | Rejection]:
    """Yield each row of the file, accepted or rejected, in the file's order.

    Errors of reading are raised at any point, so the caller must exhaust the iterator before it uses any row.
    """
    place_of: dict[str, str] = {}
    for raw in rows:
        if isinstance(raw, Rejection):
            yield raw
            continue
        try:
            row = _checked(raw.fields, rules)
            _claim(row.zipcode, raw.place, place_of)
        except _RuleBrokenError as broken:
            yield Rejection(raw.place, broken.field, broken.rule)
        else:
            yield row


def _claim(zipcode: str, place: str, place_of: dict[str, str]) -> None:
    """Reject a zipcode that an earlier accepted row has."""
    if zipcode in place_of:
        raise _RuleBrokenError("zipcode", f"already given in {place_of[zipcode]}")
    place_of[zipcode] = place


def _checked(fields: dict[str, str], rules: RowRules) -> ZipcodeRow:
    given = fields["zipcode"]
    zipcode = _zipcode(given, rules.restore_leading_zeros)
    state = _state(fields["state"], zipcode)
    home_value = _dollars(fields)
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
        last_scraped_at=_last_scraped_at(fields["last_scraped"], rules.imported_at),
        last_scraped_defaulted=not fields["last_scraped"],
        tier_derived=not fields["market_tier"],
        zeros_restored=not given.startswith(zipcode),
        base_weight=_base_weight(fields["base_weight"]),
    )


def _zipcode(given: str, restore_leading_zeros: bool) -> str:
    as_float = _FLOAT_ZIPCODE.fullmatch(given)
    value = as_float.group(1) if as_float else given
    if _ZIPCODE.fullmatch(value):
        return value
    rule = "must be five digits"
    if _SHORT_ZIPCODE.fullmatch(value):
        if restore_leading_zeros:
            return value.zfill(5)
        rule += "; to restore leading zeros that a spreadsheet removed, use --restore-leading-zeros"
    raise _RuleBrokenError("zipcode", rule)


def _state(given: str, zipcode: str) -> str:
    """Return the state in capitals, after checking that the zipcode can be in it."""
    state = given.upper() if given.isascii() else given
    if state not in STATES:
        raise _RuleBrokenError("state", "must be the two letters of a US state or territory")
    possible = states_of(zipcode)
    if possible and state not in possible:
        raise _RuleBrokenError(
            "state", f"is {state}, but zipcodes that begin with {zipcode[:3]} are in {' or '.join(possible)}"
        )
    return state


def _count(fields: dict[str, str], name: str, most: int) -> int | None:
    """Return a whole number from 0 to `most`, or None if the field is empty."""
    value = fields[name]
    if value == "":
        return None
    number = _NUMBER.fullmatch(value)
    if number and not (number.group(2) or "").strip("0") and (count := _whole(number)) <= most:
        return count
    raise _RuleBrokenError(name, f"must be a whole number from 0 to {most}, such as 1310, 1,310 or 1310.0")


def _dollars(fields: dict[str, str]) -> int | None:
    """Return the home value in whole US dollars, or None if the field is empty."""
    name = "median_home_value"
    value = fields[name].removeprefix("$")
    if fields[name] == "":
        return None
    number = _NUMBER.fullmatch(value)
    if number is None or (dollars := _whole(number) + ((number.group(2) or "0")[0] >= "5")) > MAX_HOME_VALUE:
        raise _RuleBrokenError(name, f"must be US dollars from 0 to {MAX_HOME_VALUE}, such as 401,223.50")
    return dollars


def _whole(number: re.Match[str]) -> int:
    return int("".join(filter(str.isdigit, number.group(1))))


def _base_weight(value: str) -> float | None:
    if value == "":
        return None
    if not _WEIGHT.fullmatch(value) or not MIN_BASE_WEIGHT <= (weight := float(value)) <= MAX_BASE_WEIGHT:
        raise _RuleBrokenError("base_weight", "must be a decimal number from 0.000001 to 1000000")
    return weight


def _listings(fields: dict[str, str]) -> int:
    listings = _count(fields, "recently_sold_listings", MAX_LISTINGS)
    if listings is None:
        raise _RuleBrokenError("recently_sold_listings", "must not be empty")
    return listings


def _text(fields: dict[str, str], name: str) -> str:
    """Return the text without surrounding white space."""
    value = fields[name]
    if len(value) > MAX_TEXT_LENGTH:
        raise _RuleBrokenError(name, f"must have at most {MAX_TEXT_LENGTH} characters")
    if not value.isprintable() and not _UNPRINTABLE.isdisjoint(map(unicodedata.category, value)):
        raise _RuleBrokenError(name, "must not contain control characters")
    return value.strip()


def _market_tier(value: str, home_value: int | None) -> str:
    if value == "":
        return _derived_tier(home_value)
    tier = value.upper()
    # Require ASCII, because some other letters of Unicode have an ASCII capital.
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
    """Return the time in UTC. Without a zone, it is UTC; a date means its midnight; an empty field means the
    time of the import."""
    scraped_at = _timestamp(value) if value else imported_at.astimezone(UTC)
    if scraped_at > imported_at + CLOCK_TOLERANCE:
        raise _RuleBrokenError("last_scraped", "must not be in the future")
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
