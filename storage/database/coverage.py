"""Reads how much of an epoch the counted reports cover."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import distinct, func, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.results import revealed_audit
from storage.database.tables import EpochAssignment, MinerSubmission, UploadManifest


@dataclass(frozen=True, slots=True)
class Covered:
    """The coverage of an epoch. `miners` counts miners that reported or uploaded for it. The audited miners
    and zipcodes are those that at least one audit names."""

    miners_audited: int
    miners: int
    zipcodes_audited: int
    zipcodes: int


async def read_covered(connection: AsyncConnection, epoch_id: str, results: Sequence[UUID]) -> Covered:
    """Return how many miners and zipcodes the audits of these reports cover."""
    took_part = union(
        select(MinerSubmission.hotkey).where(MinerSubmission.epoch_id == epoch_id),
        select(UploadManifest.hotkey).where(UploadManifest.epoch_id == epoch_id),
    ).subquery()
    zipcodes = select(EpochAssignment.zipcode).where(EpochAssignment.epoch_id == epoch_id).subquery()
    audit = revealed_audit(epoch_id).c
    audited = audit.result_id.in_(results)
    query = select(
        select(func.count(distinct(audit.miner_hotkey)))
        .where(audited, audit.miner_hotkey.in_(select(took_part.c.hotkey)))
        .scalar_subquery(),
        select(func.count()).select_from(took_part).scalar_subquery(),
        select(func.count(distinct(audit.zipcode)))
        .where(audited, audit.zipcode.in_(select(zipcodes.c.zipcode)))
        .scalar_subquery(),
        select(func.count()).select_from(zipcodes).scalar_subquery(),
    )
    return Covered(*(await connection.execute(query)).one())
