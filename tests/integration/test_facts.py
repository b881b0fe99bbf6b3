"""The public facts of the bridge hold for the bridge itself."""

import time

import httpx

from tests.integration.people import coldkey, keypair
from zipcast.ready import Ready


async def test_a_text_signed_by_the_published_format_is_accepted(ready: Ready, http: httpx.AsyncClient):
    told = (await http.get("/commitment-formats")).json()
    formats = {entry["endpoint"]: entry for entry in told["formats"]}
    signer, owner, now = keypair(ready, "miner-5"), coldkey(ready, "miner-5"), int(time.time())
    for endpoint, entry in formats.items():
        text = entry["format"].format(timestamp=now, coldkey=owner, hotkey=signer.ss58_address)
        identity = {
            "hotkey": signer.ss58_address,
            "coldkey": owner,
            "timestamp": str(now),
            "signature": signer.sign(text.encode()).hex(),
        }
        method, path = endpoint.split()
        if method == "GET":
            answer = await http.get(path, params=identity)
        else:
            answer = await http.post(path, json=identity)
        expected = "validator_required" if entry["validatorsOnly"] else None
        assert answer.json().get("error") == expected, endpoint


async def test_the_structure_is_that_of_the_issued_folder(http: httpx.AsyncClient):
    told = (await http.get("/structure-info")).json()
    assert told["miners"]["folder_structure"] == "data/hotkey={hotkey}/{path}"
    assert told["validators"]["folder_structure"].startswith("validators/{hotkey}/epoch={epoch_id}/")
