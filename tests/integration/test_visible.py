"""What an operator sees of a running stack: metrics, health, logs, connections, and no secrets."""

import asyncio
import json
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
from tests.integration.people import ask, client, coldkey, keypair, legacy, raw_connection, signed_headers
from tests.integration.processes import wait_until
from zipcast import subjects
from zipcast.hotkeys import Keypair, parse_hotkey
from zipcast.ready import Ready
from zipcast.subjects import Verb

PROCESSES = ("schedulers", "responder", "callout", "http_bridge")
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
REQUEST_ID = "a-request_of-test-visible-1"

Internal = dict[str, httpx.AsyncClient]


@pytest_asyncio.fixture(loop_scope="session")
async def internal(ready: Ready) -> AsyncIterator[Internal]:
    """Speaks to the internal listener of each process."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(httpx.AsyncClient(base_url=url))
            for name, url in ready.internal.items()
        }


async def until(condition: Callable[[], Awaitable[bool]], timeout_seconds: float = 20) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not await condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.05)


async def samples(http: httpx.AsyncClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = (await http.get("/metrics")).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def value(http: httpx.AsyncClient, name: str, **labels: str) -> float:
    return (await samples(http)).get((name, tuple(sorted(labels.items()))), 0)


def log_lines(stack: Stack, process: str) -> list[dict[str, object]]:
    text = (stack.servers.state.logs / f"{process}.log").read_text()
    whole, _, _ = text.rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


async def only_line(stack: Stack, process: str, correlation_id: str) -> dict[str, object]:
    """The one line of that id, which is written when the reply is already out."""

    def found() -> list[dict[str, object]]:
        return [line for line in log_lines(stack, process) if line.get("correlation_id") == correlation_id]

    await wait_until(found)
    (line,) = found()
    return line


async def refused_folder(ready: Ready, http: httpx.AsyncClient, request_id: str) -> httpx.Response:
    """Folder access of a miner, forged: the bridge refuses it."""
    body = {"coldkey": coldkey(ready, "miner-1"), "hotkey": keypair(ready, "miner-1").ss58_address}
    body |= {"timestamp": str(int(time.time())), "signature": "00" * 64}
    return await http.post("/get-folder-access", json=body, headers={"X-Request-Id": request_id})


async def granted_folder(ready: Ready, http: httpx.AsyncClient, request_id: str) -> httpx.Response:
    signer, cold = keypair(ready, "miner-1"), coldkey(ready, "miner-1")
    commitment = f"s3:data:access:{cold}:{signer.ss58_address}:{{timestamp}}"
    body = legacy(signer, commitment) | {"coldkey": cold}
    return await http.post("/get-folder-access", json=body, headers={"X-Request-Id": request_id})


async def test_each_process_shows_exactly_the_metrics_that_the_page_says(internal: Internal):
    assert set(internal) == set(PROCESSES)
    rows = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("| `zipcast_")]
    for process, http in internal.items():
        families = list(text_string_to_metric_families((await http.get("/metrics")).text))
        shown = {f.name + ("_total" if f.type == "counter" else "") for f in families}
        told = {row[0].strip(" `") for row in rows if row[4].strip() == "all" or process in row[4]}
        assert {name for name in shown if name.startswith("zipcast_")} == told
        assert "process_resident_memory_bytes" in shown


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
    for more in ({}, {"X-Large": "x" * 5000}):  # the reply subject is looked at before anything else
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


async def test_one_id_follows_a_request_through_bridge_responder_and_record(
    ready: Ready, stack: Stack, http: httpx.AsyncClient
):
    answer = await granted_folder(ready, http, REQUEST_ID)
    assert answer.headers["x-request-id"] == REQUEST_ID
    for process, action in (("http_bridge", "http_request"), ("responder", "request_answered")):
        line = await only_line(stack, process, REQUEST_ID)
        assert line["action"] == action
    async with await psycopg.AsyncConnection.connect(ready.postgres) as connection:
        rows = await connection.execute(
            "select kind from credential_issuances where request_id = %s", [REQUEST_ID]
        )
        assert await rows.fetchall() == [("s3.folder-access",)]


async def test_an_error_names_its_request_also_where_the_responder_states_it(
    ready: Ready, http: httpx.AsyncClient
):
    body = legacy(keypair(ready, "validator-1"), "s3:validator:upload:{timestamp}")
    path = "/api/v1/s3-access/validator-upload"
    body |= {"epochId": "2020-01-01T00-00-00"}
    answer = await http.post(path, json=body, headers={"X-Request-Id": "an-error"})
    assert (answer.json()["error"], answer.json()["requestId"]) == ("epoch_not_found", "an-error")
    assert answer.headers["x-request-id"] == "an-error"


async def test_an_epochs_id_follows_it_through_the_processes(stack: Stack):
    async def followed() -> bool:
        published = [line for line in log_lines(stack, "schedulers") if line["action"] == "epoch_published"]
        epoch_id = published[-1]["correlation_id"]
        return all(
            any(
                (line["action"], line.get("correlation_id")) == ("epoch_held", epoch_id)
                for line in log_lines(stack, process)
            )
            for process in ("responder", "http_bridge")
        )

    await until(followed)


async def test_every_line_of_every_log_is_json_with_an_action(stack: Stack):
    for process in PROCESSES:
        lines = log_lines(stack, process)
        assert {"starting", "ready"} <= {line["action"] for line in lines}
        for line in lines:
            assert re.fullmatch(r"[a-z_]+", str(line["action"])), line
            assert line["level"] in {"info", "warning", "error"}
            assert "request_id" not in line


async def test_a_request_is_one_line_without_its_signature(
    ready: Ready, stack: Stack, http: httpx.AsyncClient
):
    query = legacy(keypair(ready, "miner-3"), "zipcode:assignment:current:{timestamp}")
    path = "/api/v1/zipcode-assignments/current"
    answer = await http.get(path, params=query, headers={"X-Request-Id": "asked-by-miner-3"})
    assert answer.status_code == 200
    line = await only_line(stack, "http_bridge", "asked-by-miner-3")
    assert line["action"] == "http_request"
    assert (line["method"], line["path"], line["status"]) == ("GET", path, 200)
    assert line["client"] == "127.0.0.1"
    assert isinstance(line["milliseconds"], float)
    for process in PROCESSES:
        assert query["signature"] not in (stack.servers.state.logs / f"{process}.log").read_text()


@pytest.mark.parametrize("path", ["/metrics", "/health", "/metrics/", "/internal/metrics"])
async def test_the_public_port_serves_nothing_internal(http: httpx.AsyncClient, path: str):
    assert (await http.get(path)).status_code == 404


async def test_each_process_tells_how_it_is(internal: Internal):
    connections = {
        "schedulers": {"schedulers"},
        "responder": {"responder", "responder-follow"},
        "callout": {"callout", "callout-follow"},
        "http_bridge": {"bridge"},
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
    users = ("schedulers", "responder", "responder-follow", "callout", "callout-follow", "bridge")
    assert {f"zipcast-{user}" for user in users} <= set(names)
    assert f"zipcast-sdk-{keypair(ready, 'miner-1').ss58_address[:8]}" in names
    assert all(name.startswith("zipcast-") for name in names), names


async def pending(connection: psycopg.AsyncConnection) -> tuple[str, set[str]] | None:
    """An epoch that is prepared and has at least a second until its start, with all that is secret of it."""
    query = """select epoch_id, nonce, seed, array(select zipcode from epoch_assignments a
               where a.epoch_id = e.epoch_id) from epochs e
               where start_at > clock_timestamp() + interval '1 second'"""
    row = await (await connection.execute(query)).fetchone()
    return None if row is None else (row[0], {row[1], row[2], *row[3]})


async def everything(internal: Internal, http: httpx.AsyncClient) -> str:
    """Whatever any process shows to anybody who asks, as one text."""
    inside = [await listener.get(path) for listener in internal.values() for path in ("/metrics", "/health")]
    stats = "/api/v1/zipcode-assignments/stats"
    outside = [await http.get(path) for path in ("/healthcheck", "/health/ready", stats)]
    return "\n".join(answer.text for answer in inside + outside)


async def test_nothing_of_an_epoch_that_has_not_started_is_shown(
    ready: Ready, stack: Stack, http: httpx.AsyncClient, internal: Internal
):
    """With five-second epochs the next one is pending for two and a half seconds."""
    async with await psycopg.AsyncConnection.connect(ready.postgres, autocommit=True) as record:
        for _ in range(100):
            found = await pending(record)
            if found is not None:
                shown = await everything(internal, http)
                logged = "".join(
                    (stack.servers.state.logs / f"{process}.log").read_text() for process in PROCESSES
                )
                waiting = await (
                    await record.execute(
                        "select start_at > clock_timestamp() from epochs where epoch_id = %s", [found[0]]
                    )
                ).fetchone()
                if waiting == (True,):
                    break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("no epoch was pending for long enough")
    _, secrets = found
    assert len(secrets) > 3
    for secret in secrets:
        assert not re.search(rf"(?<![0-9.]){secret}(?![0-9])", shown), secret
        if len(secret) == 64:
            assert secret not in logged
