"""A miner whose own code blocks the event loop for minutes, as scrapers do; it must still be able to report.

    python -m tests.support.cases.blocking_miner [SECONDS] [WALLET]

Run it beside `zipcast up --epoch-length 10m`.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from zipcast import Trust, load_hotkey, parse_hotkey
from zipcast.client.client import ZipcastClient
from zipcast.client.transfers import post_file
from zipcast.protocol.messages.status import StatusRequest

READY = json.loads(Path(".devstack/ready.json").read_text())


async def main(seconds: float = 150, wallet: str = "miner-1") -> None:
    trust = Trust(frozenset({parse_hotkey(READY["signer"])}), READY["network"], READY["netuid"])
    file = Path(tempfile.mkdtemp()) / "listings.json"
    file.write_text("x" * 4000)
    async with ZipcastClient([READY["nats"]], load_hotkey(Path(READY["wallets"]), wallet), trust) as client:
        message = (await client.current()).message
        grant = await client.miner_upload()
        time.sleep(seconds)  # noqa: ASYNC251 - this is the case
        print("uploaded", await post_file(grant.url, grant.fields, file.name, file))
        status = StatusRequest(
            epoch_id=grant.epoch_id,
            nonce=message.nonce,
            status="COMPLETED",
            listings_scraped=9,
            s3_upload_complete=True,
        )
        print("reported", (await client.report_status(status)).message)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 150, *sys.argv[2:]))
