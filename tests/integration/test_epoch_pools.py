"""Tests the pools of revealed epochs over NATS and HTTP, and that all clients get the same bytes."""

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from devstack.stack import Stack
from tests.support.current_requests import CURRENT, current_query
from tests.support.people import ask, client, keypair, legacy, raw_connection, trust_of
from zipcast.cli.app import app
from zipcast.client.local_stack import Ready
from zipcast.protocol import btauth
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import parse_error
from zipcast.protocol.messages.pools import EpochPool, EpochPoolReply
from zipcast.protocol.verbs import Verb
from zipcast.verification.epochs import CHECKS, Evidence, verify_epochs

EPOCHS = "/api/v1/epochs"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def revealed(stack: Stack) -> tuple[str, EpochPool]:
    """Return an epoch that ran a moment ago and is revealed, with its pool. The previous epoch promised its
    round. The stack's first epochs have drafts, so `epoch verify` calls them "weak"."""
    async with client(stack.ready, "validator-1") as connected:
        epoch_id: str | None = None
        async for received in connected.epochs():
            try:
                if epoch_id is not None:
                    return epoch_id, await connected.pool(epoch_id)
            except ServiceError as error:
                assert error.code is ErrorCode.NOT_YET_REVEALED
            if epoch_id is None and received.epoch.message.draft is None:
                epoch_id = received.epoch.message.epoch_id
    raise AssertionError("the client ended")


async def over_http(ready: Ready, http: httpx.AsyncClient, name: str, target: str) -> httpx.Response:
    headers = btauth.sign(
        keypair(ready, name),
        method="GET",
        path=target,
        body=b"",
        receiver=ready.signer,
        nonce_ns=time.time_ns(),
    )
    return await http.get(target, headers=headers)


@pytest.mark.long
async def test_a_validator_checks_everything_of_an_epoch_that_is_revealed(ready: Ready, revealed):
    epoch_id, pool = revealed
    assert len(pool.candidates) > 4000
    async with client(ready, "validator-1") as connected:
        envelope = await connected.epoch(epoch_id)
        before = json.loads(envelope.payload)["previousEpochId"]
        evidence = [Evidence(epoch_id, envelope, None, pool)]
        if before is not None:
            evidence.append(Evidence(before, await connected.epoch(before), None))
    finding = verify_epochs(evidence, trust_of(ready))[-1]
    assert finding.faults == ()
    assert {"pool", "selection", "honeypots", "seed", "nonce"} <= set(finding.checked)


@pytest.mark.long
async def test_both_doors_give_the_same_pages_which_fit_a_message(
    ready: Ready, http: httpx.AsyncClient, revealed
):
    epoch_id, pool = revealed
    signer = keypair(ready, "validator-1")
    connection = await raw_connection(ready, signer)
    pages: list[EpochPoolReply] = []
    while not pages or pages[-1].next_after is not None:
        after = pages[-1].next_after if pages else None
        body = json.dumps({"epochId": epoch_id} | ({"after": after} if after else {})).encode()
        direct = await ask(ready, connection, signer, Verb.EPOCH_POOL, body)
        target = f"{EPOCHS}/{epoch_id}/pool" + (f"?after={after}" if after else "")
        answer = await over_http(ready, http, "validator-1", target)
        assert answer.status_code == 200, answer.text
        pages.append(EpochPoolReply.model_validate_json(direct.data))
        assert EpochPoolReply.model_validate_json(answer.content) == pages[-1]
        assert len(direct.data) < 200_000
    await connection.close()
    assert len(pages) > 1
    assert EpochPool.of(pages) == pool
    rows = [row.zipcode for row in pool.candidates]
    assert rows == sorted(set(rows))


@pytest.mark.parametrize(
    ("name", "path", "code"),
    [
        ("miner-1", "2020-01-01T00-00-00/pool", "validator_required"),
        ("validator-1", "2020-01-01T00-00-00/pool", "epoch_not_found"),
        ("validator-1", "2099-01-01T00-00-00/pool", "epoch_not_found"),
        ("validator-1", "soon/pool", "malformed_epoch_id"),
        ("validator-1", "2020-01-01T00-00-00/pool?after=1910", "malformed_request"),
        ("validator-1", "2020-01-01T00-00-00/pool?after=19104&after=19105", "malformed_request"),
    ],
)
async def test_what_is_wrong_is_named(ready: Ready, http: httpx.AsyncClient, name, path, code):
    answer = await over_http(ready, http, name, f"{EPOCHS}/{path}")
    assert answer.json()["error"] == code


async def test_a_pool_needs_btauth(ready: Ready, http: httpx.AsyncClient):
    query = legacy(keypair(ready, "validator-1"), "zipcode:validation:2020-01-01T00-00-00:{timestamp}")
    answer = await http.get(f"{EPOCHS}/2020-01-01T00-00-00/pool", params=query)
    assert (answer.status_code, answer.json()["error"]) == (401, "malformed_auth")


async def test_a_running_epoch_s_pool_is_not_told_at_either_door(ready: Ready, http: httpx.AsyncClient):
    signer = keypair(ready, "validator-1")
    connection = await raw_connection(ready, signer)
    current = (await http.get(CURRENT, params=current_query(signer))).json()["epochId"]
    body = json.dumps({"epochId": current}).encode()
    direct = await ask(ready, connection, signer, Verb.EPOCH_POOL, body)
    answer = await over_http(ready, http, "validator-1", f"{EPOCHS}/{current}/pool")
    await connection.close()
    assert parse_error(direct.data).code is ErrorCode.NOT_YET_REVEALED
    assert (answer.status_code, answer.json()["error"]) == (409, "not_yet_revealed")


@pytest.mark.long
async def test_everybody_has_the_same_bytes(ready: Ready, http: httpx.AsyncClient):
    """Two subscribers and two requests, over NATS and HTTP, get the same bytes."""
    async with client(ready, "miner-1") as one, client(ready, "validator-1") as other:
        pushed = {}
        for connected in (one, other):
            async for received in connected.epochs():
                if received.via == "push":
                    pushed.setdefault(received.epoch.message.epoch_id, []).append(received.epoch.envelope)
                if len(pushed.get(received.epoch.message.epoch_id, [])) == 2 or (connected is one and pushed):
                    break
        epoch_id, (first, second) = next((e, both) for e, both in pushed.items() if len(both) == 2)
        asked = [await one.epoch(epoch_id), await other.epoch(epoch_id)]
        running = await one.current()
    assert first == second == asked[0] == asked[1]
    if running.message.epoch_id == epoch_id:
        assert running.envelope == first
    current = (await http.get(CURRENT, params=current_query(keypair(ready, "miner-2")))).json()
    if current["epochId"] == epoch_id:
        assert current["proof"]["payload"].encode() == first.payload
        assert current["proof"]["signature"] == first.signature
    for _ in range(200):
        told = await http.get(f"{EPOCHS}/{epoch_id}")
        if told.status_code == 200:
            break
        await asyncio.sleep(0.1)
    assert told.json()["proof"]["payload"].encode() == first.payload


@pytest.mark.long
async def test_the_command_checks_by_the_rights_of_its_wallet(
    stack: Stack, ready: Ready, revealed, tmp_path: Path
):
    epoch_id, _ = revealed
    kept = tmp_path / "epochs.json"
    options = ["--ready", str(stack.servers.state.ready)]
    validator, miner = ["--wallet", "validator-1"], ["--wallet", "miner-1"]

    async def run(*arguments: str):
        return await asyncio.to_thread(
            CliRunner().invoke, app, ["epoch", *arguments, *options], env={"COLUMNS": "300"}
        )

    for source in (["--from", "nats"], ["--from", "http"]):
        full = await run("verify", epoch_id, *source, *validator)
        assert full.exit_code == 0, full.output
        assert f"{epoch_id}  holds: " in full.output
        told = full.output.partition("holds: ")[2].partition(";")[0].strip()
        assert set(told.split(", ")) >= {"seed", "nonce", "pool", "selection", "honeypots"}
        public = await run("verify", epoch_id, *source, *miner)
        assert public.exit_code == 0, public.output
        assert "not checked: " in public.output
        assert "selection" in public.output.partition("not checked: ")[2]
    exported = await run("export", str(kept), epoch_id, "--from", "nats", *validator)
    assert exported.exit_code == 0, exported.output
    again = await run("verify", "--all", "--from", str(kept))
    assert again.exit_code == 0, again.output
    assert "selection, honeypots" in again.output
    assert set(CHECKS) >= {"inputs", "history"}
