"""Tests epochs as server-sent events, against a running stack."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from tests.support.people import keypair, legacy, trust_of
from zipcast.client.local_stack import Ready
from zipcast.protocol import envelope
from zipcast.protocol.envelope import UnverifiedEnvelope, VerifiedEpoch
from zipcast.protocol.hotkeys import Keypair

pytestmark = pytest.mark.long  # waits for epochs to pass

PATH = "/api/v1/epochs/stream"
COMMITMENT = "zipcode:stream:{timestamp}"


@asynccontextmanager
async def listening(
    ready: Ready, name: str, last_event_id: str | None = None, query: dict[str, str] | None = None
) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    """Yield the events of one stream as they come. `query` is a signed query; without it, a new one is
    signed."""
    query = signed(ready, name) if query is None else query
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    async with (
        httpx.AsyncClient(base_url=ready.http, timeout=30) as http,
        http.stream("GET", PATH, params=query, headers=headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer)


def signed(ready: Ready, name: str, seconds_ago: int = 0) -> dict[str, str]:
    return legacy(keypair(ready, name), COMMITMENT, seconds_ago=seconds_ago)


async def events(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    """Yield the events of epochs. Like a browser's `onmessage`, leave out those of another type."""
    async for fields in typed_events(answer):
        if "event" not in fields:
            yield fields


async def typed_events(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            if "data" in fields:
                yield fields
            fields = {}


def verified(ready: Ready, event: dict[str, str]) -> VerifiedEpoch:
    told = json.loads(event["data"])
    signed = UnverifiedEnvelope(told["payload"].encode(), told["signer"], told["signature"], told["epochId"])
    return envelope.verify(signed, trust_of(ready))


async def test_the_running_epoch_comes_at_once_and_each_next_one_when_it_starts(ready: Ready):
    async with listening(ready, "miner-1") as stream:
        found = [await anext(stream) for _ in range(3)]
    epochs = [verified(ready, event) for event in found]
    assert not any("event" in event for event in found)  # so that `onmessage` gets them
    numbers = [int(event["id"]) for event in found]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert [one.message.previous_epoch_id for one in epochs[1:]] == [
        one.message.epoch_id for one in epochs[:-1]
    ]


async def test_who_comes_back_is_told_what_was_missed(ready: Ready):
    async with listening(ready, "miner-2") as stream:
        first, second = await anext(stream), await anext(stream)
    async with listening(ready, "miner-2", first["id"]) as stream:
        again = await anext(stream)
        following = await anext(stream)
    assert again == second
    assert int(following["id"]) == int(second["id"]) + 1


async def test_long_ago_is_read_from_the_record_and_an_unknown_id_is_told_what_runs(ready: Ready):
    async with listening(ready, "miner-3") as stream:
        newest = int((await anext(stream))["id"])
    async with listening(ready, "miner-3", "0") as stream:
        async with asyncio.timeout(60):
            found = [int((await anext(stream))["id"]) for _ in range(newest)]
    assert found == list(range(1, newest + 1))
    async with listening(ready, "miner-3", str(10**17)) as stream:
        assert int((await anext(stream))["id"]) >= newest


async def test_of_more_than_three_streams_of_a_hotkey_the_one_signed_first_ends(
    ready: Ready, http: httpx.AsyncClient
):
    async with AsyncExitStack() as held:

        async def opened(query: dict[str, str]) -> AsyncIterator[dict[str, str]]:
            stream = await held.enter_async_context(listening(ready, "miner-4", query=query))
            await anext(stream)
            return stream

        overheard = [signed(ready, "miner-4", seconds_ago) for seconds_ago in (200, 100, 50)]
        streams = [await opened(query) for query in overheard]
        repeated = await http.get(PATH, params=overheard[0])
        assert (repeated.status_code, repeated.json()["error"]) == (429, "rate_limited")
        fresh = await opened(signed(ready, "miner-4"))
        async with asyncio.timeout(60):
            async for _ in streams[0]:
                pass  # the reply ends completely
        older = await http.get(PATH, params=overheard[0])
        assert (older.status_code, older.json()["error"]) == (429, "rate_limited")
        async with listening(ready, "miner-5") as other:
            await anext(other)
        for stream in (*streams[1:], fresh):
            await anext(stream)
    # The bridge notices within seconds that a client has disconnected. Then the same text opens a stream
    # again.
    for _ in range(100):
        if await has_room(ready, overheard[0]):
            return
        await asyncio.sleep(0.2)
    pytest.fail("no room again")


async def has_room(ready: Ready, query: dict[str, str]) -> bool:
    async with (
        httpx.AsyncClient(base_url=ready.http) as http,
        http.stream("GET", PATH, params=query) as answer,
    ):
        return answer.status_code == 200


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30, "٣"])
async def test_an_event_id_that_is_none_is_refused(ready: Ready, http: httpx.AsyncClient, last: str):
    query = legacy(keypair(ready, "validator-1"), COMMITMENT)
    answer = await http.get(PATH, params=query, headers={"Last-Event-ID": last.encode()})
    assert (answer.status_code, answer.json()["error"]) == (400, "malformed_request")


async def test_strangers_and_other_commitments_hear_nothing(ready: Ready, http: httpx.AsyncClient):
    stranger = await http.get(PATH, params=legacy(Keypair.create_from_uri("//Stranger"), COMMITMENT))
    assert (stranger.status_code, stranger.json()["error"]) == (403, "not_registered")
    other = await http.get(
        PATH, params=legacy(keypair(ready, "miner-6"), "zipcode:assignment:current:{timestamp}")
    )
    assert (other.status_code, other.json()["error"]) == (401, "bad_signature")
