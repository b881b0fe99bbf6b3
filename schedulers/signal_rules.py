"""Defines the rules for signals, which are observations about a miner for validators to examine. Pure.

The facts come from `storage.database.signals`. A signal proves nothing and has no effect; each can have an
innocent explanation, which docs/protocol.md states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

NONCE_FAILURES, IMPLAUSIBLE_SPEED, EXACT_TARGET = "nonce_failures", "implausible_speed", "exact_target"
# The smallest numbers of zipcodes by which a miner is judged. Fewer zipcodes could match by chance.
MIN_EXACT = 5
MIN_REPEATED = 2
MIN_COMPARED = 3
LOOKED_BACK = 6
"""The number of epochs that are searched for a repetition, including the newest one."""


@dataclass(frozen=True, slots=True)
class SignalSettings:
    """The thresholds: refused nonces, listings per second, the share of zipcodes with exactly the published
    count, and the number of epochs with at least half of the zipcodes reported exactly."""

    nonce_failures: int = 3
    listings_per_second: float = 50.0
    exact_share: float = 0.9
    exact_epochs: int = 3


@dataclass(frozen=True, slots=True)
class Exactness:
    """The number of an epoch's zipcodes that a miner reported, and how many of them with exactly the
    published count."""

    epoch_id: str
    reported: int
    exact: int

    def is_half(self) -> bool:
        return self.reported >= MIN_REPEATED and 2 * self.exact >= self.reported


def nonce_failures(refusals: int, suppressed: int, settings: SignalSettings) -> dict[str, Any] | None:
    """Return the details of refused nonces, or None. `refusals` counts refused reports of this hotkey.
    `suppressed` counts refusals that were not stored during a flood; they are shown but do not decide,
    because they may be of other hotkeys."""
    if refusals < settings.nonce_failures:
        return None
    return {"refusals": refusals, "suppressed": suppressed}


def implausible_speed(
    start_at: datetime, completed_at: datetime, listings: int, settings: SignalSettings
) -> dict[str, Any] | None:
    """Return the details of a report that came too fast, or None. The time is counted from the epoch's start
    to the arrival of the first report of completion, and is at least one second."""
    seconds = max(1.0, (completed_at - start_at).total_seconds())
    if listings / seconds <= settings.listings_per_second:
        return None
    return {"listings": listings, "seconds": round(seconds, 3)}


def exact_target(history: Sequence[Exactness], settings: SignalSettings) -> dict[str, Any] | None:
    """Return the details if a miner reported too many zipcodes with exactly the published count, or None.
    `history` begins with the epoch to judge; earlier ones follow, newest first."""
    if not history:
        return None
    newest = history[0]
    met = newest.reported >= MIN_EXACT and newest.exact >= settings.exact_share * newest.reported
    repeated = [one.epoch_id for one in history[:LOOKED_BACK] if one.is_half()]
    again = newest.is_half() and len(repeated) >= settings.exact_epochs
    if not met and not again:
        return None
    return {
        "reported": newest.reported,
        "exact": newest.exact,
        "epochs": repeated if again else [newest.epoch_id],
    }


@dataclass(frozen=True, slots=True)
class FalseCount:
    """The real and the published listings of a honeypot."""

    real: int
    published: int


def honeypot_uploads(
    uploaded: Mapping[str, int], published: Mapping[str, int], honeypots: Mapping[str, FalseCount]
) -> dict[str, Any] | None:
    """Return the honeypots for which a miner uploaded far more data than their real listings need, whatever
    it reported, or None.

    `uploaded` has bytes by zipcode, `published` has listings by zipcode. The bytes per listing are estimated
    from the miner's other zipcodes. It is a hit if the uploaded data is enough for at least half of the
    published listings, since the real listings are far fewer. The result is None if the miner has fewer than
    MIN_COMPARED other zipcodes."""
    per_listing = [
        size / published[zipcode]
        for zipcode, size in uploaded.items()
        if zipcode not in honeypots and published.get(zipcode, 0) > 0
    ]
    if len(per_listing) < MIN_COMPARED:
        return None
    usual = median(per_listing)
    if usual <= 0:
        return None
    hits = [
        {
            "zipcode": zipcode,
            "uploadedBytes": uploaded[zipcode],
            "impliedListings": round(uploaded[zipcode] / usual),
            "realListings": known.real,
            "publishedListings": known.published,
        }
        for zipcode, known in sorted(honeypots.items())
        if uploaded.get(zipcode, 0) > usual * max(known.published / 2, known.real)
    ]
    return {"uploads": hits} if hits else None
