"""Tests `/get-folder-access` as legacy miners use it: a form for their whole folder and nothing else."""

import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import select

from storage.database.engine import open_engine
from storage.database.tables import CredentialIssuance
from tests.support.folder_access import PATH, asked
from tests.support.people import coldkey, keypair, legacy
from zipcast.client.local_stack import Ready
from zipcast.client.transfers import fetch
from zipcast.protocol import btauth
from zipcast.protocol.hotkeys import Keypair

CONTENT = b"listing,price\n" * 100


async def upload(access: dict, path: str) -> httpx.Response:
    """Upload like the published clients: with the fields of the form, and `key` set to folder + path."""
    form = {**access["fields"], "key": access["folder"] + path}
    async with httpx.AsyncClient() as s3:
        return await s3.post(access["url"], data=form, files={"file": ("x", CONTENT)})


@pytest.mark.parametrize("wrap", [False, True])
async def test_a_legacy_miner_uploads_anywhere_below_its_folder_and_finds_it_listed(
    ready: Ready, http: httpx.AsyncClient, wrap: bool
):
    miner = keypair(ready, "miner-3").ss58_address
    answer = await http.post(PATH, json=asked(ready, wrap=wrap) | {"expiry": "2030-01-01"})
    access = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert set(access) == {
        *("success", "folder", "url", "fields", "expiry", "list_url", "structure_info"),
    }
    assert access["folder"] == f"data/hotkey={miner}/"
    lifetime = datetime.fromisoformat(access["expiry"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < lifetime <= timedelta(hours=24)
    for path in ("listings.csv", f"job_id=7/{wrap}/data-1.csv"):
        assert (await upload(access, path)).status_code == 204
        assert access["folder"] + path in (await fetch(access["list_url"])).decode()


@pytest.mark.parametrize("folder", ["data/hotkey=somebody/", "data/", "", "validators/"])
async def test_the_form_takes_no_key_outside_the_folder(ready: Ready, http: httpx.AsyncClient, folder: str):
    access = (await http.post(PATH, json=asked(ready, "miner-7"))).json()
    assert (await upload(access | {"folder": folder}, "x.csv")).status_code == 403


async def test_validators_have_a_folder_too_and_btauth_serves_as_well(ready: Ready, http: httpx.AsyncClient):
    name = "validator-1"
    body = f'{{"coldkey":"{coldkey(ready, name)}"}}'.encode()
    headers = btauth.sign(
        keypair(ready, name),
        method="POST",
        path=PATH,
        body=body,
        receiver=ready.signer,
        nonce_ns=time.time_ns(),
    )
    answer = await http.post(PATH, content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["folder"] == f"data/hotkey={keypair(ready, name).ss58_address}/"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"signature": "00" * 64}, 401, "bad_signature"),
        ({"signature": "zz"}, 401, "malformed_auth"),
        ({"coldkey": "not one"}, 400, "malformed_hotkey"),
        ({"coldkey": None}, 400, "malformed_request"),
        ({"coldkey": ["x"]}, 400, "malformed_request"),
        ({"hotkey": "not one"}, 400, "malformed_hotkey"),
        ({"timestamp": 1.5}, 400, "malformed_request"),
    ],
)
async def test_it_names_what_is_wrong(
    ready: Ready, http: httpx.AsyncClient, change: dict, status: int, code: str
):
    answer = await http.post(PATH, json=asked(ready) | change)
    assert (answer.status_code, answer.json()["error"]) == (status, code)


async def test_another_miners_coldkey_is_refused_however_well_it_is_signed(
    ready: Ready, http: httpx.AsyncClient
):
    signer, other = keypair(ready, "miner-3"), coldkey(ready, "miner-4")
    text = f"s3:data:access:{other}:{signer.ss58_address}:{{timestamp}}"
    answer = await http.post(PATH, json={"coldkey": other, **legacy(signer, text)})
    assert (answer.status_code, answer.json()["error"]) == (403, "coldkey_mismatch")
    body = f'{{"coldkey":"{other}"}}'.encode()
    headers = btauth.sign(
        signer, method="POST", path=PATH, body=body, receiver=ready.signer, nonce_ns=time.time_ns()
    )
    signed = await http.post(PATH, content=body, headers=headers)
    assert signed.json()["error"] == "coldkey_mismatch"


async def test_a_stranger_is_not_registered(ready: Ready, http: httpx.AsyncClient):
    stranger = Keypair.create_from_uri("//Stranger")
    text = f"s3:data:access:{stranger.ss58_address}:{stranger.ss58_address}:{{timestamp}}"
    answer = await http.post(PATH, json={"coldkey": stranger.ss58_address, **legacy(stranger, text)})
    assert (answer.status_code, answer.json()["error"]) == (403, "not_registered")


@pytest.mark.parametrize(("seconds_ago", "status"), [(290, 200), (310, 401), (-50, 200), (-70, 401)])
async def test_its_window_is_five_minutes_back_and_one_ahead(
    ready: Ready, http: httpx.AsyncClient, seconds_ago: int, status: int
):
    answer = await http.post(PATH, json=asked(ready, seconds_ago=seconds_ago))
    assert answer.status_code == status


async def test_every_access_is_a_row_before_it_leaves(ready: Ready, http: httpx.AsyncClient):
    access = (await http.post(PATH, json=asked(ready, "miner-6"))).json()
    engine = open_engine(ready.postgres, application_name="test")
    row = CredentialIssuance
    query = select(row.kind, row.role, row.epoch_id, row.source, row.expires_at)
    async with engine.connect() as connection:
        (found,) = (await connection.execute(query.where(row.prefix == access["folder"]))).all()
    await engine.dispose()
    assert found[:4] == ("s3.folder-access", "miner", None, "127.0.0.1")
    assert abs(found.expires_at - datetime.fromisoformat(access["expiry"])) <= timedelta(seconds=1)
