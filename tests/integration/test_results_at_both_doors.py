"""Tests a validator's report from the upload to the consensus, over NATS, over HTTP and with the command."""

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from devstack.stack import Stack
from tests.support.operator_view import until
from tests.support.people import client, keypair
from tests.support.results_side import CONTENT
from zipcast.cli.app import app
from zipcast.client.client import ZipcastClient
from zipcast.client.local_stack import Ready
from zipcast.client.transfers import post_file, sha256_of
from zipcast.protocol import btauth
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Keypair
from zipcast.protocol.messages.results import ReportedFile, ResultsRequest, TopMiner

RESULTS = "/api/v1/validation-results"


async def ended_epoch(connected: ZipcastClient) -> str:
    """Return the previous epoch. A stack that has just started has none yet."""
    async for received in connected.epochs():
        before = received.epoch.message.previous_epoch_id
        if before is not None:
            return before
    raise AssertionError("the client ended")


def signed(ready: Ready, signer: Keypair, method: str, target: str, body: bytes = b"") -> dict[str, str]:
    nonce = time.time_ns()
    headers = btauth.sign(
        signer, method=method, path=target, body=body, receiver=ready.signer, nonce_ns=nonce
    )
    return {**headers, "Content-Type": "application/json"}


async def uploaded(connected: ZipcastClient, epoch_id: str, file: Path) -> ResultsRequest:
    """Upload a file, and return a report on it."""
    grant = await connected.validator_upload(epoch_id, with_checksum=True)
    sha256 = await sha256_of(file)
    key = await post_file(grant.upload_url, grant.fields, file.name, file, sha256=sha256)
    return ResultsRequest(
        epoch_id=epoch_id,
        duration_seconds=1.5,
        miners_evaluated=2,
        top_miners=(),
        listings_validated=10,
        files=(ReportedFile(key=key, size_bytes=len(CONTENT), sha256=sha256),),
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    path.write_bytes(CONTENT)
    return path


async def test_a_report_is_taken_at_either_door_and_a_wrong_one_at_neither(
    ready: Ready, http: httpx.AsyncClient, file: Path
):
    signer = keypair(ready, "validator-1")
    miner = keypair(ready, "miner-1").ss58_address
    async with client(ready, "validator-1") as connected:
        epoch_id = await ended_epoch(connected)
        report = await uploaded(connected, epoch_id, file)
        first = await connected.report_results(report)
        assert (first.in_force, first.superseded_reports) == (True, 0)
        assert [one.checked_by for one in first.files] == ["checksum"]
        # Over HTTP, in the other spelling, it replaces the report.
        more = json.loads(report.to_bytes()) | {"top_miners": [{"hotkey": miner, "score": 1}]}
        body = json.dumps({k: v for k, v in more.items() if k != "topMiners"}).encode()
        headers = signed(ready, signer, "POST", RESULTS, body)
        answer = await http.post(RESULTS, content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["inForce"], answer.json()["supersededReports"]) == (True, 1)
        assert (await http.post(RESULTS, content=body, headers=headers)).content == answer.content
        # Over both NATS and HTTP, the error names the file that does not exist.
        gone = report.files[0].model_copy(update={"key": report.files[0].key + ".old"})
        wrong = report.model_copy(update={"files": (gone,)})
        with pytest.raises(ServiceError, match="does not exist") as caught:
            await connected.report_results(wrong)
        assert caught.value.code is ErrorCode.FILE_MISMATCH
        body = wrong.to_bytes()
        refused = await http.post(RESULTS, content=body, headers=signed(ready, signer, "POST", RESULTS, body))
        assert (refused.status_code, refused.json()["error"]) == (422, "file_mismatch")
        assert gone.key in refused.json()["message"]
        # A validator sees its own report at once.
        told = await connected.results(epoch_id)
        assert [one.superseded_reports for one in told.reports if one.in_force] == [1]
        with pytest.raises(ServiceError) as caught:
            running = (await connected.current()).message.epoch_id
            await connected.report_results(report.model_copy(update={"epoch_id": running}))
        assert caught.value.code is ErrorCode.EPOCH_NOT_ENDED


async def test_only_validators_report_and_only_signed_so(ready: Ready, http: httpx.AsyncClient):
    body = json.dumps({"epochId": "2026-11-22T04-00-00"}).encode()
    for target, method in ((RESULTS, "POST"), (f"{RESULTS}/2026-11-22T04-00-00", "GET")):
        sent = body if method == "POST" else b""
        headers = signed(ready, keypair(ready, "miner-1"), method, target, sent)
        answer = await http.request(method, target, content=sent, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (403, "validator_required")
        answer = await http.request(method, target, content=sent)
        assert (answer.status_code, answer.json()["error"]) == (401, "malformed_auth")
    async with client(ready, "miner-1") as connected:
        with pytest.raises(ServiceError) as caught:
            await connected.results("2026-11-22T04-00-00")
    assert caught.value.code is ErrorCode.VALIDATOR_REQUIRED


async def test_a_report_with_its_audit_may_be_larger_than_other_bodies(ready: Ready, http: httpx.AsyncClient):
    signer = keypair(ready, "validator-2")
    miner = keypair(ready, "miner-1").ss58_address
    row = {"minerHotkey": miner, "zipcode": "19104", "type": "full", "result": "pass", "score": 1}
    async with client(ready, "validator-2") as connected:
        epoch_id = await ended_epoch(connected)
    report = {
        "epochId": epoch_id,
        "durationSeconds": 1,
        "minersEvaluated": 1,
        "topMiners": [],
        "listingsValidated": 1,
        "audit": [row] * 1_700,
    }
    for body, status in ((json.dumps(report).encode(), 200), (b" " * (240 * 1024 + 1), 413)):
        headers = signed(ready, signer, "POST", RESULTS, body)
        answer = await http.post(RESULTS, content=body, headers=headers)
        assert answer.status_code == status, answer.text
        if status == 200:
            assert len(body) > 200_000
            assert answer.json()["auditRows"] == 1_700


@pytest.mark.long
async def test_once_an_epoch_is_revealed_every_validator_sees_the_consensus(
    stack: Stack, ready: Ready, http: httpx.AsyncClient
):
    names = ("validator-1", "validator-2")
    miners = [keypair(ready, f"miner-{number}").ss58_address for number in (1, 2)]
    async with client(ready, names[0]) as one, client(ready, names[1]) as two:
        async for received in one.epochs():
            if received.via == "push":
                break
        epoch_id = received.epoch.message.previous_epoch_id
        assert epoch_id is not None
        for connected in (one, two):
            top = tuple(TopMiner(hotkey=hotkey, score=1) for hotkey in miners)
            report = ResultsRequest(
                epoch_id=epoch_id,
                duration_seconds=1,
                miners_evaluated=2,
                top_miners=top,
                listings_validated=1,
            )
            assert not (await connected.report_results(report)).late
        hidden = await one.results(epoch_id)
        assert (hidden.revealed, len(hidden.reports)) == (False, 1)

        async def revealed() -> bool:
            return (await one.results(epoch_id)).revealed

        await until(revealed)
        told = await two.results(epoch_id)
    assert told.consensus is not None
    assert [miner.hotkey for miner in told.consensus.top_miners] == miners
    assert told.consensus.agreement == 1
    assert told.consensus.coverage.validators_reported == 2
    target = f"{RESULTS}/{epoch_id}?offset=0"
    answer = await http.get(target, headers=signed(ready, keypair(ready, names[0]), "GET", target))
    assert answer.json()["consensus"] == json.loads(told.consensus.to_bytes())
    command = ["epoch", "results", epoch_id, "--ready", str(stack.servers.state.ready), "--wallet", names[0]]
    shown = await asyncio.to_thread(CliRunner().invoke, app, command, env={"COLUMNS": "300"})
    assert shown.exit_code == 0, shown.output
    assert "agreement 1.00; 2 of 2 validators with 100% of the stake" in shown.output
    assert f"1. {miners[0]}  support 1.00" in shown.output
    as_json = await asyncio.to_thread(CliRunner().invoke, app, [*command, "--json"])
    assert json.loads(as_json.stdout)["consensus"]["agreement"] == 1
