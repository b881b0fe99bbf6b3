"""Tests that each signed endpoint refuses requests as its description says: status, headers and body of each
error."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.support.fakes import SIGNER_HOTKEY
from tests.support.people import keypair, legacy
from zipcast.client.local_stack import Ready
from zipcast.protocol import btauth
from zipcast.protocol.errors import ERRORS, ErrorCode
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.verbs import ADMIN_VERBS, VERBS

STRANGER = Keypair.create_from_uri("//Stranger")
UNKNOWN_EPOCH = "2000-01-01T00-00-00"
OPERATIONS = {(one.http.method, one.http.path): one for one in VERBS.values() if one.http is not None}
SIGNED = sorted(OPERATIONS)
STALE_SECONDS = 3_600


def refusals(ready: Ready, method: str, path: str) -> Iterator[tuple[ErrorCode, dict[str, str], bytes]]:
    """Return, for each error, headers and a body that cause it."""

    def signed(signer: Keypair, receiver: str = ready.signer, ago: int = 0) -> dict[str, str]:
        nonce = time.time_ns() - ago * 10**9
        return btauth.sign(signer, method=method, path=path, body=b"{}", receiver=receiver, nonce_ns=nonce)

    miner = keypair(ready, "miner-1")
    stranger_is = OPERATIONS[method, _pattern(path)].errors & {
        ErrorCode.NOT_REGISTERED,
        ErrorCode.ADMIN_REQUIRED,
    }
    yield next(iter(stranger_is)), signed(STRANGER), b"{}"
    yield ErrorCode.STALE_REQUEST, signed(miner, ago=STALE_SECONDS), b"{}"
    yield ErrorCode.WRONG_RECEIVER, signed(miner, receiver=SIGNER_HOTKEY), b"{}"
    yield ErrorCode.BAD_SIGNATURE, signed(miner), b"{ }"
    yield ErrorCode.MALFORMED_HOTKEY, signed(miner) | {btauth.HEADER_HOTKEY: "nobody"}, b"{}"
    yield ErrorCode.MALFORMED_AUTH, signed(miner) | {btauth.HEADER_VERSION: "2"}, b"{}"
    yield ErrorCode.MALFORMED_REQUEST, {btauth.HEADER_HOTKEY: "x" * 600}, b"{}"
    yield ErrorCode.PAYLOAD_TOO_LARGE, {}, b" " * (max(one.max_body_bytes for one in VERBS.values()) + 1)


def _pattern(path: str) -> str:
    return path.replace(UNKNOWN_EPOCH, "{epoch_id}")


@pytest.mark.parametrize(("method", "pattern"), SIGNED)
async def test_an_endpoint_refuses_its_sender_as_described(
    http: httpx.AsyncClient, ready: Ready, method: str, pattern: str
):
    described = (await http.get("/openapi.json")).json()
    path = pattern.replace("{epoch_id}", UNKNOWN_EPOCH)
    for code, headers, body in refusals(ready, method, path):
        answer = await http.request(method, path, headers=headers, content=body)
        require(answer, code, described, pattern)


def require(answer: httpx.Response, code: ErrorCode, described: dict[str, Any], pattern: str) -> None:
    told = answer.json()
    assert (answer.status_code, told["error"]) == (ERRORS[code].status, code), (pattern, told)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == ERRORS[code].retryable
    method = answer.request.method.lower()
    response = described["paths"][pattern][method]["responses"][str(answer.status_code)]
    schema = response["content"]["application/json"]["schema"] | {"components": described["components"]}
    Draft202012Validator(schema).validate(told)


@pytest.mark.parametrize(
    ("method", "pattern"), [key for key in SIGNED if "validator_required" in OPERATIONS[key].errors]
)
async def test_a_miner_is_told_that_a_validator_is_required(
    http: httpx.AsyncClient, ready: Ready, method: str, pattern: str
):
    described = (await http.get("/openapi.json")).json()
    path = pattern.replace("{epoch_id}", UNKNOWN_EPOCH)
    headers = btauth.sign(
        keypair(ready, "miner-1"),
        method=method,
        path=path,
        body=b"{}",
        receiver=ready.signer,
        nonce_ns=time.time_ns(),
    )
    answer = await http.request(method, path, headers=headers, content=b"{}")
    require(answer, ErrorCode.VALIDATOR_REQUIRED, described, pattern)


@pytest.mark.parametrize(("method", "pattern"), [key for key in SIGNED if OPERATIONS[key].commitments])
async def test_a_legacy_commitment_is_refused_as_described(
    http: httpx.AsyncClient, ready: Ready, method: str, pattern: str
):
    """The identity is signed by the right hotkey, but for the text of another endpoint, or long ago."""
    described = (await http.get("/openapi.json")).json()
    path, miner = pattern.replace("{epoch_id}", UNKNOWN_EPOCH), keypair(ready, "miner-1")
    own = {"epochId": UNKNOWN_EPOCH, "coldkey": miner.ss58_address, "miner_hotkey": miner.ss58_address}
    wrong = legacy(miner, "something else {timestamp}")
    old = legacy(miner, "something else {timestamp}", seconds_ago=STALE_SECONDS)
    cases = {
        ErrorCode.BAD_SIGNATURE: wrong,
        ErrorCode.STALE_REQUEST: old,
        ErrorCode.MALFORMED_HOTKEY: wrong | {"hotkey": "nobody"},
        ErrorCode.MALFORMED_AUTH: wrong | {"signature": "12"},
        ErrorCode.MALFORMED_REQUEST: wrong | {"timestamp": "soon"},
    }
    for code, identity in cases.items():
        if method == "GET":
            answer = await http.get(path, params=identity)
        else:
            answer = await http.post(path, json=identity | own)
        require(answer, code, described, pattern)


async def test_admin_requests_take_no_legacy_commitment(http: httpx.AsyncClient, ready: Ready):
    described = (await http.get("/openapi.json")).json()
    for verb in sorted(ADMIN_VERBS):
        pattern = f"/api/v1/admin/{verb}"
        answer = await http.post(pattern, json=legacy(keypair(ready, "miner-1"), "{timestamp}"))
        require(answer, ErrorCode.MALFORMED_AUTH, described, pattern)
