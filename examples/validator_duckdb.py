"""A validator that queries the miners' parquet files with DuckDB, without downloading whole files.

DuckDB reads only the columns that a query needs, through the presigned URLs of exactly the versions that
count. Its extension httpfs is not needed, so DuckDB downloads nothing. Run `pip install duckdb fsspec`, set
ZIPCAST_SERVERS, ZIPCAST_SIGNER, ZIPCAST_NETWORK and ZIPCAST_NETUID, then run:

    python examples/validator_duckdb.py WALLET [HOTKEY]
"""

import sys
import time
from collections import Counter
from datetime import datetime

import duckdb
import httpx
from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

import zipcast

QUERY = "SELECT count(*) FROM read_parquet(?) WHERE zipcode IN (SELECT unnest(?::VARCHAR[]))"


class Uploads(AbstractFileSystem):
    """The uploads of one epoch as files of `upload://`, read in ranges."""

    protocol = "upload"
    cachable = False

    def __init__(self, http: httpx.Client) -> None:
        super().__init__()
        self.http = http
        self.by_path: dict[str, zipcast.Upload] = {}

    def add(self, upload: zipcast.Upload) -> str:
        """Return the path under which DuckDB can read the upload."""
        self.by_path[upload.file_name] = upload
        return f"upload://{upload.file_name}"

    def upload(self, path: str) -> zipcast.Upload:
        return self.by_path[self._strip_protocol(path)]

    def info(self, path: str, **_: object) -> dict[str, object]:
        return {"name": path, "size": self.upload(path).size_bytes, "type": "file"}

    def modified(self, path: str) -> datetime:
        return self.upload(path).stored_at

    def glob(self, path: str, **_: object) -> list[str]:
        return [path]

    def _open(self, path: str, mode: str = "rb", **_: object) -> "UploadFile":
        return UploadFile(self, path, mode)


class UploadFile(AbstractBufferedFile):
    """One upload."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        reply = self.fs.http.get(self.fs.upload(self.path).url, headers={"Range": f"bytes={start}-{end - 1}"})
        return reply.raise_for_status().content


def count(database: duckdb.DuckDBPyConnection, path: str, zipcodes: list[str]) -> int:
    """Return the number of listings in assigned zipcodes, 0 for a file that is no such parquet file. Replace
    this by your checks: a miner may put anything into a file."""
    try:
        row = database.execute(QUERY, [path, zipcodes]).fetchone()
    except duckdb.Error as error:
        print(f"{path}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 0
    return int(row[0]) if row else 0


def work_on(zc: zipcast.SyncZipcast, ended: zipcast.Epoch) -> None:
    """Count the listings of every miner, and report the best miners."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    zipcodes = [one.zipcode for one in ended.zipcodes]
    with httpx.Client() as http, duckdb.connect() as database:
        database.execute("SET memory_limit = '2GB'; SET autoinstall_known_extensions = false")
        files = Uploads(http)
        database.register_filesystem(files)
        for upload in zc.uploads(ended):
            counts[upload.miner_hotkey] += count(database, files.add(upload), zipcodes)
    scores = {miner: float(found) for miner, found in counts.items()}
    seconds = time.monotonic() - began
    zc.submit_results(ended, scores=scores, listings_validated=counts.total(), duration_seconds=seconds)
    print(f"{ended.id}: {counts.total()} listings of {len(counts)} miners", flush=True)


def main(wallet: str, hotkey: str | None = None) -> None:
    """Work on every epoch after its end, until the program is stopped."""
    with zipcast.connect_sync(wallet=wallet, hotkey=hotkey) as zc:
        ended = None
        for epoch in zc.epochs():
            try:
                if ended is not None:
                    work_on(zc, ended)
            except zipcast.ZipcastError as error:
                print(f"{error} {error.remedy}", file=sys.stderr)
            ended = epoch


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:3])
