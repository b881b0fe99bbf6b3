"""Tests each method of the older client in `zipcast.legacy` against the real bridge."""

import asyncio
from types import SimpleNamespace

import httpx
import pytest

from tests.support.people import coldkey, keypair
from zipcast import ErrorCode, ServiceError, UnavailableError
from zipcast.client.local_stack import Ready
from zipcast.legacy import LegacyClient, create_api_client
from zipcast.protocol.hotkeys import Keypair


def client_of(ready: Ready, wallet: str) -> LegacyClient:
    """Return the client as existing neurons make it."""
    owner = SimpleNamespace(
        hotkey=keypair(ready, wallet), coldkeypub=SimpleNamespace(ss58_address=coldkey(ready, wallet))
    )
    return create_api_client(SimpleNamespace(resi_api_url=ready.http), owner)


async def test_a_miner_works_with_it(ready: Ready):
    client = client_of(ready, "miner-6")
    assert (await asyncio.to_thread(client.check_health))["status"]
    current = await asyncio.to_thread(client.get_current_zipcode_assignments)
    done = [{"zipcode": current["zipcodes"][0]["zipcode"], "listingsScraped": 3}]
    receipt = await asyncio.to_thread(
        client.update_miner_status, current["epochId"], current["nonce"], "completed", 3, done, True
    )
    assert receipt["status"] == "COMPLETED"
    access = await asyncio.to_thread(client.get_s3_upload_credentials)
    assert access["folder"] == f"data/hotkey={client.hotkey.ss58_address}/"
    form = {**access["fields"], "key": access["folder"] + "job_id=1/data.parquet"}
    async with httpx.AsyncClient(trust_env=False) as http:
        stored = await http.post(access["url"], data=form, files={"file": b"PAR1" * 600})
    assert stored.status_code == httpx.codes.NO_CONTENT
    with pytest.raises(ServiceError) as refused:
        await asyncio.to_thread(client.get_epoch_assignments, current["epochId"])
    assert refused.value.code is ErrorCode.VALIDATOR_REQUIRED
    assert refused.value.request_id


async def test_a_validator_works_with_it(ready: Ready):
    client = client_of(ready, "validator-1")
    running = (await asyncio.to_thread(client.get_system_statistics))["epochStatus"]["currentEpoch"]["id"]
    assert (await asyncio.to_thread(client.get_epoch_assignments, running))["epochId"] == running
    granted = await asyncio.to_thread(client.get_validator_s3_credentials, running)
    assert running in granted["metadata"]["folderPath"]
    following = await asyncio.to_thread(client.wait_for_epoch_completion, running, 0.2)
    assert following["id"] > running


def test_a_bridge_that_is_away_is_asked_three_times():
    pauses: list[float] = []
    client = LegacyClient("http://127.0.0.1:9", Keypair.create_from_uri("//Miner"), sleep=pauses.append)
    with pytest.raises(UnavailableError):
        client.get_system_statistics()
    assert pauses == [1, 2]
    assert client.check_health()["status"] == "error"
    assert client.get_current_epoch_info() is None
    with pytest.raises(ValueError, match="coldkey"):
        client.get_s3_upload_credentials()
