"""Every credential that left: to whom, for what, until when."""

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from uuid import uuid4

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import CredentialIssuance


@dataclass(frozen=True, slots=True)
class Issuance:
    """`kind` is the request's verb; `source` is `nats` or the HTTP client's address."""

    issued_at: datetime
    expires_at: datetime
    hotkey: str
    role: str
    kind: str
    bucket: str
    prefix: str
    epoch_id: str | None
    request_id: str
    source: str


async def newest_issuances(
    connection: AsyncConnection,
    *,
    hotkey: str | None,
    since: datetime | None,
    valid_at: datetime | None,
    limit: int,
) -> list[Issuance]:
    """Newest first. `valid_at`: only what had not run out then."""
    columns = (getattr(CredentialIssuance, field.name) for field in fields(Issuance))
    query = select(*columns).order_by(CredentialIssuance.issued_at.desc()).limit(limit)
    if hotkey is not None:
        query = query.where(CredentialIssuance.hotkey == hotkey)
    if since is not None:
        query = query.where(CredentialIssuance.issued_at >= since)
    if valid_at is not None:
        query = query.where(CredentialIssuance.expires_at > valid_at)
    return [Issuance(*row) for row in (await connection.execute(query)).all()]


async def record_issuance(connection: AsyncConnection, issuance: Issuance) -> None:
    await connection.execute(insert(CredentialIssuance).values(id=uuid4(), **asdict(issuance)))
