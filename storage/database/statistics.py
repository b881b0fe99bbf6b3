"""Reads the public statistics for `/stats`: epochs that have started, and zipcodes by state and tier.

They contain no nonce, zipcode, seed or weight, and nothing about an epoch before its start. The queries use
the index of `start_at` and the primary key; the zipcode tables have at most 42,000 rows per import.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.clock import RECORD_NOW
from storage.database.epoch_inputs import started_inputs
from storage.database.tables import Epoch, EpochAssignment, MinerSubmission, PublishedZipcode, Zipcode
from zipcast.protocol.calendar import EpochInterval

RECENT_EPOCHS = 10


@dataclass(frozen=True, slots=True)
class StartedEpoch:
    """Statistics of a started epoch. `status` is the status in the epoch's row. The numbers are None if the
    epoch was missed. `miners_completed` counts miners that reported completion before the deadline."""

    interval: EpochInterval
    status: str
    zipcode_count: int
    target_listings: int | None
    expected_listings: int | None
    miners_participated: int
    miners_completed: int
    published_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rules:
    """The public part of an epoch's inputs, and its import."""

    target_listings: int
    tolerance_percent: int
    min_zipcode_listings: int
    max_zipcode_listings: int
    cooldown: timedelta
    states: tuple[str, ...]
    import_id: int


@dataclass(frozen=True, slots=True)
class ZipcodeCounts:
    """Counts of zipcodes. `by_state` and `by_tier` count active zipcodes."""

    total: int
    active: int
    eligible: int | None
    by_state: dict[str, int]
    by_tier: dict[str, int]


@dataclass(frozen=True, slots=True)
class Statistics:
    """The statistics. `recent` begins with the newest epoch. `rules` are those of the newest epoch, or
    None."""

    recent: tuple[StartedEpoch, ...]
    rules: Rules | None
    zipcodes: ZipcodeCounts


async def read_statistics(connection: AsyncConnection) -> Statistics:
    recent = await _recent_epochs(connection)
    rules = await _rules(connection, recent[0].interval.epoch_id) if recent else None
    return Statistics(recent, rules, await _zipcodes(connection, rules))


async def _recent_epochs(connection: AsyncConnection) -> tuple[StartedEpoch, ...]:
    assigned = select(func.count()).where(EpochAssignment.epoch_id == Epoch.epoch_id).scalar_subquery()
    reported = select(func.count()).where(MinerSubmission.epoch_id == Epoch.epoch_id)
    query = (
        select(
            Epoch.start_at,
            Epoch.end_at,
            Epoch.status,
            assigned,
            Epoch.target_listings,
            Epoch.total_expected_listings,
            reported.scalar_subquery(),
            reported.where(MinerSubmission.first_completed_at < Epoch.end_at).scalar_subquery(),
            Epoch.published_at,
        )
        .where(Epoch.start_at <= RECORD_NOW)
        .order_by(Epoch.start_at.desc())
        .limit(RECENT_EPOCHS)
    )
    rows = (await connection.execute(query)).all()
    return tuple(StartedEpoch(EpochInterval(start, end), *others) for start, end, *others in rows)


async def _rules(connection: AsyncConnection, epoch_id: str) -> Rules | None:
    stored = await started_inputs(connection, epoch_id)
    if stored is None:
        return None
    inputs: dict[str, Any] = json.loads(stored)
    settings = inputs["settings"]
    return Rules(
        target_listings=settings["target_listings"],
        tolerance_percent=settings["tolerance_percent"],
        min_zipcode_listings=settings["min_zipcode_listings"],
        max_zipcode_listings=settings["max_zipcode_listings"],
        cooldown=timedelta(seconds=settings["cooldown"]),
        states=tuple(state for state, _ in settings["state_priorities"]),
        import_id=inputs["importId"],
    )


async def _zipcodes(connection: AsyncConnection, rules: Rules | None) -> ZipcodeCounts:
    groups = select(Zipcode.state, Zipcode.market_tier, Zipcode.active, func.count())
    query = groups.group_by(Zipcode.state, Zipcode.market_tier, Zipcode.active).order_by(Zipcode.state)
    by_state: dict[str, int] = {}
    by_tier: dict[str, int] = {}
    total = 0
    for state, tier, active, count in (await connection.execute(query)).all():
        total += count
        if active:
            by_state[state] = by_state.get(state, 0) + count
            by_tier[tier] = by_tier.get(tier, 0) + count
    eligible = None if rules is None else await _eligible(connection, rules)
    return ZipcodeCounts(total, sum(by_state.values()), eligible, by_state, by_tier)


async def _eligible(connection: AsyncConnection, rules: Rules) -> int:
    """Return how many zipcodes of the import the rules allow by their published data, whatever their age and
    cooldown. This number changes only with an import, so it reveals nothing about an epoch."""
    query = select(func.count()).where(
        PublishedZipcode.import_id == rules.import_id,
        PublishedZipcode.state.in_(rules.states),
        PublishedZipcode.expected_listings.between(rules.min_zipcode_listings, rules.max_zipcode_listings),
    )
    return int((await connection.execute(query)).scalar_one())
