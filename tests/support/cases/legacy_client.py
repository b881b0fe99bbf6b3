"""Sends what the subnet's published miners and validators send, in their order, to a running local stack.

Keys are made as their uploaders make them: with `job_id=` folders and without an `epoch=` folder. Run it
beside `zipcast up`; each line shows one reply.
"""

import json
import time
from pathlib import Path

import httpx

from zipcast import load_hotkey
from zipcast.protocol.hotkeys import Keypair

READY = json.loads(Path(".devstack/ready.json").read_text())
WALLETS = Path(READY["wallets"])


def signed(key: Keypair, text: str) -> dict[str, str]:
    return {"hotkey": key.ss58_address, "signature": bytes(key.sign(text.encode())).hex()}


def main() -> None:
    miner, validator = load_hotkey(WALLETS, "miner-1"), load_hotkey(WALLETS, "validator-1")
    coldkey = json.loads((WALLETS / "miner-1" / "coldkeypub.txt").read_text())["ss58Address"]
    now = int(time.time())
    with httpx.Client(base_url=READY["http"], trust_env=False) as http:
        query = {**signed(miner, f"zipcode:assignment:current:{now}"), "timestamp": now}
        current = http.get("/api/v1/zipcode-assignments/current", params=query).json()
        print("current", current["epochId"], len(current["zipcodes"]))
        upload(http, miner, coldkey, now)
        report(http, miner, current, now)
        read(http, validator, coldkey, now)


def upload(http: httpx.Client, miner: Keypair, coldkey: str, now: int) -> None:
    body = {
        **signed(miner, f"s3:data:access:{coldkey}:{miner.ss58_address}:{now}"),
        "coldkey": coldkey,
        "timestamp": now,
        "expiry": now + 86_400,
    }
    access = http.post("/get-folder-access", json=body).json()
    key = access["folder"] + "job_id=zipcode_19103/data_20261122_120000_900.parquet"
    form = {**access["fields"], "key": key}
    posted = httpx.post(access["url"], data=form, files={"file": b"PAR1" * 600}, trust_env=False)
    print("upload", posted.status_code, key)


def report(http: httpx.Client, miner: Keypair, current: dict, now: int) -> None:
    done = {
        "zipcode": current["zipcodes"][0]["zipcode"],
        "listingsScraped": 10,
        "completedAt": "2026-11-22T12:00:00.123456Z",
    }
    body = {
        **signed(miner, f"zipcode:status:{current['epochId']}:{now}"),
        "timestamp": now,
        "epochId": current["epochId"],
        "nonce": current["nonce"],
        "status": "COMPLETED",
        "s3UploadComplete": True,
        "zipcodesCompleted": [done],
    }
    answer = http.post("/api/v1/zipcode-assignments/status", json=body)
    print("status", answer.status_code, answer.text[:120])


def read(http: httpx.Client, validator: Keypair, coldkey: str, now: int) -> None:
    body = {
        **signed(validator, f"s3:validator:access:{now}"),
        "coldkey": coldkey,
        "timestamp": now,
        "expiry": now + 86_400,
    }
    urls = http.post("/get-validator-access", json=body).json()["urls"]
    listed = httpx.get(urls["global"]["list_all_data"], trust_env=False)
    print("list", listed.status_code, listed.text.count("<Key>"), "keys")
    # The second page, as these clients request it.
    more = httpx.get(urls["global"]["list_all_data"] + "&start-after=data%2Fz", trust_env=False)
    print("list with start-after", more.status_code)


if __name__ == "__main__":
    main()
