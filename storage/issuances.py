"""Recording every credential that leaves: to whom, for what, until when."""

from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import uuid4

from sqlalchemy import insert
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


async def record_issuance(connection: AsyncConnection, issuance: Issuance) -> None:
    await connection.execute(insert(CredentialIssuance).values(id=uuid4(), **asdict(issuance)))
