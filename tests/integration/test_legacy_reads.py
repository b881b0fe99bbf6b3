"""Tests the other legacy endpoints as published clients use them: earlier epochs, status reports and
lists."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from sqlalchemy import select

from storage.database.engine import open_engine
from storage.database.tables import CredentialIssuance
from tests.support.legacy_requests import STATUS, report, submission
from tests.support.people import ask, client, keypair, legacy, raw_connection
from zipcast.client.local_stack import Ready
from zipcast.client.transfers import fetch
from zipcast.protocol import signed_texts
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.protocol.verbs import Verb
from zipcast.selection import seeds

EPOCH = "/api/v1/zipcode-assignments/epoch/"
VALIDATOR_ACCESS, MINER_ACCESS = "/get-validator-access", "/get-miner-specific-access"


def epoch_query(ready: Ready, epoch_id: str, name: str = "validator-1", **options: object) -> dict[str, str]:
    text = signed_texts.VALIDATION_COMMITMENT.replace("{epoch_id}", epoch_id)
    return legacy(keypair(ready, name), text, **options)  # type: ignore[arg-type]


async def epochs_later(ready: Ready, count: int) -> AsyncIterator[str]:
    async with client(ready, "miner-8") as connected:
        async for received in connected.epochs():
            yield received.epoch.message.epoch_id
            count -= 1
            if count < 0:
                return


async def test_a_validator_sees_the_running_epoch_and_no_seed(ready: Ready, http: httpx.AsyncClient, current):
    answer = await http.get(EPOCH + current["epochId"], params=epoch_query(ready, current["epochId"]))
    told = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "private")
    assert "honeypots" not in told
    assert told.pop("status") in {"ACTIVE", "COMPLETED"}
    assert told == current


async def test_one_epoch_after_its_end_the_seed_is_told_and_explains_the_nonce(
    ready: Ready, http: httpx.AsyncClient, current
):
    epoch_id = current["epochId"]
    async for later in epochs_later(ready, 3):
        shown = (await http.get(EPOCH + epoch_id, params=epoch_query(ready, epoch_id))).json()
        if "seed" in shown:
            assert later > epoch_id
            break
    assert shown["status"] == "COMPLETED"
    assert set(shown["honeypots"]) < {one["zipcode"] for one in shown["zipcodes"]}
    seed = bytes.fromhex(shown["seed"])
    assert seeds.seed_commitment(seed) == shown["metadata"]["seedCommitment"]
    picked = seeds.selected_zipcodes_hash((z["zipcode"], z["expectedListings"]) for z in shown["zipcodes"])
    start = int(datetime.fromisoformat(shown["epochStart"]).timestamp())
    public = (await http.get(f"/api/v1/epochs/{epoch_id}")).json()
    message = EpochMessage.model_validate_json(public["proof"]["payload"])
    draw_seed = seeds.derive_draw_seed(seed, message.used_round())
    assert seeds.derive_nonce(draw_seed, epoch_id, start, picked) == shown["nonce"]


async def test_an_epoch_to_come_is_answered_like_one_that_never_was(
    ready: Ready, http: httpx.AsyncClient, current
):
    coming = current["epochEnd"].replace(":", "-").rstrip("Z")
    answers = [
        await http.get(EPOCH + epoch_id, params=epoch_query(ready, epoch_id))
        for epoch_id in (coming, "2099-01-01T00-00-00", "2020-01-01T00-00-00")
    ]
    if datetime.now(UTC) < datetime.fromisoformat(current["epochEnd"]):
        assert answers[0].content == answers[2].content
    assert answers[1].content == answers[2].content
    assert answers[1].status_code == 404


@pytest.mark.parametrize(
    ("name", "epoch_id", "status", "code"),
    [
        ("miner-1", "2020-01-01T00-00-00", 403, "validator_required"),
        ("validator-1", "2020-01-01", 400, "malformed_epoch_id"),
        ("validator-1", "2020-01-01T00:00:00", 400, "malformed_epoch_id"),
        ("validator-1", "*", 400, "malformed_epoch_id"),
    ],
)
async def test_what_is_wrong_with_an_epoch_is_named(ready, http, name, epoch_id, status, code):
    answer = await http.get(EPOCH + epoch_id, params=epoch_query(ready, epoch_id, name))
    assert (answer.status_code, answer.json()["error"]) == (status, code)


@pytest.mark.parametrize("text", [signed_texts.STATUS_COMMITMENT, signed_texts.MINER_STATUS_COMMITMENT])
async def test_a_report_is_kept(ready: Ready, http: httpx.AsyncClient, current, text):
    name = "miner-2" if text == signed_texts.STATUS_COMMITMENT else "miner-3"
    answer = await http.post(STATUS, json=report(ready, current, name, text=text))
    told = answer.json()
    assert answer.status_code == 200, told
    assert {name: told[name] for name in ("success", "epochId", "status")} == {
        "success": True,
        "epochId": current["epochId"],
        "status": "IN_PROGRESS",
    }
    assert told["timestamp"].endswith("Z")
    kept = await submission(ready, name, current["epochId"])
    assert (kept.status, kept.listings_scraped) == ("IN_PROGRESS", 12)
    assert kept.zipcodes_completed == [
        {"zipcode": "19104", "listingsScraped": 12, "completedAt": "2026-11-22T05:00:00Z"}
    ]


async def test_the_report_signed_last_stays(ready: Ready, http: httpx.AsyncClient, current):
    newer = await http.post(STATUS, json=report(ready, current, "miner-4", status="COMPLETED"))
    older = await http.post(STATUS, json=report(ready, current, "miner-4", seconds_ago=100, status="FAILED"))
    assert (newer.status_code, older.status_code) == (200, 200)
    assert "signed later" in older.json()["message"]
    assert (await submission(ready, "miner-4", current["epochId"])).status == "COMPLETED"


async def test_a_report_after_the_deadline_is_kept_and_marked(ready: Ready, http: httpx.AsyncClient, current):
    async for epoch_id in epochs_later(ready, 2):
        if epoch_id > current["epochId"]:
            break
    answer = await http.post(STATUS, json=report(ready, current, "miner-5", status="Completed"))
    assert answer.json()["message"] == "Recorded, after the deadline."
    assert (await submission(ready, "miner-5", current["epochId"])).is_late


async def test_reports_are_counted_in_public(ready: Ready, http: httpx.AsyncClient, current):
    for name, status in (("miner-6", "COMPLETED"), ("miner-7", "FAILED")):
        assert (await http.post(STATUS, json=report(ready, current, name, status=status))).status_code == 200
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:  # the numbers are cached for ten seconds
        recent = (await http.get("/api/v1/zipcode-assignments/stats")).json()["recentPerformance"]
        counted = next((one for one in recent if one["epochId"] == current["epochId"]), None)
        if counted is not None and counted["minersParticipated"] >= 2:
            break
        await asyncio.sleep(0.5)
    assert counted is not None
    assert 0 < counted["completionRate"] <= 1


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"nonce": "00" * 32}, 400, "nonce_mismatch"),
        ({"epochId": "2020-01-01T00-00-00"}, 404, "epoch_not_found"),
        ({"epochId": "soon"}, 400, "malformed_epoch_id"),
        ({"status": "done"}, 400, "malformed_request"),
        ({"listingsScraped": -1}, 400, "malformed_request"),
        ({"zipcodesCompleted": [{"zipcode": "1910"}]}, 400, "malformed_request"),
        ({"s3UploadTimestamp": "yesterday"}, 400, "malformed_request"),
        ({"s3UploadTimestamp": "9999-12-31T23:59:59-12:00"}, 400, "malformed_request"),
        ({"signature": "00" * 64}, 401, "bad_signature"),
    ],
)
async def test_what_is_wrong_with_a_report_is_named(ready, http, current, changes, status, code):
    answer = await http.post(STATUS, json=report(ready, current, "miner-8", **changes))
    assert (answer.status_code, answer.json()["error"]) == (status, code)


async def test_reports_and_earlier_epochs_go_over_nats_too(ready: Ready, current):
    signer = keypair(ready, "miner-1")
    connection = await raw_connection(ready, signer)
    body = {"epochId": current["epochId"], "nonce": current["nonce"], "status": "COMPLETED"}
    told = await ask(ready, connection, signer, Verb.MINER_STATUS, json.dumps(body).encode())
    assert json.loads(told.data)["status"] == "COMPLETED"
    asked = json.dumps({"epochId": current["epochId"]}).encode()
    epoch = await ask(ready, connection, signer, Verb.EPOCH_GET, asked)
    assert epoch.data.decode() == current["proof"]["payload"]
    assert (epoch.headers or {})["Zipcast-Signature"] == current["proof"]["signature"]
    future = await ask(ready, connection, signer, Verb.EPOCH_GET, b'{"epochId":"2099-01-01T00-00-00"}')
    assert json.loads(future.data)["error"] == "epoch_not_found"
    await connection.close()


async def test_a_validator_gets_lists_of_all_and_of_one_miner(ready: Ready, http: httpx.AsyncClient):
    signer, miner = keypair(ready, "validator-1"), keypair(ready, "miner-1").ss58_address
    answer = await http.post(VALIDATOR_ACCESS, json=legacy(signer, signed_texts.VALIDATOR_ACCESS_COMMITMENT))
    access = answer.json()
    assert set(access) == {
        *("bucket", "region", "validator_hotkey", "expiry", "expiry_seconds", "urls", "structure_info")
    }
    assert (access["expiry_seconds"], access["validator_hotkey"]) == (86_400, signer.ss58_address)
    assert "<ListBucketResult" in (await fetch(access["urls"]["global"]["list_all_data"])).decode()
    assert "<ListBucketResult" in (await fetch(access["urls"]["miners"]["list_all_miners"])).decode()
    text = signed_texts.MINER_ACCESS_COMMITMENT.replace("{miner_hotkey}", miner)
    one = await http.post(MINER_ACCESS, json=legacy(signer, text) | {"miner_hotkey": miner})
    told = one.json()
    assert set(told) == {"bucket", "region", "miner_hotkey", "miner_url", "prefix", "expiry"}
    assert told["prefix"] == f"data/hotkey={miner}/"
    listed = (await fetch(told["miner_url"])).decode()
    assert "<ListBucketResult" in listed
    async with httpx.AsyncClient() as s3:  # the URL opens that list and no other
        assert (await s3.get(told["miner_url"].replace(miner, signer.ss58_address))).status_code == 403
    engine = open_engine(ready.postgres, application_name="test")
    query = select(CredentialIssuance.kind, CredentialIssuance.prefix).where(
        CredentialIssuance.hotkey == signer.ss58_address
    )
    async with engine.connect() as connection:
        issued = {tuple(row) for row in (await connection.execute(query)).all()}
    await engine.dispose()
    assert {("s3.validator-access", "data/"), ("s3.miner-access", f"data/hotkey={miner}/")} <= issued


@pytest.mark.parametrize(
    ("name", "path", "miner", "status", "code"),
    [
        ("miner-1", VALIDATOR_ACCESS, None, 403, "validator_required"),
        ("miner-1", MINER_ACCESS, "own", 403, "validator_required"),
        ("validator-1", MINER_ACCESS, "../..", 400, "malformed_hotkey"),
        ("validator-1", MINER_ACCESS, "*", 400, "malformed_hotkey"),
        ("validator-1", MINER_ACCESS, None, 400, "malformed_request"),
    ],
)
async def test_what_is_wrong_with_a_list_is_named(ready, http, name, path, miner, status, code):
    signer = keypair(ready, name)
    miner = signer.ss58_address if miner == "own" else miner
    text = signed_texts.VALIDATOR_ACCESS_COMMITMENT
    if path == MINER_ACCESS:
        text = signed_texts.MINER_ACCESS_COMMITMENT.replace("{miner_hotkey}", str(miner))
    body = legacy(signer, text) | ({} if miner is None else {"miner_hotkey": miner})
    answer = await http.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
