"""Claims on minting requests: each signed request is minted for once (design: requests).

Owns the statements; every one is atomic by the table's primary key. What a claim means for a client is the
responder's.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import RequestClaim


@dataclass(frozen=True, slots=True)
class ClaimKey:
    """Which request: who signed it, and the nonce or text that was signed. `signed_at` is part of either."""

    hotkey: str
    request_key: str
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    body_sha256: str
    state: str
    claimed_at: datetime
    sealed_answer: bytes | None


async def find(connection: AsyncConnection, key: ClaimKey) -> Claim | None:
    query = select(
        RequestClaim.body_sha256, RequestClaim.state, RequestClaim.claimed_at, RequestClaim.sealed_answer
    ).where(*_is(key))
    row = (await connection.execute(query)).first()
    return None if row is None else Claim(*row)


async def take(
    connection: AsyncConnection,
    key: ClaimKey,
    *,
    body_sha256: str,
    now: datetime,
    expires_at: datetime,
    request_id: str,
) -> bool:
    """Claim a request that nobody has claimed. False if somebody was faster."""
    values = {
        "signed_on": key.signed_at.date(),
        "hotkey": key.hotkey,
        "request_key": key.request_key,
        "body_sha256": body_sha256,
        "state": "claimed",
        "claimed_at": now,
        "expires_at": expires_at,
        "request_id": request_id,
    }
    # A row comes back only if it is ours; an insert's row count is not to be had from the driver.
    ours = upsert(RequestClaim).values(values).on_conflict_do_nothing().returning(RequestClaim.hotkey)
    return (await connection.execute(ours)).first() is not None


async def take_again(
    connection: AsyncConnection, key: ClaimKey, found: Claim, body_sha256: str, now: datetime
) -> bool:
    """Claim what failed, was never finished, or cannot be read any more. False if somebody was faster."""
    again = (
        update(RequestClaim)
        .where(*_is(key), RequestClaim.state == found.state, RequestClaim.claimed_at == found.claimed_at)
        .values(state="claimed", body_sha256=body_sha256, claimed_at=now, sealed_answer=None)
    )
    return (await connection.execute(again)).rowcount == 1


async def answer(connection: AsyncConnection, key: ClaimKey, claimed_at: datetime, sealed: bytes) -> bool:
    """claimed -> answered. False if another took the claim over meanwhile."""
    return await _finish(connection, key, claimed_at, state="answered", sealed_answer=sealed)


async def fail(connection: AsyncConnection, key: ClaimKey, claimed_at: datetime) -> bool:
    """claimed -> failed: the same request may be tried again."""
    return await _finish(connection, key, claimed_at, state="failed")


async def _finish(connection: AsyncConnection, key: ClaimKey, claimed_at: datetime, **values: object) -> bool:
    finished = (
        update(RequestClaim)
        .where(*_is(key), RequestClaim.state == "claimed", RequestClaim.claimed_at == claimed_at)
        .values(**values)
    )
    return (await connection.execute(finished)).rowcount == 1


def _is(key: ClaimKey) -> tuple[ColumnElement[bool], ...]:
    return (
        RequestClaim.signed_on == key.signed_at.date(),
        RequestClaim.hotkey == key.hotkey,
        RequestClaim.request_key == key.request_key,
    )
