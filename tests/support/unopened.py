"""Reads the prepared epoch from PostgreSQL before its start, as the owner of the tables."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg


@dataclass(frozen=True, slots=True)
class Unopened:
    """A prepared epoch. `message` is what will be published. The other fields are secret too."""

    epoch_id: str
    start_at: datetime
    payload: str
    message: dict[str, Any]
    seed: str
    signature: str

    @property
    def nonce(self) -> str:
        return str(self.message["nonce"])

    @property
    def zipcodes(self) -> list[str]:
        return [one["zipcode"] for one in self.message["zipcodes"]]

    @property
    def message_sha256(self) -> str:
        return hashlib.sha256(self.payload.encode()).hexdigest()


async def unopened(
    record: psycopg.AsyncConnection[tuple[Any, ...]], seconds_left: float = 0
) -> Unopened | None:
    """Return the prepared epoch if at least this much time is left until its start."""
    query = """select epoch_id, start_at, convert_from(content, 'UTF8')::jsonb from pending_epochs
               where start_at > clock_timestamp() + make_interval(secs => %s) order by start_at"""
    row = await (await record.execute(query, [seconds_left])).fetchone()
    if row is None:
        return None
    epoch_id, start_at, content = row
    payload = content["payload"]
    return Unopened(epoch_id, start_at, payload, json.loads(payload), content["seed"], content["signature"])
