"""Tests that no request over NATS or HTTP reveals anything about a pending epoch.

Metrics, health, statistics and logs are looked through in tests/integration/test_visible.py, the rights of
each database login in test_database_rights.py; here are the doors that a signature opens.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
import psycopg
from nats.aio.client import Client

from devstack.stack import Stack
from tests.support.issuing import running
from tests.support.people import ask, keypair, legacy, raw_connection
from tests.support.unopened import unopened
from zipcast.client.local_stack import Ready
from zipcast.protocol import signed_texts
from zipcast.protocol.calendar import EpochCalendar
from zipcast.protocol.verbs import Verb

CURRENT = "/api/v1/zipcode-assignments/current"
UPLOAD = "/api/v1/s3-access/validator-upload"


@dataclass(frozen=True, slots=True)
class Pending:
    """The secrets of an epoch. `secrets` has nonce, seed and signature, which no reply may contain before its
    start."""

    epoch_id: str
    secrets: tuple[str, ...]


async def pending(record: psycopg.AsyncConnection) -> Pending | None:
    """Return the prepared epoch if it starts in at least a second."""
    found = await unopened(record, 1.2)
    return None if found is None else Pending(found.epoch_id, (found.nonce, found.seed, found.signature))


async def has_begun(record: psycopg.AsyncConnection, epoch_id: str) -> bool:
    found = await unopened(record)
    return found is None or found.epoch_id != epoch_id


Question = Callable[[str], Awaitable[str]]


def questions(ready: Ready, http: httpx.AsyncClient, validator: Client) -> list[Question]:
    """Return all requests about an epoch that a validator can send; anyone can compute its id."""
    signer = keypair(ready, "validator-1")

    def over_nats(verb: Verb, **more: str) -> Question:
        async def question(epoch_id: str) -> str:
            body = json.dumps({"epochId": epoch_id, **more}).encode()
            return (await ask(ready, validator, signer, verb, body)).data.decode()

        return question

    async def current(_: str) -> str:
        return (await http.get(CURRENT, params=legacy(signer, signed_texts.CURRENT_COMMITMENT))).text

    async def upload(epoch_id: str) -> str:
        body = legacy(signer, signed_texts.VALIDATOR_UPLOAD_COMMITMENT) | {"epochId": epoch_id}
        return (await http.post(UPLOAD, json=body)).text

    async def assignment(epoch_id: str) -> str:
        query = legacy(signer, signed_texts.CURRENT_COMMITMENT)
        return (await http.get(f"/api/v1/zipcode-assignments/epoch/{epoch_id}", params=query)).text

    return [
        over_nats(Verb.EPOCH_CURRENT),
        over_nats(Verb.S3_MINER_UPLOAD),
        over_nats(Verb.S3_VALIDATOR_UPLOAD),
        over_nats(Verb.S3_VALIDATOR_READ, minerHotkey=keypair(ready, "miner-1").ss58_address),
        over_nats(Verb.EPOCH_GET),
        over_nats(Verb.EPOCH_POOL),
        current,
        upload,
        assignment,
    ]


async def test_no_request_shows_a_pending_epoch(ready: Ready, http: httpx.AsyncClient):
    """Send the requests again until every reply arrived while an epoch was pending."""
    validator = await raw_connection(ready, keypair(ready, "validator-1"))
    left = questions(ready, http, validator)
    async with await psycopg.AsyncConnection.connect(ready.postgres, autocommit=True) as record:
        async with asyncio.timeout(120):
            while left:
                found = await pending(record)
                if found is None:
                    await asyncio.sleep(0.1)
                    continue
                asked = [asyncio.create_task(question(found.epoch_id)) for question in left]
                done, _ = await asyncio.wait(asked, timeout=0.8)
                if await has_begun(record, found.epoch_id):
                    done = set()
                for answer in done:
                    require_silence(found, answer.result())
                await asyncio.gather(*asked)
                left = [one for one, answer in zip(left, asked, strict=True) if answer not in done]
    await validator.close()


def require_silence(found: Pending, text: str) -> None:
    assert len(found.secrets) == 3
    assert all(len(secret) >= 64 for secret in found.secrets)
    assert not [secret for secret in found.secrets if secret in text]
    assert found.epoch_id not in text
    assert '"success":false' in text or '"epochId"' in text


async def test_a_pending_epoch_is_refused_in_the_words_for_one_that_never_was(
    ready: Ready, http: httpx.AsyncClient
):
    calendar = EpochCalendar(ready.epoch_seconds)
    current = await running(ready, http)
    upcoming = calendar.after(calendar.after(calendar.starting(current))).epoch_id
    signer, told, now = keypair(ready, "validator-1"), [], int(time.time())
    for n, epoch_id in enumerate((upcoming, "2099-01-01T00-00-00")):
        identity = legacy(signer, signed_texts.VALIDATOR_UPLOAD_COMMITMENT, timestamp=now - 70 - n)
        body = identity | {"epochId": epoch_id}
        answer = await http.post(UPLOAD, json=body, headers={"X-Request-Id": "same"})
        told.append({k: v for k, v in answer.json().items() if k != "serverTime"})
        assert answer.status_code == 404
    assert told[0] == told[1]


async def test_the_streams_last_message_is_of_an_epoch_that_has_begun(stack: Stack, ready: Ready):
    """nats-server would send a stored message to subscribers at once, so the stream must not have it
    early."""
    async with await psycopg.AsyncConnection.connect(ready.postgres, autocommit=True) as record:
        query = "select count(*) from epochs where published_at < start_at"
        assert await (await record.execute(query)).fetchone() == (0,)
        published = "select count(*) from epochs where published_at is not null"
        row = await (await record.execute(published)).fetchone()
    assert row is not None
    assert row[0] > 0


async def test_bucket_kv_holds_the_registry_and_nothing_of_an_epoch(ready: Ready):
    """The other bucket has spent passwords, which nobody reads. The key of a service that reads the registry
    gives access to no other subject."""
    async with httpx.AsyncClient() as monitoring:
        told = (await monitoring.get(f"{ready.monitoring}/jsz", params={"streams": "true"})).json()
    streams = {
        (account["name"], stream["name"]): stream
        for account in told["account_details"]
        for stream in account.get("stream_detail", [])
    }
    own = {("STREAMS", "EPOCHS"), ("STREAMS", "SEALED"), ("STREAMS", "KV_registry")}
    assert own <= streams.keys() <= own | {("SPENT", "KV_spent_passwords")}
    # The head, and one part at each of the two places.
    assert streams["STREAMS", "KV_registry"]["state"]["num_subjects"] in {2, 3}
