"""Draws epochs from the sample data."""

from collections.abc import Sequence
from datetime import UTC, datetime

from zipcast.protocol.calendar import EpochCalendar, parse_epoch_id
from zipcast.selection.model import SelectionSettings
from zipcast.selection.simulation import SimulatedEpoch

CALENDAR = EpochCalendar(4 * 3600)

START_AT = datetime(2026, 1, 1, tzinfo=UTC)


def rests_were_kept(epochs: Sequence[SimulatedEpoch], settings: SelectionSettings) -> bool:
    last: dict[str, datetime] = {}
    for epoch in epochs:
        start_at = parse_epoch_id(epoch.epoch_id)
        if any(start_at - last[zipcode] < settings.cooldown for zipcode in epoch.zipcodes if zipcode in last):
            return False
        last.update(dict.fromkeys(epoch.zipcodes, start_at))
    return True
