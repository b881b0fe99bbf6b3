"""Tests the operator's NATS login: it sees servers, streams and endpoints, and can change nothing."""

import json
from collections.abc import AsyncIterator

import nats
import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client

from devstack.stack import Stack
from tests.support.processes import wait_until
from zipcast.protocol.subjects import EPOCH, EPOCH_INGEST, EPOCH_STREAM, requests
from zipcast.protocol.verbs import Verb


@pytest_asyncio.fixture(loop_scope="session")
async def operator(stack: Stack) -> AsyncIterator[Client]:
    seed = stack.servers.state.keys_of("operator")["OPERATOR_NATS_SEED"]
    refused: list[Exception] = []

    async def on_error(error: Exception) -> None:
        refused.append(error)

    connection = await nats.connect(stack.ready.nats, nkeys_seed_str=seed, error_cb=on_error)
    connection.refused = refused  # type: ignore[attr-defined]
    yield connection
    await connection.close()


async def asked(operator: Client, subject: str) -> dict:
    return json.loads((await operator.request(subject, b"", timeout=5)).data)


async def test_the_tool_lists_the_endpoints_of_the_responder(operator: Client):
    assert (await asked(operator, "$SRV.PING"))["type"] == "io.nats.micro.v1.ping_response"
    info = await asked(operator, "$SRV.INFO.zipcast-responder")
    subjects = {endpoint["subject"] for endpoint in info["endpoints"]}
    assert subjects == {requests(verb) for verb in Verb}
    assert info["type"] == "io.nats.micro.v1.info_response"
    alone = await asked(operator, f"$SRV.STATS.zipcast-responder.{info['id']}")
    assert alone["id"] == info["id"]
    assert {endpoint["name"] for endpoint in alone["endpoints"]} == {e["name"] for e in info["endpoints"]}


async def test_it_reads_streams_and_the_state_of_servers(operator: Client):
    assert (await asked(operator, f"$JS.API.STREAM.INFO.{EPOCH_STREAM}"))["state"]["messages"] > 0
    names = (await asked(operator, "$JS.API.STREAM.NAMES"))["streams"]
    assert {EPOCH_STREAM, "KV_registry"} <= set(names)
    assert (await asked(operator, "$SYS.REQ.SERVER.PING.VARZ"))["data"]["server_id"]


@pytest.mark.parametrize(
    "subject",
    [
        EPOCH,
        EPOCH_INGEST,
        "$KV.registry.snapshot",
        f"$JS.API.STREAM.DELETE.{EPOCH_STREAM}",
        f"$JS.API.STREAM.UPDATE.{EPOCH_STREAM}",
        f"$JS.API.STREAM.MSG.GET.{EPOCH_STREAM}",
        "$SYS.REQ.SERVER.N1.KICK",
        "zipcast.v1.5F.status",
    ],
)
async def test_it_may_change_nothing_and_read_no_message(operator: Client, subject: str):
    await operator.publish(subject, b"{}")
    await operator.flush()
    await wait_until(lambda: operator.refused)
    assert "permissions violation" in str(operator.refused[0]).lower()
