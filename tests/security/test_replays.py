"""Tests requests that are sent again, unchanged or changed, to any replica: nothing more is issued."""

import asyncio
import time
from pathlib import Path

import httpx
import psycopg
import pytest

from access.rate_limits import MAX_REPETITIONS
from devstack.stack import Stack
from tests.support.folder_access import PATH, asked
from tests.support.issuing import UPLOAD, running
from tests.support.operator_view import log_lines
from tests.support.people import client as sdk
from tests.support.people import coldkey, fresh_grant, keypair, legacy, raw_connection, signed_headers
from tests.support.replicas import actions, replica
from zipcast.client.local_stack import Ready
from zipcast.protocol import btauth, signed_texts, subjects
from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.messages.base import parse_error
from zipcast.protocol.verbs import Verb

pytestmark = pytest.mark.long  # Run two replicas of everything.


async def minted(ready: Ready, hotkey: str) -> int:
    async with await psycopg.AsyncConnection.connect(ready.postgres) as connection:
        query = "select count(*) from credential_issuances where hotkey = %s"
        row = await (await connection.execute(query, [hotkey])).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_replay_gets_the_same_answer_from_every_replica_and_one_row(
    ready: Ready, stack: Stack, http: httpx.AsyncClient, tmp_path: Path
):
    signer, body = keypair(ready, "miner-2"), asked(ready, "miner-2", seconds_ago=45)
    before, here = await minted(ready, signer.ss58_address), _answered_again(stack)
    first = await http.post(PATH, json=body)
    async with replica(stack, "responder", tmp_path) as log:
        for _ in range(MAX_REPETITIONS):  # nats-server chooses the replica for each request
            again = await http.post(PATH, json=body)
            assert again.content == first.content
            if "request_answered_again" in actions(log) and _answered_again(stack) > here:
                break
        both = actions(log).count("request_answered_again"), _answered_again(stack) - here
    assert first.status_code == 200
    assert min(both) >= 1
    assert await minted(ready, signer.ss58_address) == before + 1


def _answered_again(stack: Stack) -> int:
    return sum(line["action"] == "request_answered_again" for line in log_lines(stack, "responder"))


async def test_twins_at_the_same_instant_are_minted_once_over_two_replicas(
    ready: Ready, stack: Stack, http: httpx.AsyncClient, tmp_path: Path
):
    signer, body = keypair(ready, "miner-3"), asked(ready, "miner-3", seconds_ago=50)
    before = await minted(ready, signer.ss58_address)
    async with replica(stack, "responder", tmp_path):
        answers = await asyncio.gather(*(http.post(PATH, json=body) for _ in range(MAX_REPETITIONS)))
        last = await http.post(PATH, json=body)
    assert last.status_code == 200
    assert {answer.content for answer in answers} == {last.content}
    assert await minted(ready, signer.ss58_address) == before + 1


async def test_another_epoch_under_a_signed_text_is_a_conflict(ready: Ready, http: httpx.AsyncClient):
    """The legacy text does not name the epoch, so an observer must not be able to choose another one."""
    signer = keypair(ready, "validator-2")
    body = legacy(signer, signed_texts.VALIDATOR_UPLOAD_COMMITMENT, seconds_ago=61)
    body["epochId"] = await running(ready, http)
    assert (await http.post(UPLOAD, json=body)).status_code == 200
    before = await minted(ready, signer.ss58_address)
    statistics = (await http.get("/api/v1/zipcode-assignments/stats")).json()
    earlier = [epoch["epochId"] for epoch in statistics["recentPerformance"]]
    other = next(epoch for epoch in earlier if epoch != body["epochId"])
    answer = await http.post(UPLOAD, json=body | {"epochId": other})
    assert (answer.status_code, answer.json()["error"]) == (409, "request_reused")
    assert await minted(ready, signer.ss58_address) == before


async def test_a_request_signed_for_one_door_opens_no_other(ready: Ready, http: httpx.AsyncClient):
    """A request was overheard on HTTP, and is sent over NATS with the victim's own connection; and the other
    way round."""
    signer = keypair(ready, "miner-4")
    subject = subjects.request(parse_hotkey(signer.ss58_address), Verb.S3_MINER_UPLOAD)
    body = f'{{"coldkey":"{coldkey(ready, "miner-4")}"}}'.encode()
    over_http = btauth.sign(
        signer, method="POST", path=PATH, body=body, receiver=ready.signer, nonce_ns=time.time_ns()
    )
    connection = await raw_connection(ready, signer)
    answer = await connection.request(subject, body, timeout=5, headers=over_http)
    await connection.close()
    assert parse_error(answer.data).code == "bad_signature"
    over_nats = signed_headers(ready, signer, subject, body)
    crossed = await http.post(PATH, content=body, headers=over_nats)
    assert crossed.json()["error"] == "bad_signature"
    # The signature is for another path, or for another method.
    elsewhere = await http.post("/api/v1/auth/legacy", content=body, headers=over_http)
    assert elsewhere.json()["error"] == "bad_signature"
    queried = await http.post(f"{PATH}?a=1", content=body, headers=over_http)
    assert queried.json()["error"] == "bad_signature"


async def test_a_form_of_one_epoch_takes_nothing_for_another(ready: Ready):
    async with sdk(ready, "miner-5") as connected:
        earlier = await fresh_grant(connected)
        later = await fresh_grant(connected)
    assert earlier.epoch_id < later.epoch_id
    victim = keypair(ready, "miner-6").ss58_address
    keys = [
        later.prefix + "x.json",
        earlier.prefix + "../" + later.prefix.rpartition("/epoch=")[2] + "x.json",
        earlier.prefix.rstrip("/") + "1/x.json",
        f"data/hotkey={victim}/epoch={later.epoch_id}/x.json",
        later.prefix.lower() + "x.json",
        "validators/x.json",
        "x.json",
    ]
    async with httpx.AsyncClient() as s3:
        for key in keys:
            # The text was signed for the earlier epoch, whose form has expired. Here, the key of the later
            # epoch's form is changed.
            for grant, wrong in ((earlier, key), (later, key.replace(later.epoch_id, earlier.epoch_id))):
                if wrong.startswith(grant.prefix) and ".." not in wrong:
                    continue
                form = {**grant.fields, "key": wrong}
                answer = await s3.post(grant.url, data=form, files={"file": ("x", b"x" * 2000)})
                assert answer.status_code in {400, 403}, (wrong, answer.status_code)
