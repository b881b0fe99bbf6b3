"""Stores which access was granted: to whom, for what, and until when. The row is written before anything is
signed.

A signed request has only one row. If the request is sent again, it gets the access of this row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

import asyncpg
from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.locks import milliseconds
from storage.database.tables import CredentialIssuance
from zipcast.protocol.verbs import Verb

LIST_WITH_UPLOAD = timedelta(hours=3)
"""The lifetime of the list URL that comes with a miner's form. The row has the expiry of the form, which may
be earlier."""


@dataclass(frozen=True, slots=True)
class Issuance:
    """A row. `kind` is the request's verb, `source` is `nats` or the HTTP client's address. `outcome` is set
    if no access could be given, and states the reason."""

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
    outcome: str | None


@dataclass(frozen=True, slots=True, order=True)
class RequestId:
    """Identifies a signed request: the hotkey, the UTC day of signing, and the signed nonce or text."""

    signed_on: date
    hotkey: str
    request_key: str


@dataclass(frozen=True, slots=True)
class NewIssuance:
    """A row to write. The access ends at `ends_at`, or `lifetime` after the time of the row; exactly one of
    the two is set."""

    request: RequestId
    body_sha256: str
    role: str
    kind: str
    bucket: str
    prefix: str
    epoch_id: str | None
    request_id: str
    source: str
    ends_at: datetime | None
    lifetime: timedelta | None


@dataclass(frozen=True, slots=True)
class Granted:
    """The access granted to a request, from its row. `issued_at` is by the database's clock, in whole
    seconds."""

    body_sha256: str
    issued_at: datetime
    expires_at: datetime
    outcome: str | None

    @property
    def seconds(self) -> int:
        return int((self.expires_at - self.issued_at).total_seconds())


# The rows are written in the order of their keys, so that two replicas that write the same rows do not
# deadlock. If another transaction has written a row and not yet committed it, this statement waits.
_INSERT = """
with instant as materialized (
    select date_trunc('second', clock_timestamp()) as now, set_config('lock_timeout', $14, true) as patience
)
insert into zipcast.credential_issuances (signed_on, hotkey, request_key, body_sha256, role, kind, bucket,
    prefix, epoch_id, request_id, source, issued_at, expires_at)
select new.signed_on, new.hotkey, new.request_key, new.body_sha256, new.role, new.kind, new.bucket,
    new.prefix, new.epoch_id, new.request_id, new.source, instant.now,
    coalesce(new.ends_at, instant.now + new.lifetime)
from unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::interval[])
    as new(signed_on, hotkey, request_key, body_sha256, role, kind, bucket, prefix, epoch_id, request_id,
        source, ends_at, lifetime), instant
where coalesce(new.ends_at > instant.now, true) and instant.patience <> ''
order by new.signed_on, new.hotkey, new.request_key
on conflict do nothing
returning signed_on, hotkey, request_key, body_sha256, issued_at, expires_at, outcome
"""

# The query names the day, so that PostgreSQL reads one partition and not hundreds.
FIND = """
select signed_on, hotkey, request_key, body_sha256, issued_at, expires_at, outcome
from zipcast.credential_issuances
join unnest($2::text[], $3::text[]) as asked(hotkey, request_key) using (hotkey, request_key)
where signed_on = $1
"""

_NOTE = """
update zipcast.credential_issuances set outcome = $4
where signed_on = $1 and hotkey = $2 and request_key = $3
"""

_KEY = attrgetter("signed_on", "hotkey", "request_key")
_WRITTEN = attrgetter(
    *("request.signed_on", "request.hotkey", "request.request_key", "body_sha256", "role", "kind", "bucket"),
    *("prefix", "epoch_id", "request_id", "source", "ends_at", "lifetime"),
)


async def write(
    connection: asyncpg.Connection, new: Sequence[NewIssuance], lock_timeout: timedelta
) -> dict[RequestId, Granted]:
    """Write a row for each request that has none, in one commit, and return those rows. `new` must have at
    most one row for each request.

    Requests that already have a row, or whose `ends_at` has passed, are missing from the result. Raises
    DRIVER_ERRORS."""
    columns = zip(*map(_WRITTEN, new), strict=True)
    return _by_request(await connection.fetch(_INSERT, *map(list, columns), milliseconds(lock_timeout)))


async def find(connection: asyncpg.Connection, requests: Sequence[RequestId]) -> dict[RequestId, Granted]:
    """Return the rows of the requests that have one. Raises DRIVER_ERRORS."""
    rows: list[Any] = []
    for day, signed in groupby(sorted(requests), key=attrgetter("signed_on")):
        hotkeys, keys = zip(*map(attrgetter("hotkey", "request_key"), signed), strict=True)
        rows += await connection.fetch(FIND, day, hotkeys, keys)
    return _by_request(rows)


async def note(connection: asyncpg.Connection, request: RequestId, outcome: str | None) -> None:
    """Store in a request's row why no access could be given, or None if it was given. Raises
    DRIVER_ERRORS."""
    await connection.execute(_NOTE, *_KEY(request), outcome)


def _by_request(rows: Sequence[Any]) -> dict[RequestId, Granted]:
    return {
        RequestId(row["signed_on"], row["hotkey"], row["request_key"]): Granted(
            row["body_sha256"], row["issued_at"], row["expires_at"], row["outcome"]
        )
        for row in rows
    }


async def newest_issuances(
    connection: AsyncConnection,
    *,
    hotkey: str | None,
    since: datetime | None,
    valid_at: datetime | None,
    limit: int,
) -> list[Issuance]:
    """Return issuances, newest first. With `valid_at`, return only those that had not expired then; a miner's
    form counts until its list URL has expired."""
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
