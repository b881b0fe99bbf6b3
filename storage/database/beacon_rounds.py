"""Stores the beacon's signatures that schedulers fetched, so that all replicas draw with the same round.

Only schedulers may use it. A replica verifies a signature before storing it.
"""

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.tables import BeaconRound
from zipcast.protocol.beacon import parse_beacon_signature


async def store_round(connection: AsyncConnection, chain: str, round_number: int, signature: bytes) -> None:
    """Store a verified signature, unless the round is stored already."""
    row = upsert(BeaconRound).values(
        chain=chain, round=round_number, signature=signature.hex(), stored_at=func.clock_timestamp()
    )
    await connection.execute(row.on_conflict_do_nothing())


async def stored_round(connection: AsyncConnection, chain: str, round_number: int) -> bytes | None:
    """Return the round's signature, or None if no replica has stored it."""
    query = select(BeaconRound.signature).where(BeaconRound.chain == chain, BeaconRound.round == round_number)
    found = (await connection.execute(query)).scalar()
    return None if found is None else parse_beacon_signature(found)
