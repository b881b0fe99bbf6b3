"""Tests that refused requests are stored, even single ones."""

import httpx
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from access.refusal_log import RefusalTrail
from storage.database.tables import RequestRefusal
from tests.integration.conftest import database
from tests.support.operator_view import refused_folder, until
from tests.support.people import ask, keypair, raw_connection
from tests.support.refused_requests import recorded
from zipcast.client.local_stack import Ready
from zipcast.clock import SystemClock
from zipcast.protocol.messages.base import parse_error
from zipcast.protocol.verbs import Verb

__all__ = ["database"]


async def test_a_lone_refusal_of_the_bridge_is_written(ready: Ready, http: httpx.AsyncClient):
    assert (await refused_folder(ready, http, "a-lone-refusal")).status_code == 401

    async def written() -> bool:
        return bool(await recorded(ready, "a-lone-refusal"))

    await until(written, 5)
    assert await recorded(ready, "a-lone-refusal") == [("bridge", "bad_signature", None)]


async def test_a_lone_refusal_of_the_responder_is_written(ready: Ready):
    signer = keypair(ready, "miner-7")
    connection = await raw_connection(ready, signer)
    changed = {"headers": {"Zipcast-Request-Id": "another-lone-refusal"}}
    answer = await ask(
        ready, connection, signer, Verb.S3_MINER_UPLOAD, b'{"epochId":"2020-01-01T00-00-00"}', **changed
    )
    await connection.close()
    assert parse_error(answer.data).code == "epoch_not_found"

    async def written() -> bool:
        return bool(await recorded(ready, "another-lone-refusal"))

    await until(written, 5)
    expected = [("responder", "epoch_not_found", signer.ss58_address)]
    assert await recorded(ready, "another-lone-refusal") == expected


async def test_a_row_that_cannot_be_written_holds_up_no_other(database: AsyncEngine):
    """PostgreSQL cannot store NUL in a text, and the holder of the bridge's key can send one."""
    trail = RefusalTrail("responder", database, SystemClock())
    for request_id in ("before", "nul\x00", "after"):
        trail.note(verb="v", error="e", hotkey=None, source="192.0.2.7", request_id=request_id)
    await trail.write()
    trail.note(verb="v", error="e", hotkey=None, source="192.0.2.7", request_id="later")
    await trail.write()
    async with database.connect() as connection:
        query = select(RequestRefusal.request_id).order_by(RequestRefusal.id)
        assert list((await connection.execute(query)).scalars()) == ["before", "after", "later"]
    assert trail.lost == 1
