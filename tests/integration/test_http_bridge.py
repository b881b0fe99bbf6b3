"""Tests the bridge with the requests of legacy and new clients, against a running stack."""

import json
import time
from pathlib import Path

import httpx
import pytest

from tests.support.current_requests import CURRENT, current_query
from tests.support.people import client, keypair, legacy, trust_of
from zipcast.client.local_stack import Ready
from zipcast.client.transfers import post_file
from zipcast.protocol import btauth, envelope
from zipcast.protocol.envelope import UnverifiedEnvelope
from zipcast.protocol.hotkeys import Keypair

VALIDATOR_UPLOAD = "/api/v1/s3-access/validator-upload"


@pytest.mark.parametrize("prefix", ["", "0x"])
@pytest.mark.parametrize("wrap", [False, True])
async def test_current_answers_a_legacy_client_with_a_proof_it_can_verify(
    ready: Ready, http: httpx.AsyncClient, prefix: str, wrap: bool
):
    query = current_query(keypair(ready, "miner-1"), wrap=wrap)
    query["signature"] = prefix + query["signature"]
    answer = await http.get(CURRENT, params=query)
    body = answer.json()
    assert answer.status_code == 200
    assert body["success"] is True
    assert answer.headers["cache-control"] == "private"
    proof = body["proof"]
    signed = UnverifiedEnvelope(
        proof["payload"].encode(), proof["signer"], proof["signature"], body["epochId"]
    )
    message = envelope.verify(signed, trust_of(ready)).message
    assert message.nonce == body["nonce"]
    assert [z.zipcode for z in message.zipcodes] == [z["zipcode"] for z in body["zipcodes"]]
    assert body["submissionDeadline"] == body["epochEnd"]
    assert body["assignments"] == []


async def test_current_answers_304_only_to_those_who_may_see_it(ready: Ready, http: httpx.AsyncClient):
    query = current_query(keypair(ready, "miner-1"))
    etag = (await http.get(CURRENT, params=query)).headers["etag"]
    seen = {"If-None-Match": etag}
    again = await http.get(CURRENT, params=query, headers=seen)
    stranger = await http.get(CURRENT, params=query | {"signature": "00" * 64}, headers=seen)
    # A new epoch may have begun between the two requests. Then the reply is not 304 but the new epoch.
    assert again.status_code == 304 or again.headers["etag"] != etag
    assert stranger.status_code == 401


async def test_current_accepts_btauth_headers(ready: Ready, http: httpx.AsyncClient):
    signer = keypair(ready, "miner-2")
    headers = btauth.sign(
        signer, method="GET", path=CURRENT, body=b"", receiver=ready.signer, nonce_ns=time.time_ns()
    )
    assert (await http.get(CURRENT, headers=headers)).status_code == 200
    other_path = await http.get(CURRENT, params={"x": "1"}, headers=headers)
    assert other_path.json()["error"] == "bad_signature"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"signature": "00" * 64}, 401, "bad_signature"),
        ({"signature": "zz"}, 401, "malformed_auth"),
        ({"timestamp": "yesterday"}, 400, "malformed_request"),
        ({"timestamp": "١٢٣"}, 400, "malformed_request"),
        ({"hotkey": "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"}, 400, "malformed_hotkey"),
        ({"hotkey": "not one"}, 400, "malformed_hotkey"),
        ({"hotkey": None}, 400, "malformed_request"),
    ],
)
async def test_current_names_what_is_wrong(
    ready: Ready, http: httpx.AsyncClient, change: dict, status: int, code: str
):
    query = {**current_query(keypair(ready, "miner-1")), **change}
    answer = await http.get(CURRENT, params={k: v for k, v in query.items() if v is not None})
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, code)
    assert body["success"] is False
    assert body["code"] == status
    assert body["detail"] == body["message"]
    assert answer.headers["cache-control"] == "no-store"


async def test_an_unknown_hotkey_and_an_old_timestamp_have_their_own_codes(
    ready: Ready, http: httpx.AsyncClient
):
    stranger = await http.get(CURRENT, params=current_query(Keypair.create_from_uri("//Stranger")))
    assert (stranger.status_code, stranger.json()["error"]) == (403, "not_registered")
    late = await http.get(CURRENT, params=current_query(keypair(ready, "miner-1"), seconds_ago=400))
    assert (late.status_code, late.json()["error"]) == (401, "stale_request")
    assert late.json()["serverTime"] == pytest.approx(time.time(), abs=60)


async def running_epoch_id(ready: Ready) -> str:
    async with client(ready, "validator-1") as connected:
        return (await connected.current()).message.epoch_id


async def test_a_legacy_validator_uploads_through_its_form(
    ready: Ready, http: httpx.AsyncClient, tmp_path: Path
):
    signer = keypair(ready, "validator-1")
    body = legacy(signer, "s3:validator:upload:{timestamp}")
    body |= {"timestamp": int(body["timestamp"]), "epochId": await running_epoch_id(ready), "purpose": "x"}  # type: ignore[dict-item]
    answer = await http.post(VALIDATOR_UPLOAD, json=body)
    issued = answer.json()
    assert answer.status_code == 200
    assert issued["fields"]["key"].endswith("${filename}")
    assert issued["s3Credentials"]["prefix"] == issued["metadata"]["folderPath"]
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"score": 1}))
    assert await post_file(issued["uploadUrl"], issued["fields"], "audit/results.json", file)


@pytest.mark.parametrize(
    ("who", "change", "status", "code"),
    [
        ("miner-1", {}, 403, "validator_required"),
        ("validator-1", {"epochId": "tomorrow"}, 400, "malformed_epoch_id"),
        ("validator-1", {"epochId": "2020-01-01T00-00-00"}, 404, "epoch_not_found"),
        ("validator-1", {"epochId": 5}, 400, "malformed_request"),
        ("validator-1", {"signature": "00" * 64}, 401, "bad_signature"),
    ],
)
async def test_validator_upload_names_what_is_wrong(
    ready: Ready, http: httpx.AsyncClient, who: str, change: dict, status: int, code: str
):
    body = legacy(keypair(ready, who), "s3:validator:upload:{timestamp}") | {"epochId": "x"} | change
    answer = await http.post(VALIDATOR_UPLOAD, json=body)
    assert (answer.status_code, answer.json()["error"]) == (status, code)


@pytest.mark.parametrize("content", [b"{", b"[]", b'"text"', b"\xff", b"null"])
async def test_a_body_that_is_no_object_is_a_clear_400(http: httpx.AsyncClient, content: bytes):
    answer = await http.post(VALIDATOR_UPLOAD, content=content)
    assert (answer.status_code, answer.json()["error"]) == (400, "malformed_request")


@pytest.mark.parametrize(("method", "path"), [("POST", VALIDATOR_UPLOAD), ("GET", CURRENT)])
async def test_who_says_nothing_of_himself_is_told_what_to_send(
    http: httpx.AsyncClient, method: str, path: str
):
    answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["error"]) == (401, "malformed_auth")
    assert "send hotkey, timestamp and signature" in answer.json()["detail"]


async def test_a_body_too_large_is_refused(http: httpx.AsyncClient):
    answer = await http.post(VALIDATOR_UPLOAD, content=b"{" + b" " * 1_000_000)
    assert (answer.status_code, answer.json()["error"]) == (413, "payload_too_large")


async def test_what_is_not_there_has_the_one_error_shape(http: httpx.AsyncClient):
    missing = await http.get("/nothing")
    wrong_method = await http.post(CURRENT)
    assert (missing.status_code, missing.json()["error"]) == (404, "not_found")
    assert (wrong_method.status_code, wrong_method.json()["error"]) == (405, "method_not_allowed")
