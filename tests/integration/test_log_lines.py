"""Tests the logs of a running stack: they are JSON lines with one id through all processes, and without
signatures."""

import re

import httpx
import psycopg

from devstack.stack import Stack
from tests.support.operator_view import PROCESSES, granted_folder, log_lines, only_line, until
from tests.support.people import keypair, legacy
from zipcast.client.local_stack import Ready

REQUEST_ID = "a-request_of-test-log-lines-1"


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
    assert answer.json()["error"] == "epoch_not_found"
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
