"""Tests what an operator sees of a running stack: metrics, health, logs and connections, without secrets."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import psycopg
import pytest
import pytest_asyncio
from nats.errors import AuthorizationError
from prometheus_client.parser import text_string_to_metric_families

from devstack.stack import Stack
from tests.support.operator_view import (
    PROCESSES,
    Internal,
    granted_folder,
    refused_folder,
    until,
    value,
)
from tests.support.people import ask, client, keypair, raw_connection, signed_headers
from tests.support.unopened import unopened
from zipcast.client.local_stack import Ready
from zipcast.protocol import subjects
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.verbs import Verb

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest_asyncio.fixture(loop_scope="session")
async def internal(ready: Ready) -> AsyncIterator[Internal]:
    """Return HTTP clients of the internal listener of each process."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(httpx.AsyncClient(base_url=url))
            for name, url in ready.internal.items()
        }


async def test_each_process_shows_exactly_the_metrics_that_the_page_says(internal: Internal):
    assert set(internal) == set(PROCESSES)
    rows = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("| `zipcast_")]
    for process, http in internal.items():
        families = list(text_string_to_metric_families((await http.get("/metrics")).text))
        shown = {f.name + ("_total" if f.type == "counter" else "") for f in families}
        told = {row[0].strip(" `") for row in rows if row[4].strip() == "all" or process in row[4]}
        assert {name for name in shown if name.startswith("zipcast_")} == told
        assert "process_resident_memory_bytes" in shown


@pytest.mark.long
async def test_epochs_are_counted_and_their_lateness_is_measured(internal: Internal):
    schedulers = internal["schedulers"]

    async def two_more() -> bool:
        return await value(schedulers, "zipcast_epochs_published_total") >= published + 2

    published = await value(schedulers, "zipcast_epochs_published_total")
    completed = await value(schedulers, "zipcast_epochs_completed_total")
    await until(two_more)
    assert await value(schedulers, "zipcast_epochs_completed_total") > completed
    seen = await value(schedulers, "zipcast_epoch_publication_lateness_seconds_count")
    assert seen >= published + 2
    assert await value(schedulers, "zipcast_epochs_prepared_total") >= seen
    newest = await value(schedulers, "zipcast_newest_published_epoch_start_timestamp_seconds")
    assert newest % 5 == 0
    assert newest <= time.time()


async def test_a_request_over_http_is_counted_on_both_sides(
    ready: Ready, http: httpx.AsyncClient, internal: Internal
):
    bridge = {"route": "/get-folder-access", "result": "ok"}
    refused = {"route": "/get-folder-access", "result": "bad_signature"}
    responder = {"verb": "s3.folder-access", "door": "bridge", "result": "ok"}
    before = [
        await value(internal["http_bridge"], "zipcast_http_requests_total", **bridge),
        await value(internal["http_bridge"], "zipcast_http_requests_total", **refused),
        await value(internal["responder"], "zipcast_requests_total", **responder),
    ]
    assert (await granted_folder(ready, http, "x")).status_code == 200
    assert (await refused_folder(ready, http, "x")).status_code == 401
    after = [
        await value(internal["http_bridge"], "zipcast_http_requests_total", **bridge),
        await value(internal["http_bridge"], "zipcast_http_requests_total", **refused),
        await value(internal["responder"], "zipcast_requests_total", **responder),
    ]
    assert after == [count + 1 for count in before]


async def test_requests_over_nats_and_connections_are_counted(ready: Ready, internal: Internal):
    responder, callout = internal["responder"], internal["callout"]
    verb, signer = Verb.S3_MINER_UPLOAD, keypair(ready, "miner-2")
    stale = {"verb": str(verb), "door": "nats", "result": "stale_request"}
    refused = await value(responder, "zipcast_requests_total", **stale)
    dropped = await value(responder, "zipcast_hostile_replies_dropped_total")
    granted = await value(callout, "zipcast_connections_granted_total")
    connection = await raw_connection(ready, signer)
    await ask(ready, connection, signer, verb, b"{}", seconds_ago=600)
    subject = subjects.request(parse_hotkey(signer.ss58_address), verb)
    headers = signed_headers(ready, signer, subject, b"{}")
    for more in ({}, {"X-Large": "x" * 5000}):  # the reply subject is checked before everything else
        await connection.publish(subject, b"{}", reply="_INBOX.bridge.x", headers=headers | more)
    await connection.flush()
    await connection.close()

    async def counted() -> bool:
        return await value(responder, "zipcast_hostile_replies_dropped_total") == dropped + 2

    await until(counted)
    assert await value(responder, "zipcast_requests_total", **stale) == refused + 1
    assert await value(callout, "zipcast_connections_granted_total") == granted + 1


async def test_a_connection_that_is_refused_is_counted_by_its_reason(ready: Ready, internal: Internal):
    refused = await value(internal["callout"], "zipcast_connections_refused_total", reason="not_registered")
    with pytest.raises(AuthorizationError):
        await raw_connection(ready, Keypair.create_from_uri("//Nobody"))
    now = await value(internal["callout"], "zipcast_connections_refused_total", reason="not_registered")
    assert now == refused + 1


@pytest.mark.parametrize("path", ["/metrics", "/health", "/metrics/", "/internal/metrics"])
async def test_the_public_port_serves_nothing_internal(http: httpx.AsyncClient, path: str):
    assert (await http.get(path)).status_code == 404


async def test_each_process_tells_how_it_is(internal: Internal):
    connections = {
        "schedulers": {"schedulers", "schedulers-sys"},
        "responder": {"responder", "responder-follow"},
        "callout": {"callout", "callout-follow", "callout-sys"},
        "http_bridge": {"bridge", "bridge-follow"},
    }
    for process, http in internal.items():
        told = (await http.get("/health")).json()
        assert (told["process"], told["status"]) == (process, "ok")
        assert told["connections"] == dict.fromkeys(connections[process], "connected")
        assert told["uptime"] > 0
        assert told["counts"]["log_lines"] > 0
        assert set(told["lastError"] or {}) in ({"action", "at", "error"}, set())


async def test_the_bridge_shows_the_responders_counts(http: httpx.AsyncClient):
    broker = (await http.get("/healthcheck")).json()["services"]["broker"]
    assert re.fullmatch(r"[0-9]+ warnings and errors in [0-9]+ s", broker["note"])


async def test_every_connection_to_nats_has_a_name(ready: Ready):
    async with client(ready, "miner-1") as connected, httpx.AsyncClient() as monitoring:
        await connected.current()
        answer = await monitoring.get(f"{ready.monitoring}/connz", params={"limit": 1000})
    names = [connection.get("name", "") for connection in answer.json()["connections"]]
    users = (
        "schedulers",
        "responder",
        "responder-follow",
        "callout",
        "callout-follow",
        "callout-sys",
        "bridge",
        "bridge-follow",
    )
    assert {f"zipcast-{user}" for user in users} <= set(names)
    assert f"zipcast-sdk-{keypair(ready, 'miner-1').ss58_address[:8]}" in names
    assert all(name.startswith("zipcast-") for name in names), names


async def pending(connection: psycopg.AsyncConnection) -> tuple[str, set[str]] | None:
    """Return an epoch that is prepared and starts in at least a second, with all its secrets."""
    found = await unopened(connection, 1)
    return None if found is None else (found.epoch_id, {found.nonce, found.seed, *found.zipcodes})


def pages(internal: Internal, http: httpx.AsyncClient, stack: Stack) -> list[Callable[[], Awaitable[str]]]:
    """Return everything that the processes show to any client, and their logs."""

    def page(client: httpx.AsyncClient, path: str) -> Callable[[], Awaitable[str]]:
        async def read() -> str:
            return (await client.get(path)).text

        return read

    async def logs() -> str:
        return "".join((stack.servers.state.logs / f"{process}.log").read_text() for process in PROCESSES)

    inside = [page(listener, path) for listener in internal.values() for path in ("/metrics", "/health")]
    stats = "/api/v1/zipcode-assignments/stats"
    return [*inside, *(page(http, path) for path in ("/healthcheck", "/health/ready", stats)), logs]


async def test_nothing_of_an_epoch_that_has_not_started_is_shown(
    ready: Ready, stack: Stack, http: httpx.AsyncClient, internal: Internal
):
    """With five-second epochs, the next one is pending for two and a half seconds. Each page is read until a
    reading fell into this time."""
    left = pages(internal, http, stack)
    async with await psycopg.AsyncConnection.connect(ready.postgres, autocommit=True) as record:
        async with asyncio.timeout(120):
            while left:
                found = await pending(record)
                if found is None:
                    await asyncio.sleep(0.1)
                    continue
                epoch_id, secrets = found
                while left:
                    shown = await left[0]()
                    still = await unopened(record)
                    if still is None or still.epoch_id != epoch_id:
                        break
                    require_silence(secrets, shown, is_log=len(left) == 1)
                    left.pop(0)


def require_silence(secrets: set[str], shown: str, *, is_log: bool) -> None:
    """Five digits may be in a log by chance."""
    assert len(secrets) > 3
    for secret in secrets:
        if len(secret) == 64 or not is_log:
            assert not re.search(rf"(?<![0-9.]){secret}(?![0-9])", shown), secret
