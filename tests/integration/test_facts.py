"""Tests that the public facts about the bridge are true."""

import time

import httpx

from tests.support.people import coldkey, keypair
from zipcast.client.local_stack import Ready


async def test_a_text_signed_by_the_published_format_is_accepted(ready: Ready, http: httpx.AsyncClient):
    told = (await http.get("/commitment-formats")).json()
    signer, owner, now = keypair(ready, "miner-5"), coldkey(ready, "miner-5"), int(time.time())
    running = (await http.get("/api/v1/zipcode-assignments/stats")).json()
    named = {
        "coldkey": owner,
        "hotkey": signer.ss58_address,
        "miner_hotkey": signer.ss58_address,
        "epoch_id": running["recentPerformance"][0]["epochId"],
    }
    for entry in told["formats"]:
        endpoint = entry["endpoint"]
        text = entry["format"].format(timestamp=now, **named)
        identity = {
            **named,
            "timestamp": str(now),
            "signature": signer.sign(text.encode()).hex(),
        }
        method, path = endpoint.format(**named).split()
        if path.endswith("/stream"):  # its reply does not end
            assert (await http.head(path, params=identity)).status_code == 200
            continue
        if method == "GET":
            answer = await http.get(path, params=identity)
        else:
            answer = await http.post(path, json=identity)
        # A status report needs more than an identity. The error shows that the identity was accepted.
        expected = {"validator_required"} if entry["validatorsOnly"] else {None, "malformed_request"}
        assert answer.json().get("error") in expected, (endpoint, answer.text)


async def test_the_structure_is_that_of_the_issued_folder(http: httpx.AsyncClient):
    told = (await http.get("/structure-info")).json()
    assert told["miners"]["folder_structure"] == "data/hotkey={hotkey}/epoch={epoch_id}/{path}"
    assert told["validators"]["folder_structure"].startswith("validators/{hotkey}/epoch={epoch_id}/")
