"""Reads all uploads of an ended epoch as a validator with little memory does.

    truncate -s 3G big.bin; zipcast upload --wallet miner-1 big.bin
    (ulimit -v 1500000; python -m tests.support.cases.big_read EPOCH)

Run it beside `zipcast up`; `download` streams to disk, so the limit must suffice.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from zipcast import Trust, load_hotkey, parse_hotkey
from zipcast.client.client import ZipcastClient
from zipcast.client.transfers import download

READY = json.loads(Path(".devstack/ready.json").read_text())


async def main(epoch_id: str) -> None:
    trust = Trust(frozenset({parse_hotkey(READY["signer"])}), READY["network"], READY["netuid"])
    hotkey = load_hotkey(Path(READY["wallets"]), "validator-1")
    async with ZipcastClient([READY["nats"]], hotkey, trust) as client:
        page = await client.validator_read(epoch_id)
        with tempfile.TemporaryDirectory() as folder:
            for one in page.objects:
                print(one.key, one.size, await download(one.url, Path(folder) / "object"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
