"""What was refused is on record, also when it was a single request."""

import httpx
import psycopg

from tests.integration.operator_view import refused_folder, until
from tests.integration.people import ask, keypair, raw_connection
from zipcast.messages import parse_error
from zipcast.ready import Ready
from zipcast.subjects import Verb


async def recorded(ready: Ready, request_id: str) -> list[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(ready.postgres) as connection:
        rows = await connection.execute(
            "select process, error, hotkey from request_refusals where request_id = %s", [request_id]
        )
        return await rows.fetchall()


async def test_a_lone_refusal_of_the_bridge_is_written(ready: Ready, http: httpx.AsyncClient):
    assert (await refused_folder(ready, http, "a-lone-refusal")).status_code == 401

    async def written() -> bool:
        return bool(await recorded(ready, "a-lone-refusal"))

    await until(written, 5)
    named = keypair(ready, "miner-1").ss58_address
    assert await recorded(ready, "a-lone-refusal") == [("bridge", "bad_signature", named)]


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
