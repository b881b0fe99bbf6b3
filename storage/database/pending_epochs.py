"""Stores prepared epochs in a separate table until they are opened.

Only the scheduler has rights on this table. At an epoch's start, opening moves it to the tables that the
other processes read. The content of a row is padded, so that its size does not reveal the number of zipcodes.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, Select, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.epoch_changes import Preparation, insert_opened
from storage.database.honeypots import discard_honeypots, store_honeypots
from storage.database.tables import PendingEpoch
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.envelope import UnverifiedEnvelope
from zipcast.protocol.messages.epochs import EpochMessage as WireEpoch
from zipcast.protocol.messages.epochs import Proof

# Rows are padded to a multiple of this size, which hides the size of the epoch. A usual epoch takes less than
# half of it.
STEP_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Pending:
    """One prepared epoch. `prepared` has no honeypots, because they are stored separately."""

    epoch_id: str
    interval: EpochInterval
    prepared: Preparation


async def insert_prepared(connection: AsyncConnection, prepared: Preparation) -> None:
    """Store the epoch with its honeypots, in the caller's transaction."""
    message = prepared.message
    await connection.execute(
        insert(PendingEpoch).values(
            epoch_id=message.epoch_id,
            start_at=message.epoch_start,
            end_at=message.epoch_end,
            content=_content(prepared),
        )
    )
    await store_honeypots(connection, message.epoch_id, prepared.honeypots)


async def discard(connection: AsyncConnection, epoch_id: str) -> None:
    """Delete a pending epoch with its honeypots, in the caller's transaction, because subscribers have
    another one."""
    await connection.execute(delete(PendingEpoch).where(PendingEpoch.epoch_id == epoch_id))
    await discard_honeypots(connection, epoch_id)


async def pending_epoch(connection: AsyncConnection, epoch_id: str) -> Pending | None:
    """Return the epoch if it is prepared and not opened."""
    row = (await connection.execute(_pending().where(PendingEpoch.epoch_id == epoch_id))).first()
    return None if row is None else _read(row)


async def pending_epochs(connection: AsyncConnection) -> list[Pending]:
    """Return all pending epochs, oldest first. Usually there is one."""
    rows = await connection.execute(_pending().order_by(PendingEpoch.start_at))
    return [_read(row) for row in rows]


async def pending_intervals(connection: AsyncConnection) -> list[EpochInterval]:
    """Return the intervals of all pending epochs, oldest first."""
    query = select(PendingEpoch.start_at, PendingEpoch.end_at).order_by(PendingEpoch.start_at)
    return [EpochInterval(*row) for row in await connection.execute(query)]


async def open_epoch(connection: AsyncConnection, epoch_id: str) -> bool:
    """Move the epoch to the tables that the other processes read. Return False if it is not pending. If
    another replica is moving it, wait until that replica has finished.

    The caller must have waited until the epoch's start."""
    taken = delete(PendingEpoch).where(PendingEpoch.epoch_id == epoch_id)
    row = (await connection.execute(taken.returning(*_COLUMNS))).first()
    if row is None:
        return False
    await insert_opened(connection, _read(row).prepared)
    return True


async def open_started(connection: AsyncConnection, now: datetime) -> list[str]:
    """Open every epoch that has started by `now` and by PostgreSQL's clock, oldest first, and return their
    ids."""
    query = (
        select(PendingEpoch.epoch_id)
        .where(PendingEpoch.start_at <= func.least(func.clock_timestamp(), now))
        .order_by(PendingEpoch.start_at)
    )
    due = list((await connection.execute(query)).scalars())
    return [epoch_id for epoch_id in due if await open_epoch(connection, epoch_id)]


async def assigned_while_pending(
    connection: AsyncConnection, epoch_ids: Iterable[str]
) -> dict[str, datetime]:
    """Return the zipcodes of the given epochs that are pending, each with the start of its newest epoch."""
    wanted = frozenset(epoch_ids)
    return {
        assigned.zipcode: one.interval.start_at
        for one in await pending_epochs(connection)
        if one.epoch_id in wanted
        for assigned in one.prepared.message.zipcodes
    }


_COLUMNS = (PendingEpoch.epoch_id, PendingEpoch.start_at, PendingEpoch.end_at, PendingEpoch.content)


def _pending() -> Select[str, datetime, datetime, bytes]:
    return select(*_COLUMNS)


def _content(prepared: Preparation) -> bytes:
    """Return the epoch as JSON, padded with spaces to a multiple of `STEP_BYTES`."""
    content = json.dumps(
        {
            **_signed(prepared.envelope),
            "sealed": None if prepared.sealed is None else prepared.sealed.model_dump(),
            "seed": None if prepared.seed is None else prepared.seed.hex(),
            "secretId": prepared.secret_id,
            "importId": prepared.import_id,
            "relaxedCooldown": list(prepared.relaxed_cooldown),
            "relaxedAgeDays": prepared.relaxed_age_days,
            "preparedAt": prepared.prepared_at.isoformat(),
        }
    ).encode()
    return content.ljust(-(-len(content) // STEP_BYTES) * STEP_BYTES)


def _signed(envelope: UnverifiedEnvelope) -> dict[str, str]:
    return {
        "payload": envelope.payload.decode(),
        "signer": envelope.signer,
        "signature": envelope.signature,
    }


def _envelope(epoch_id: str, stored: dict[str, str]) -> UnverifiedEnvelope:
    return UnverifiedEnvelope(stored["payload"].encode(), stored["signer"], stored["signature"], epoch_id)


def _read(row: Row[str, datetime, datetime, bytes]) -> Pending:
    epoch_id, start_at, end_at, content = row
    stored = json.loads(bytes(content))
    envelope = _envelope(epoch_id, stored)
    prepared = Preparation(
        envelope=envelope,
        message=WireEpoch.model_validate_json(envelope.payload),
        seed=None if stored["seed"] is None else bytes.fromhex(stored["seed"]),
        secret_id=stored["secretId"],
        import_id=stored["importId"],
        relaxed_cooldown=tuple(stored["relaxedCooldown"]),
        relaxed_age_days=stored["relaxedAgeDays"],
        prepared_at=datetime.fromisoformat(stored["preparedAt"]),
        sealed=None if stored["sealed"] is None else Proof.model_validate(stored["sealed"]),
    )
    return Pending(epoch_id, EpochInterval(start_at, end_at), prepared)
