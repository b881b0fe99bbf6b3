"""Writes sample_data/zipcodes.csv and zipcodes.json: real zipcodes of five states with synthetic listing
counts, the same rows in both.

Zipcode, state, city and county come from the PyPI package `zipcodes` (MIT). Listing counts, market tiers,
populations and home values are derived from a hash of the zipcode, with integers only, so that every machine
and Python version writes the same bytes. sample_data/README.md states which data is real.

Run from the repository's root: `python sample_data/make_zipcodes.py`. With `--country FILE.csv` it writes all
zipcodes of the United States there instead, some 42,000, by the same rules: for simulations and measurements.
"""

import csv
import hashlib
import io
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import zipcodes

CSV_OUTPUT = Path(__file__).parent / "zipcodes.csv"
JSON_OUTPUT = CSV_OUTPUT.with_suffix(".json")
STATES = ("PA", "NJ", "NY", "DE", "MD")
SEED = "zipcast-sample-1"
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

# The package spells some counties in two ways. Here all zipcodes of a county get one spelling.
COUNTY_SPELLINGS = {"St Lawrence County": "St. Lawrence County", "Baltimore City": "Baltimore city"}

# {region: "STATE: counties"}. Each county is written without " County" at its end.
REGIONS = {
    "NEW_YORK_METRO": (
        "NY: New York, Kings, Queens, Bronx, Richmond, Nassau, Suffolk, Westchester, Rockland, Putnam",
        "NJ: Bergen, Essex, Hudson, Hunterdon, Middlesex, Monmouth, Morris, Ocean, Passaic, Somerset",
        "NJ: Sussex, Union",
    ),
    "PHILADELPHIA_METRO": (
        "PA: Philadelphia, Bucks, Chester, Delaware, Montgomery",
        "NJ: Burlington, Camden, Gloucester, Salem",
        "DE: New Castle",
        "MD: Cecil",
    ),
    "WASHINGTON_METRO": ("MD: Montgomery, Prince George's, Frederick, Charles, Calvert",),
    "BALTIMORE_METRO": (
        "MD: Baltimore city, Baltimore, Anne Arundel, Carroll, Harford, Howard, Queen Anne's",
    ),
    "PITTSBURGH_METRO": (
        "PA: Allegheny, Armstrong, Beaver, Butler, Fayette, Washington, Westmoreland, Lawrence",
    ),
    "LEHIGH_VALLEY": ("PA: Lehigh, Northampton, Carbon", "NJ: Warren"),
    "HARRISBURG_METRO": ("PA: Dauphin, Cumberland, Perry",),
    "SCRANTON_METRO": ("PA: Lackawanna, Luzerne, Wyoming",),
    "ALBANY_METRO": ("NY: Albany, Rensselaer, Saratoga, Schenectady, Schoharie",),
    "BUFFALO_METRO": ("NY: Erie, Niagara",),
    "ROCHESTER_METRO": ("NY: Monroe, Ontario, Wayne, Livingston, Orleans, Yates",),
    "SYRACUSE_METRO": ("NY: Onondaga, Madison, Oswego",),
    "HUDSON_VALLEY": ("NY: Dutchess, Orange, Ulster",),
    "TRENTON_METRO": ("NJ: Mercer",),
    "JERSEY_SHORE": ("NJ: Atlantic, Cape May",),
}

# Points of the distribution of listings: (share of zipcodes in millionths, listings). Between two points it
# is linear.
METRO_LISTINGS = (
    (0, 4),
    (200_000, 50),
    (250_000, 200),
    (600_000, 520),
    (850_000, 1_100),
    (950_000, 1_900),
    (990_000, 3_000),
    (1_000_000, 5_200),
)
OTHER_LISTINGS = (
    (0, 0),
    (300_000, 50),
    (650_000, 200),
    (900_000, 600),
    (975_000, 1_400),
    (997_000, 3_000),
    (1_000_000, 4_200),
)

# Shares of PREMIUM and of STANDARD zipcodes in a kind of region, in millionths. The remaining zipcodes are
# EMERGING.
EXPENSIVE_TIERS = (400_000, 480_000)
METRO_TIERS = (200_000, 550_000)
OTHER_TIERS = (50_000, 400_000)
# Home values of each tier: the smallest value, and how much larger the largest may be.
HOME_VALUES = {"PREMIUM": (400_000, 700_000), "STANDARD": (200_000, 200_000), "EMERGING": (70_000, 130_000)}
EXPENSIVE_REGIONS = ("NEW_YORK_METRO", "WASHINGTON_METRO")


def _region_by_county() -> dict[tuple[str, str], str]:
    return {
        (entry[:2], county): region
        for region, entries in REGIONS.items()
        for entry in entries
        for county in entry[4:].split(", ")
    }


REGION_BY_COUNTY = _region_by_county()


def region_of(state: str, county: str) -> str:
    """Return the region of a county, or `{STATE}_OTHER`."""
    return REGION_BY_COUNTY.get((state, county.removesuffix(" County")), f"{state}_OTHER")


def draw(purpose: str, zipcode: str) -> int:
    """Return a number from 0 to 999,999 that is always the same for this purpose and zipcode."""
    digest = hashlib.sha256(f"{SEED}:{purpose}:{zipcode}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 1_000_000


def listings_at(share: int, distribution: tuple[tuple[int, int], ...]) -> int:
    """Return the listings at a share, from 0 to 999,999, of the distribution."""
    for (low, least), (high, most) in pairwise(distribution):
        if share < high:
            return least + (most - least) * (share - low) // (high - low)
    raise ValueError("a share is below 1,000,000")


def synthetic_listings(zipcode: str, region: str) -> int:
    distribution = OTHER_LISTINGS if region.endswith("_OTHER") else METRO_LISTINGS
    return listings_at(draw("listings", zipcode), distribution)


def synthetic_tier(zipcode: str, region: str) -> str:
    tiers = OTHER_TIERS if region.endswith("_OTHER") else METRO_TIERS
    premium, standard = EXPENSIVE_TIERS if region in EXPENSIVE_REGIONS else tiers
    share = draw("tier", zipcode)
    return "PREMIUM" if share < premium else "STANDARD" if share < premium + standard else "EMERGING"


def synthetic_population(zipcode: str, listings: int) -> int:
    """Return a population of 15 to 45 inhabitants per listing, plus some hundreds."""
    return 200 + draw("people", zipcode) % 1_000 + listings * (15 + draw("population", zipcode) % 31)


def synthetic_home_value(zipcode: str, tier: str) -> int:
    """Return a home value of the tier in US dollars, rounded to thousands."""
    least, spread = HOME_VALUES[tier]
    return least + draw("home value", zipcode) % (spread // 1_000) * 1_000


def sample_row(record: dict[str, Any]) -> dict[str, str | int]:
    """Return one row of the files, without `last_scraped`."""
    zipcode, state = record["zip_code"], record["state"]
    county = COUNTY_SPELLINGS.get(record["county"], record["county"])
    region = region_of(state, county)
    listings, tier = synthetic_listings(zipcode, region), synthetic_tier(zipcode, region)
    return {
        "zipcode": zipcode,
        "state": state,
        "city": record["city"],
        "county": county,
        "population": synthetic_population(zipcode, listings),
        "median_home_value": synthetic_home_value(zipcode, tier),
        "recently_sold_listings": listings,
        "market_tier": tier,
        "geographic_region": region,
    }


def sample_rows() -> list[dict[str, str | int]]:
    """Return all rows, state by state, each state's sorted by zipcode."""
    return [
        sample_row(record)
        for state in STATES
        for record in sorted(
            zipcodes.filter_by(state=state, active=True, zip_code_type="STANDARD"),
            key=lambda one: str(one["zip_code"]),
        )
    ]


def country_rows() -> list[dict[str, str | int]]:
    """Return the rows of every zipcode of the package, in use or not, of all states and of the armed
    forces."""
    return [
        sample_row(record) for record in sorted(zipcodes.list_all(), key=lambda one: str(one["zip_code"]))
    ]


def render_csv(rows: list[dict[str, str | int]]) -> bytes:
    """Return the whole file as UTF-8 with LF."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def render_json(rows: list[dict[str, str | int]]) -> bytes:
    """Return the whole file as UTF-8 with LF, one entry per line."""
    entries = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return f"[\n{entries}\n]\n".encode()


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "--country":
        Path(sys.argv[2]).write_bytes(render_csv(country_rows()))
        return
    rows = sample_rows()
    CSV_OUTPUT.write_bytes(render_csv(rows))
    JSON_OUTPUT.write_bytes(render_json(rows))


if __name__ == "__main__":
    main()
