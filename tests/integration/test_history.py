"""Tests the public history, and verifies it as a stranger does."""

import asyncio
import hashlib
import json
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from devstack.stack import Stack
from http_bridge.cached_replies import MAX_PUBLIC_READS, ReadyReplies
from http_bridge.history import History, PublicHistory
from storage.database.engine import open_engine
from tests.faults.evidence import read_stream
from tests.support.people import client
from zipcast.cli.app import app
from zipcast.cli.errors import Status
from zipcast.client.local_stack import Ready
from zipcast.clock import SystemClock
from zipcast.protocol.errors import ErrorCode, ServiceError

EPOCHS = "/api/v1/epochs"


async def some_ended(ready: Ready, http: httpx.AsyncClient, count: int = 3) -> list[dict]:
    """Wait until at least this many epochs have ended."""
    async with client(ready, "miner-8") as connected:
        async for _ in connected.epochs():
            epochs = (await http.get(EPOCHS)).json()["epochs"]
            if len(epochs) >= count:
                return epochs
    raise AssertionError("the client ended")


async def test_ended_epochs_are_told_newest_first_and_page_by_page(
    stack: Stack, ready: Ready, http: httpx.AsyncClient
):
    epochs = await some_ended(ready, http)
    ids = [epoch["epochId"] for epoch in epochs]
    assert ids == sorted(ids, reverse=True)
    first = (await http.get(EPOCHS, params={"limit": 1})).json()
    second = (await http.get(EPOCHS, params={"limit": 1, "before": first["nextBefore"]})).json()
    assert second["epochs"][0]["epochId"] < first["epochs"][0]["epochId"]
    stored = {entry.envelope.epoch_id: entry.stored_at for entry in await read_stream(stack.servers)}
    for epoch in epochs:
        late = stored[epoch["epochId"]] - datetime.fromisoformat(epoch["epochStart"])
        assert epoch["lateSeconds"] == pytest.approx(max(0.0, late.total_seconds()), abs=0.001)
    one = (await http.get(f"{EPOCHS}/{ids[0]}")).json()
    assert one.pop("success") is True
    assert one == epochs[0]


async def test_what_has_not_ended_is_not_there(ready: Ready, http: httpx.AsyncClient):
    async with client(ready, "miner-8") as connected:
        async for received in connected.epochs():
            if received.via == "push":
                break
    running = received.epoch.message.epoch_id
    headers = {"X-Request-Id": "the-same"}
    answers = [
        await http.get(f"{EPOCHS}/{epoch_id}", headers=headers)
        for epoch_id in (running, "2099-01-01T00-00-00", "2020-01-01T00-00-00")
    ]
    assert [answer.status_code for answer in answers] == [404] * 3
    assert len({answer.content for answer in answers}) == 1


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{EPOCHS}?limit=0", "malformed_request"),
        (f"{EPOCHS}?limit=101", "malformed_request"),
        (f"{EPOCHS}?limit=many", "malformed_request"),
        (f"{EPOCHS}?limit=1&limit=2", "malformed_request"),
        (f"{EPOCHS}?before=yesterday", "malformed_epoch_id"),
        (f"{EPOCHS}/soon", "malformed_epoch_id"),
    ],
)
async def test_what_is_wrong_is_named(http: httpx.AsyncClient, path: str, code: str):
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["error"]) == (400, code)


@pytest.mark.parametrize(
    ("path", "kept"),
    [("?limit=1&before={}", "max-age=5"), ("?before={}", "max-age=5"), ("/{}", "max-age=60")],
)
async def test_what_is_told_is_the_same_compressed_or_plain(
    ready: Ready, http: httpx.AsyncClient, path: str, kept: str
):
    path = EPOCHS + path.format((await some_ended(ready, http))[0]["epochId"])
    plain = await http.get(path, headers={"Accept-Encoding": "identity"})
    zipped = await http.get(path, headers={"Accept-Encoding": "gzip"})
    assert plain.json() == zipped.json()
    assert (plain.headers.get("content-encoding"), zipped.headers["content-encoding"]) == (None, "gzip")
    assert int(plain.headers["content-length"]) == len(plain.content)
    assert int(zipped.headers["content-length"]) < len(zipped.content)
    for answer in (plain, zipped):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["cache-control"] == f"public, {kept}"
        assert "etag" not in answer.headers


async def test_however_many_strangers_read_others_find_a_connection(database_url: str):
    """While the table of epochs is locked, each read keeps its connection."""
    engine, other = (open_engine(database_url, application_name="test") for _ in range(2))
    public = PublicHistory(History(engine), ReadyReplies(SystemClock()))
    async with other.connect() as locking:
        await locking.execute(text("lock table zipcast.epochs in access exclusive mode"))
        pages = [asyncio.create_task(public.page({"limit": str(limit)})) for limit in range(1, 31)]
        ones = [asyncio.create_task(public.one(f"2026-01-01T{hour:02}-00-00")) for hour in range(24)]
        refused, _ = await asyncio.wait([*pages, *ones][MAX_PUBLIC_READS:])
        async with engine.connect() as connection:
            assert (await connection.execute(text("select 1"))).scalar_one() == 1
            waiting = text(
                "select count(*) from pg_locks where not granted and database = "
                "(select oid from pg_database where datname = current_database())"
            )
            assert (await connection.execute(waiting)).scalar_one() == MAX_PUBLIC_READS
        for error in (task.exception() for task in refused):
            assert isinstance(error, ServiceError)
            assert (error.code, error.retry_after_seconds) == (ErrorCode.SERVICE_UNAVAILABLE, 2)
        await locking.rollback()
    served = await asyncio.gather(*pages[:MAX_PUBLIC_READS])
    assert all(json.loads(page.plain)["epochs"] == [] for page in served)
    await engine.dispose()
    await other.dispose()


async def test_anybody_can_verify_all_of_it_and_a_file_that_was_changed_is_found_out(
    stack: Stack, ready: Ready, http: httpx.AsyncClient, tmp_path: Path
):
    await some_ended(ready, http)
    options = ["--ready", str(stack.servers.state.ready)]

    def run(*arguments: str):
        return CliRunner().invoke(app, ["epoch", *arguments, *options], env={"COLUMNS": "300"})

    verified = await asyncio.to_thread(run, "verify", "--all")
    assert verified.exit_code == 0, verified.output
    assert (
        verified.output.count(
            "holds: signature, order, counts, beacon, seed, nonce, chain, promise; not checked: inputs"
        )
        >= 2
    )
    listed = await asyncio.to_thread(run, "list", "--json")
    kept = tmp_path / "epochs.json"
    kept.write_text(listed.stdout)
    from_file = await asyncio.to_thread(run, "verify", "--all", "--from", str(kept))
    assert from_file.exit_code == 0, from_file.output
    document = json.loads(listed.stdout)
    newest, *_, oldest = (epoch["epochId"] for epoch in document["epochs"])
    first = await asyncio.to_thread(run, "verify", "--all", "--most", "1", "--from", str(kept))
    assert (first.exit_code, first.output.split()[0], first.output.count("holds:")) == (0, newest, 1)
    last = await asyncio.to_thread(run, "verify", oldest, "--most", "1", "--from", str(kept))
    assert (last.exit_code, last.output.split()[0]) == (0, oldest)
    bent = document["epochs"][1]
    bent["proof"]["payload"] = bent["proof"]["payload"].replace(
        '"expectedListings":', '"expectedListings":1', 1
    )
    kept.write_text(json.dumps(document))
    found = await asyncio.to_thread(run, "verify", "--all", "--from", str(kept))
    assert found.exit_code == Status.NOT_VERIFIED
    assert f"{bent['epochId']}  signature: the signature does not verify" in found.output
    one = await asyncio.to_thread(run, "verify", document["epochs"][0]["epochId"])
    assert one.exit_code == 0, one.output
    assert one.output.count("\n") == 1
    assert "holds: signature, order, counts, beacon, seed, nonce, chain, promise" in one.output
    shown = await asyncio.to_thread(run, "show", document["epochs"][0]["epochId"])
    told = json.loads(shown.stdout)
    assert told["messageSha256"] == hashlib.sha256(told["proof"]["payload"].encode()).hexdigest()
