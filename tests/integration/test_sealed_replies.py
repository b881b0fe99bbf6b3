"""Tests how clients get a sealed epoch and its round: over HTTP, as an event, and over NATS."""

import httpx
import pytest

from tests.support.operator_view import until
from tests.support.people import ask, client, keypair, legacy, raw_connection, trust_of
from zipcast.client.local_stack import Ready
from zipcast.client.relays import BRIDGE_PATH, Relays
from zipcast.protocol.beacon import LOCAL_CHAIN
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.messages.epochs import SealedEpochReply
from zipcast.protocol.sealing import SealedEpoch, open_sealed, verify_sealed
from zipcast.protocol.subjects import SEALED
from zipcast.protocol.verbs import Verb

PATH = "/api/v1/epochs/sealed"
COMMITMENT = "zipcode:sealed:{timestamp}"


def sealed_in(body: bytes, ready: Ready) -> SealedEpoch:
    reply = SealedEpochReply.model_validate_json(body)
    sealed = verify_sealed(reply.sealed.to_bytes(), trust_of(ready))
    assert sealed.epoch_id == reply.epoch_id
    return sealed


async def sealed_over_http(ready: Ready, http: httpx.AsyncClient, name: str) -> SealedEpoch:
    answer = await http.get(PATH, params=legacy(keypair(ready, name), COMMITMENT))
    assert answer.status_code == 200, answer.text
    return sealed_in(answer.content, ready)


async def round_at_the_bridge(ready: Ready, sealed: SealedEpoch) -> str:
    """Request the round from the bridge until it has it, like a client."""
    relays = Relays((ready.http + BRIDGE_PATH,), LOCAL_CHAIN)
    found: list[bytes] = []

    async def has_it() -> bool:
        signature = await relays.signature(sealed.round_number)
        found.extend([] if signature is None else [signature])
        return bool(found)

    await until(has_it)
    return found[0].hex()


async def test_the_bridge_has_the_sealed_epoch_and_at_its_start_the_round_that_opens_it(
    ready: Ready, http: httpx.AsyncClient
):
    sealed = await sealed_over_http(ready, http, "miner-2")
    signature = await round_at_the_bridge(ready, sealed)
    opened = open_sealed(sealed, signature, trust_of(ready))
    async with client(ready, "miner-2") as miner:
        async for received in miner.epochs():
            if received.epoch.message.epoch_id >= sealed.epoch_id:
                break
        assert opened.envelope == await miner.epoch(sealed.epoch_id)


@pytest.mark.parametrize("number", ["1", "0", "-1", "x", "9" * 40, "5388246750000"])
async def test_the_bridge_has_no_other_round(http: httpx.AsyncClient, number: str):
    answer = await http.get(f"{BRIDGE_PATH}/{number}")
    assert (answer.status_code, answer.json()["error"]) == (404, "round_not_published")


async def test_a_stranger_gets_no_sealed_epoch(http: httpx.AsyncClient):
    stranger = await http.get(PATH, params=legacy(Keypair.create_from_uri("//Stranger"), COMMITMENT))
    assert (stranger.status_code, stranger.json()["error"]) == (403, "not_registered")


async def test_the_responder_and_the_subject_have_the_same_sealed_epoch(ready: Ready):
    signer = keypair(ready, "miner-2")
    connection = await raw_connection(ready, signer)
    subscription = await connection.subscribe(SEALED)
    pushed = verify_sealed((await subscription.next_msg(30)).data, trust_of(ready))
    replied: list[SealedEpoch] = []

    async def replies() -> bool:
        answer = await ask(ready, connection, signer, Verb.EPOCH_SEALED, b"{}")
        replied.append(sealed_in(answer.data, ready))
        return replied[-1].epoch_id >= pushed.epoch_id

    await until(replies)
    assert replied[-1] == pushed
    await connection.close()


async def test_an_event_of_its_own_type_has_the_sealed_epoch(ready: Ready):
    query = legacy(keypair(ready, "miner-3"), "zipcode:stream:{timestamp}")
    async with (
        httpx.AsyncClient(base_url=ready.http, timeout=30) as http,
        http.stream("GET", "/api/v1/epochs/stream", params=query) as answer,
    ):
        lines = answer.aiter_lines()
        async for line in lines:
            if line == "event: sealed":
                break
        data = (await anext(lines)).removeprefix("data: ")
        assert await anext(lines) == ""
    sealed = verify_sealed(data.encode(), trust_of(ready))
    assert sealed.epoch_id > ""
