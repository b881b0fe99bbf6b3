"""Stores manifests: the uploads that count for an epoch, written once after its end and read by validators.

`broker_service.responder.manifest_freezing` decides which objects belong to a manifest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, func, insert, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import Epoch, MinerSignal, MinerSubmission, UploadManifest, UploadSeal
from zipcast.protocol.calendar import EpochInterval

# An epoch that has no manifest this long after its end never gets one, because its uploads may have been
# deleted from the bucket.
LOOK_BACK = timedelta(days=30)
BATCH_ROWS = 1_000
MAX_DUE = 500
CHANGED = "changed_after_deadline"
"""The only kind of signal that the responder may store (policy `changes` of migration 0001)."""


@dataclass(frozen=True, slots=True)
class SealedObject:
    """A version of an object that counts. `stored_at` is by the object store's clock, in whole seconds."""

    hotkey: str
    object_key: str
    version_id: str | None
    size_bytes: int
    etag: str
    stored_at: datetime


_FIELDS = tuple(field.name for field in fields(SealedObject))


async def unsealed(connection: AsyncConnection, settled_for: timedelta) -> list[EpochInterval]:
    """Return the epochs that ended at least `settled_for` ago and have no manifest yet, oldest first."""
    now = func.clock_timestamp()
    query = (
        select(Epoch.start_at, Epoch.end_at)
        .where(
            ~exists().where(UploadSeal.epoch_id == Epoch.epoch_id),
            Epoch.status.in_(("pending", "active", "completed")),
            Epoch.end_at <= now - settled_for,
            Epoch.end_at > now - LOOK_BACK,
        )
        .order_by(Epoch.end_at)
        .limit(MAX_DUE)
    )
    return [EpochInterval(row.start_at, row.end_at) for row in await connection.execute(query)]


async def seal(connection: AsyncConnection, epoch_id: str, found: Sequence[SealedObject]) -> bool:
    """Write the epoch's whole manifest. Return False if another replica did so first. This may wait, so the
    caller must set a time limit."""
    # Do not limit this statement, because it waits for another replica that is writing the same manifest.
    await connection.execute(text("set local statement_timeout = 0"))
    now = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    seal_it = upsert(UploadSeal).values(epoch_id=epoch_id, sealed_at=now).on_conflict_do_nothing()
    if (await connection.execute(seal_it.returning(UploadSeal.epoch_id))).first() is None:
        return False
    for begin in range(0, len(found), BATCH_ROWS):
        rows = [
            {"epoch_id": epoch_id, "sealed_at": now, **asdict(one)}
            for one in found[begin : begin + BATCH_ROWS]
        ]
        await connection.execute(insert(UploadManifest), rows)
    return True


async def reporting_miners(connection: AsyncConnection, epoch_id: str) -> frozenset[str]:
    """Return the hotkeys that have a stored status report on this epoch."""
    query = select(MinerSubmission.hotkey).where(MinerSubmission.epoch_id == epoch_id)
    return frozenset((await connection.execute(query)).scalars())


async def is_sealed(connection: AsyncConnection, epoch_id: str) -> bool:
    """Return whether the manifest of the epoch was written."""
    query = select(UploadSeal.sealed_at).where(UploadSeal.epoch_id == epoch_id)
    return (await connection.execute(query)).scalar() is not None


async def sealed_objects(
    connection: AsyncConnection, epoch_id: str, hotkey: str | None, after: tuple[str, str] | None, limit: int
) -> list[SealedObject]:
    """Return one page of an epoch's manifest, of one miner or of all, ordered by hotkey and key, after
    `(hotkey, key)`."""
    query = (
        select(*(getattr(UploadManifest, name) for name in _FIELDS))
        .where(UploadManifest.epoch_id == epoch_id)
        .order_by(UploadManifest.hotkey, UploadManifest.object_key)
        .limit(limit)
    )
    if hotkey is not None:
        query = query.where(UploadManifest.hotkey == hotkey)
    if after is not None:
        query = query.where(tuple_(UploadManifest.hotkey, UploadManifest.object_key) > tuple_(*after))
    return [SealedObject(*row) for row in (await connection.execute(query)).all()]


async def unchecked(connection: AsyncConnection) -> list[str]:
    """Return the revealed epochs with a manifest that were not yet checked for later changes, oldest
    first."""
    query = (
        select(Epoch.epoch_id)
        .join(UploadSeal, UploadSeal.epoch_id == Epoch.epoch_id)
        .where(
            UploadSeal.changes_checked_at.is_(None),
            Epoch.end_at > func.clock_timestamp() - LOOK_BACK,
            func.zipcast.epoch_is_revealed(Epoch.epoch_id),
        )
        .order_by(Epoch.end_at)
        .limit(MAX_DUE)
    )
    return list((await connection.execute(query)).scalars())


async def sealed_hotkeys(connection: AsyncConnection, epoch_id: str) -> list[str]:
    """Return the hotkeys with uploads in the manifest of the epoch, sorted."""
    query = select(UploadManifest.hotkey).where(UploadManifest.epoch_id == epoch_id).distinct()
    return sorted((await connection.execute(query)).scalars())


async def note_changes(
    connection: AsyncConnection, epoch_id: str, changes: Mapping[str, dict[str, Any]]
) -> bool:
    """Store a signal for each miner with changes. Return False if another replica did so first."""
    now = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    marked = await connection.execute(
        update(UploadSeal)
        .where(UploadSeal.epoch_id == epoch_id, UploadSeal.changes_checked_at.is_(None))
        .values(changes_checked_at=now)
    )
    if marked.rowcount == 0:
        return False
    rows = [
        {"epoch_id": epoch_id, "hotkey": hotkey, "kind": CHANGED, "details": details, "computed_at": now}
        for hotkey, details in changes.items()
    ]
    if rows:
        await connection.execute(upsert(MinerSignal).on_conflict_do_nothing(), rows)
    return True
