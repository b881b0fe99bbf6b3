"""Every credential that left: to whom, for what, until when."""

from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import and_, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import CredentialIssuance
from zipcast.subjects import Verb

LIST_WITH_UPLOAD = timedelta(hours=3)
"""How long the list address works that comes with a miner's form; it may outlive the form, whose end the row
has."""


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
    """Newest first. `valid_at`: only what had not run out then, the list that a miner's form comes with
    included."""
    columns = (getattr(CredentialIssuance, field.name) for field in fields(Issuance))
    query = select(*columns).order_by(CredentialIssuance.issued_at.desc()).limit(limit)
    if hotkey is not None:
        query = query.where(CredentialIssuance.hotkey == hotkey)
    if since is not None:
        query = query.where(CredentialIssuance.issued_at >= since)
    if valid_at is not None:
        listed = and_(
            CredentialIssuance.kind == Verb.S3_MINER_UPLOAD,
            CredentialIssuance.issued_at > valid_at - LIST_WITH_UPLOAD,
        )
        query = query.where(or_(CredentialIssuance.expires_at > valid_at, listed))
    return [Issuance(*row) for row in (await connection.execute(query)).all()]


async def record_issuance(connection: AsyncConnection, issuance: Issuance) -> None:
    await connection.execute(insert(CredentialIssuance).values(id=uuid4(), **asdict(issuance)))
