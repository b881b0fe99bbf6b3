"""Checks selections that must never change by a byte, because past epochs were drawn like this.

`python -m tests.replay.golden` compares them under any Python without installed packages; `make
check-pythons` runs it with each Python that it gets. Uses only the standard library and
`zipcast.selection.select`.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.replay import documented
from tests.replay.pools import START_AT, pool
from zipcast.selection.model import PoolTooSmallError, Selection, SelectionSettings
from zipcast.selection.ranking import rank
from zipcast.selection.select import select

GOLDEN = Path(__file__).parent / "golden.json"

CASES: dict[str, tuple[int, bool, dict[str, Any]]] = {
    "small": (40, False, {}),
    "ordinary": (800, False, {}),
    "uniform": (800, False, {"selection_randomness": 1.0, "geographic_spread_factor": 0.0}),
    "by weight": (800, False, {"selection_randomness": 0.0, "geographic_spread_factor": 1.0}),
    "exact": (300, False, {"target_listings": 9_973, "tolerance_percent": 0}),
    "relaxed": (12, False, {"target_listings": 6_000, "tolerance_percent": 1}),
    "alike": (500, True, {"target_listings": 7_000, "tolerance_percent": 0}),
    "old data": (400, False, {"target_listings": 12_000, "max_data_age": timedelta(days=1)}),
    "strict": (800, False, {"strict_priorities": True}),
    "too small": (12, False, {"target_listings": 60_000}),
}


def digests() -> dict[str, str]:
    """Return, for each case, the SHA-256 of the result of a selection and of the ranks of its pool."""
    return {
        f"{name}/{'hiding' if hiding else 'plain'}": _digest(name, hiding)
        for hiding in (False, True)
        for name in CASES
    }


def _digest(name: str, hiding: bool) -> str:
    size, alike, changes = CASES[name]
    settings, seed = SelectionSettings(**changes), hashlib.sha256(name.encode()).digest()
    try:
        candidates = pool(name, size, alike=alike)
        honeypots = [one.zipcode for one in candidates[::20]] if hiding else None
        selection = select(candidates, settings, seed, START_AT, honeypots=honeypots)
    except PoolTooSmallError as error:
        return hashlib.sha256(str(error).encode()).hexdigest()
    return hashlib.sha256("\n".join(_lines(selection, settings, seed)).encode()).hexdigest()


def _lines(selection: Selection, settings: SelectionSettings, seed: bytes) -> Iterator[str]:
    yield from (chosen.zipcode for chosen in selection.zipcodes)
    yield f"total {selection.total_listings}"
    yield from (f"relaxed {zipcode}" for zipcode in selection.relaxed_cooldown)
    yield from (f"pool {candidate.zipcode}" for candidate in selection.pool)
    yield f"age {selection.relaxed_age_days}"
    yield from (candidate.zipcode for candidate in rank(selection.pool, settings, seed).ranked)


def faults() -> list[str]:
    """Return the differences from the golden file and from docs/protocol.md."""
    stored, found = json.loads(GOLDEN.read_text()), digests()
    differing = [f"golden: {name}" for name in {*stored, *found} if stored.get(name) != found.get(name)]
    return sorted(differing) + documented.faults()


def main() -> int:
    found = faults()
    version = ".".join(map(str, sys.version_info[:3]))
    told = "; ".join(found) or "the selections of all cases and of docs/protocol.md, byte for byte"
    sys.stdout.write(f"Python {version}: {'DIFFERS: ' if found else ''}{told}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
