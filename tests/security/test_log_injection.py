"""Tests that each line of our logs stays one JSON object with our fields, whatever a stranger sends."""

import asyncio
import json

import httpx
import pytest

from devstack.stack import Stack
from tests.support.folder_access import PATH, asked
from tests.support.operator_view import PROCESSES, log_lines
from tests.support.people import ask, keypair, legacy, raw_connection
from tests.support.raw_http import all_said, http_request
from tests.support.raw_nats import raw_nats
from zipcast.client.local_stack import Ready
from zipcast.protocol import signed_texts
from zipcast.protocol.verbs import Verb

FORGED = '{"at": "x", "level": "error", "process": "responder", "action": "injected_line"}'
TEXTS = {
    "a line": f"x\n{FORGED}\n",
    "carriage returns": f"x\r\n{FORGED}\r\n",
    "Unicode line ends": f"x\u2028{FORGED}\u2029{FORGED}\x85{FORGED}",
    "ANSI": "\x1b[2J\x1b[31minjected_line\x1b]0;title\x07",
    "an end of the string": f'x"}}\n{FORGED}',
    "JSON": FORGED,
    "format": "%s%n{0}{action}${jndi:ldap://x/injected_line}",
    "a NUL": f"\x00{FORGED}",
}


def in_path(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


@pytest.mark.parametrize("how", TEXTS)
async def test_every_line_stays_ours(ready: Ready, stack: Stack, http: httpx.AsyncClient, how: str):
    text = TEXTS[how]
    for field in ("hotkey", "signature", "timestamp", "coldkey", "expiry", "purpose", text):
        await http.post(PATH, content=json.dumps(asked(ready, "miner-8") | {field: text}).encode())
    body = legacy(keypair(ready, "validator-1"), signed_texts.VALIDATOR_UPLOAD_COMMITMENT)
    for field in ("epochId", "purpose", "estimatedDataSizeMb", "hotkey"):
        content = json.dumps(body | {"epochId": "2020-01-01T00-00-00"} | {field: text}).encode()
        await http.post("/api/v1/s3-access/validator-upload", content=content)
    await http.get("/api/v1/zipcode-assignments/current", params={"hotkey": text, text: text})
    await http.get(f"/{in_path(text)}?{in_path(text)}")
    plain = text.replace("\r", " ").replace("\n", " ").encode("ascii", "replace").decode()
    for name in ("X_Request_Id", "X_Bittensor_Hotkey", "User_Agent", "Referer", "X_Forwarded_For", "Host"):
        for value in (text.encode("utf-8").decode("latin-1"), plain, in_path(text)):
            await all_said(ready, http_request("POST", PATH, b"{}", **{name: value}))
    await over_nats(ready, text)
    for process in PROCESSES:
        raw = (stack.servers.state.logs / f"{process}.log").read_bytes()
        assert b"\x1b" not in raw
        assert b"\x00" not in raw
        for line in log_lines(stack, process):  # each line is a JSON object; otherwise this raises
            assert line["process"] == process
            assert line["action"] != "injected_line"


async def over_nats(ready: Ready, text: str) -> None:
    signer = keypair(ready, "miner-8")
    connection = await raw_connection(ready, signer)
    for body in ({"epochId": text}, {text: text}, {"epochId": [text]}):
        await ask(ready, connection, signer, Verb.S3_MINER_UPLOAD, json.dumps(body).encode())
    plain = text.replace("\r", " ").replace("\n", " ").replace("\x00", " ")
    for name in ("Zipcast-Request-Id", "correlation_id", "X-Bittensor-Hotkey", "content-type", "reply_to"):
        changed = {"headers": {name: plain}}
        await ask(ready, connection, signer, Verb.EPOCH_CURRENT, b"{}", **changed)
    await connection.close()
    async with raw_nats(ready) as raw:
        refused = await raw.connect_as(auth_token=text, name=text, lang=text, version=text, sig=text)
        assert b"PONG" not in refused
    async with raw_nats(ready) as raw:
        proof = raw.proof(ready, signer)
        assert b"PONG" in await raw.connect_as(**proof, name=text, lang=text, version=text)


async def test_a_path_is_logged_no_longer_than_it_needs_to_be(ready: Ready, stack: Stack):
    await all_said(ready, http_request("GET", "/" + "a" * 9000))
    await asyncio.sleep(0)
    assert all(len(json.dumps(line)) < 8192 for line in log_lines(stack, "http_bridge"))
