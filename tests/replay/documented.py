"""Reads the complete selections of docs/protocol.md from the page, and makes them for the page.

`python -m tests.replay.documented` prints the block for the page. Uses only the standard library and
`zipcast.selection.select`.
"""

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.replay.from_protocol import Row, replay
from zipcast.selection.model import Candidate, MarketTier, PoolTooSmallError, SelectionSettings
from zipcast.selection.select import select

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
HEADING = "\n### Whole selections\n"
RULES = {"settings", "honeypots"}


def block() -> dict[str, Any]:
    after = PAGE.read_text(encoding="utf-8").split(HEADING)[1]
    read: dict[str, Any] = json.loads(after.split("```json\n")[1].split("```")[0])
    return read


def settings_of(document: Row) -> SelectionSettings:
    """Return the settings, from the names and units in an epoch's stored inputs."""
    values = dict(document)
    for name in ("cooldown", "max_data_age"):
        values[name] = timedelta(seconds=values[name])
    values["state_priorities"] = tuple((state, priority) for state, priority in values["state_priorities"])
    values["tier_weights"] = tuple((MarketTier(tier), weight) for tier, weight in values["tier_weights"])
    return SelectionSettings(**values)


def settings_document(settings: SelectionSettings) -> Row:
    return {
        "target_listings": settings.target_listings,
        "tolerance_percent": settings.tolerance_percent,
        "min_zipcode_listings": settings.min_zipcode_listings,
        "max_zipcode_listings": settings.max_zipcode_listings,
        "cooldown": settings.cooldown.total_seconds(),
        "max_data_age": settings.max_data_age.total_seconds(),
        "state_priorities": [list(pair) for pair in settings.state_priorities],
        "tier_weights": [[str(tier), weight] for tier, weight in settings.tier_weights],
        "selection_randomness": settings.selection_randomness,
        "geographic_spread_factor": settings.geographic_spread_factor,
        "strict_priorities": settings.strict_priorities,
    }


def candidate_of(row: Row) -> Candidate:
    assigned = row["lastAssigned"]
    return Candidate(
        zipcode=row["zipcode"],
        state=row["state"],
        city="Springfield",
        county="Example",
        market_tier=MarketTier(row["marketTier"]),
        geographic_region="EAST",
        expected_listings=row["expectedListings"],
        population=row["population"],
        base_weight=row["baseWeight"],
        last_scraped_at=datetime.fromisoformat(row["lastScraped"]),
        last_assigned_at=None if assigned is None else datetime.fromisoformat(assigned),
    )


def row_of(candidate: Candidate) -> Row:
    assigned = candidate.last_assigned_at
    return {
        "zipcode": candidate.zipcode,
        "state": candidate.state,
        "marketTier": str(candidate.market_tier),
        "expectedListings": candidate.expected_listings,
        "population": candidate.population,
        "baseWeight": candidate.base_weight,
        "lastScraped": candidate.last_scraped_at.isoformat(),
        "lastAssigned": None if assigned is None else assigned.isoformat(),
    }


def selected(
    candidates: list[Candidate],
    settings: SelectionSettings,
    draw_key: str,
    start: str,
    honeypots: list[str] | None = None,
) -> Row:
    """Return the result of `zipcast.selection.select` in the words of the page."""
    start_at = datetime.fromisoformat(start)
    try:
        chosen = select(candidates, settings, bytes.fromhex(draw_key), start_at, honeypots=honeypots)
    except PoolTooSmallError:
        return {"zipcodes": None, "totalListings": None}
    return {
        "zipcodes": [one.zipcode for one in chosen.zipcodes],
        "totalListings": chosen.total_listings,
        "relaxedAgeDays": chosen.relaxed_age_days,
        "relaxedCooldown": list(chosen.relaxed_cooldown),
    }


def faults() -> list[str]:
    """Return the differences between the page, the second implementation and ours."""
    page = block()
    candidates = [candidate_of(row) for row in page["candidates"]]
    found = []
    for number, case in enumerate(page["cases"]):
        settings = page["settings"] | case["settings"]
        stated = {name: case[name] for name in case if name not in RULES}
        rules = case["honeypots"]
        if replay(page["candidates"], settings, page["drawKey"], page["start"], rules) != stated:
            found.append(f"case {number}: the replay")
        ours = selected(candidates, settings_of(settings), page["drawKey"], page["start"], rules)
        if ours != {name: stated[name] for name in ours}:
            found.append(f"case {number}: zipcast.selection.select")
    return found


def main() -> None:
    page = block()
    for case in page["cases"]:
        settings = page["settings"] | case["settings"]
        rules = case["honeypots"]
        told = replay(page["candidates"], settings, page["drawKey"], page["start"], rules)
        case.update(told)
    sys.stdout.write(_rendered(page))


def _rendered(page: Row) -> str:
    """Return one line for each candidate and each zipcode of a pool."""
    candidates = ",\n".join(f"    {json.dumps(row)}" for row in page["candidates"])
    lines = [f'  "{name}": {json.dumps(page[name])},' for name in ("drawKey", "start", "settings")]
    cases = ",\n".join(_rendered_case(case) for case in page["cases"])
    return "\n".join(
        ["{", *lines, f'  "candidates": [\n{candidates}\n  ],', f'  "cases": [\n{cases}\n  ]', "}", ""]
    )


def _rendered_case(case: Row) -> str:
    pool = ",\n".join(f"      {json.dumps(row)}" for row in case["pool"])
    parts = [
        f'     "{name}": ' + (f"[\n{pool}\n     ]" if name == "pool" else json.dumps(value))
        for name, value in case.items()
    ]
    return "    {" + ",\n".join(parts).lstrip() + "}"


if __name__ == "__main__":
    main()
