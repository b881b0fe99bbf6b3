"""A miner with asyncio: it collects listings of each epoch, uploads them and reports its progress.

Set ZIPCAST_SERVERS, ZIPCAST_SIGNER, ZIPCAST_NETWORK and ZIPCAST_NETUID, then run:

    python examples/miner.py WALLET [HOTKEY]
"""

import asyncio
import json
import logging
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import zipcast

log = logging.getLogger("miner")


def collect(epoch: zipcast.Epoch, folder: Path) -> tuple[Path, int]:
    """Return a file with listings, and their number. Replace this function by your scraper."""
    listings = [
        {"zipcode": one.zipcode, "city": one.city, "number": number}
        for one in epoch.zipcodes
        for number in range(one.expected_listings)
    ]
    file = folder / f"listings-{epoch.id}.json"
    file.write_text(json.dumps(listings))
    return file, len(listings)


async def work_on(zc: zipcast.Zipcast, epoch: zipcast.Epoch, folder: Path) -> None:
    """Collect, upload and report. If the deadline passes, the next epoch is the next chance."""
    await zc.report_status(epoch, "IN_PROGRESS")
    # Collect in a thread, so that the event loop goes on and the next epoch arrives in time.
    file, count = await asyncio.to_thread(collect, epoch, folder)
    try:
        done = await zc.upload(file, epoch=epoch)
    except zipcast.TransferError as error:
        log.warning("%s: %s %s", epoch.id, error, error.remedy)
        await zc.report_status(epoch, "FAILED", listings_scraped=count)
        return
    await zc.report_status(
        epoch,
        "COMPLETED",
        listings_scraped=count,
        s3_upload_complete=True,
        s3_upload_timestamp=datetime.now(UTC),
    )
    log.info("%s: %d listings are in %s", epoch.id, count, done.key)


async def main(wallet: str, hotkey: str | None = None) -> None:
    """Work on every epoch until the program is stopped."""
    with tempfile.TemporaryDirectory() as folder:
        async with zipcast.connect(wallet=wallet, hotkey=hotkey) as zc:
            async for epoch in zc.epochs():
                try:
                    await work_on(zc, epoch, Path(folder))
                except zipcast.ZipcastError as error:
                    log.warning("%s: %s %s (request %s)", epoch.id, error, error.remedy, error.request_id)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(main(*sys.argv[1:3]))
