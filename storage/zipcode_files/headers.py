"""Finds the columns of a zipcode file by their headers. Each column has several accepted headers.

Only the letters and digits of a header count, so `ZIP Code`, `zip_code` and `zipCode` are the same. Zipcast's
own name of a column has precedence over other names, and the operator's `--map` over both.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

# The accepted headers of each column: first Zipcast's own, then those of spreadsheets, Zillow, Redfin and the
# Census Bureau.
NAMES: Mapping[str, tuple[str, ...]] = {
    "zipcode": ("zipcode", "zip", "zip5", "postalcode", "postcode", "zcta", "zcta5", "regionname"),
    "state": ("state", "statecode", "stateabbr", "stateabbreviation", "st", "stateid", "statename"),
    "city": ("city", "cityname", "primarycity", "town", "place"),
    "county": ("county", "countyname"),
    "population": ("population", "pop", "totalpopulation"),
    "median_home_value": (
        *("medianhomevalue", "homevalue", "medianvalue", "medianprice", "mediansaleprice", "zhvi"),
    ),
    "recently_sold_listings": (
        *("recentlysoldlistings", "expectedlistings", "recentlysold", "soldlistings", "listings"),
        *("listingcount", "numlistings", "homessold", "salescount"),
    ),
    "market_tier": ("markettier", "tier"),
    "geographic_region": ("geographicregion", "georegion", "region"),
    "base_weight": ("baseweight", "weight"),
    "last_scraped": ("lastscraped", "lastscrapedat", "scrapedat", "lastupdated", "updatedat"),
}
NO_MAPPING: Mapping[str, str] = MappingProxyType({})
_PLAIN = re.compile(r"[^a-z0-9]")


class HeaderError(ValueError):
    """Two headers mean the same column, or the operator's mapping names a header that does not exist."""


def matched(headers: Iterable[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the header of each column that the file has.

    `mapping` is the operator's {column: header}. Raises HeaderError."""
    by_name: dict[str, list[str]] = {}
    given = list(headers)
    for header in given:
        by_name.setdefault(plain(header), []).append(header)
    found: dict[str, str] = {}
    for column, names in NAMES.items():
        if column in mapping:
            found[column] = _mapped(column, mapping[column], given)
            continue
        name = next((name for name in names if name in by_name), None)
        if name is not None:
            if len(by_name[name]) > 1:
                raise HeaderError(f"has the column {column} more than once: {', '.join(by_name[name])}")
            found[column] = by_name[name][0]
    return found


def _mapped(column: str, header: str, given: list[str]) -> str:
    count = given.count(header)
    if count != 1:
        there = "does not exist" if count == 0 else "occurs more than once"
        raise HeaderError(f"must have {column} as {header!a:.60}, which {there}")
    return header


def plain(header: str) -> str:
    """Return the header's letters and digits, in lower case."""
    return _PLAIN.sub("", header.lower())
