"""A validator with asyncio: it reads all uploads of each ended epoch and reports scores.

Set ZIPCAST_SERVERS, ZIPCAST_SIGNER, ZIPCAST_NETWORK and ZIPCAST_NETUID, then run:

    python examples/validator.py WALLET [HOTKEY]
"""

import asyncio
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import zipcast

log = logging.getLogger("validator")


def count_listings(file: Path) -> int:
    """Return the number of listings in a miner's file, 0 if it is unreadable. Replace this by your checks: a
    miner may put anything into a file."""
    try:
        listings = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return 0
    return len(listings) if isinstance(listings, list) else 0


async def work_on(zc: zipcast.Zipcast, epoch_id: str, folder: Path) -> None:
    """Count the listings of every miner, upload the counts, and report the best miners."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    async for upload, file in zc.download_all(epoch_id, to=folder):
        counts[upload.miner_hotkey] += await asyncio.to_thread(count_listings, file)
        file.unlink()
    details = folder / "counts.json"
    details.write_text(json.dumps(counts))
    reply = await zc.submit_results(
        epoch_id,
        scores={miner: float(count) for miner, count in counts.items()},
        listings_validated=counts.total(),
        duration_seconds=time.monotonic() - began,
        files=[details],  # uploaded with its checksum, then named in the report
    )
    log.info("%s: %d listings of %d miners (%s)", epoch_id, counts.total(), len(counts), reply.result_id)


async def main(wallet: str, hotkey: str | None = None) -> None:
    """Work on every epoch after its end, until the program is stopped."""
    async with zipcast.connect(wallet=wallet, hotkey=hotkey) as zc:
        async for epoch in zc.epochs():
            if epoch.previous_id is None:
                continue
            try:
                with tempfile.TemporaryDirectory() as folder:
                    await work_on(zc, epoch.previous_id, Path(folder))
            except zipcast.ZipcastError as error:
                log.warning("%s: %s %s", epoch.previous_id, error, error.remedy)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(main(*sys.argv[1:3]))
