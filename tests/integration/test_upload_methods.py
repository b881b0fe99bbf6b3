"""Tests uploads without a form, to the real object store: files by presigned PUT, and large ones in parts."""

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

import httpx
import pytest
import pytest_asyncio

from devstack.object_store import MINER_BUCKET, VALIDATOR_BUCKET
from devstack.options import StackOptions
from devstack.servers import Servers
from devstack.stack import Stack
from storage.objects import credential_policies
from storage.objects.reading import ObjectReader
from storage.objects.store import ObjectStore, PresignedPut
from tests.support.both_clients import arguments, opened
from tests.support.fakes import EPOCH_ID, MINER_HOTKEY, STRANGER_HOTKEY, VALIDATOR_HOTKEY
from tests.support.people import keypair
from tests.support.processes import GENEROUS, wait_until
from tests.support.store_settings import config
from zipcast.client import multipart
from zipcast.client.multipart import PART_BYTES, upload_in_parts
from zipcast.client.transfers import put_file
from zipcast.errors import TransferError
from zipcast.protocol.messages.access import FileToUpload, S3Credentials

CONTENT = b"zipcode,listings\n19103,7\n" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MINE = credential_policies.miner_scope(MINER_BUCKET, MINER_HOTKEY, EPOCH_ID)
RESULTS = credential_policies.validator_scope(VALIDATOR_BUCKET, VALIDATOR_HOTKEY, EPOCH_ID)
FILE = FileToUpload(name="19103/listings €.csv", size_bytes=len(CONTENT))


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def store(servers: Servers) -> AsyncIterator[ObjectStore]:
    store = ObjectStore(config(servers))
    yield store
    store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "listings.csv"
    path.write_bytes(CONTENT)
    return path


def now() -> datetime:
    return datetime.now(UTC)


async def put(access: PresignedPut, content: bytes, url: str | None = None, **changed: str) -> int:
    async with httpx.AsyncClient() as http:
        headers = {name: value for name, value in access.headers.items() if name != "content-length"}
        answer = await http.put(url or access.url, headers=headers | changed, content=content)
    return answer.status_code


async def test_a_presigned_put_takes_the_file(store: ObjectStore, path: Path):
    access = store.presigned_put(MINE, FILE, {}, now(), 60)
    await put_file(
        access.url, access.headers, MINE.prefix + FILE.name, path, expires_at=now() + timedelta(minutes=1)
    )
    page = await store.list_versions(MINE, None)
    assert (MINE.prefix + FILE.name, len(CONTENT)) in [(one.key, one.size) for one in page.versions]


async def test_it_takes_nothing_else(store: ObjectStore):
    access = store.presigned_put(MINE, FILE, {}, now(), 60)
    other = access.url.replace(MINER_HOTKEY, STRANGER_HOTKEY)
    assert other != access.url
    assert await put(access, CONTENT[:-1]) == 403
    assert await put(access, CONTENT + b"x") == 403
    assert await put(access, CONTENT, url=other) == 403
    assert await put(access, CONTENT, url=access.url.replace("19103", "19104")) == 403
    expired = store.presigned_put(MINE, FILE, {}, now() - timedelta(minutes=2), 60)
    assert await put(expired, CONTENT) == 403


async def test_a_validators_file_has_its_metadata_and_the_checksum_that_was_signed(
    store: ObjectStore, servers: Servers
):
    file = FileToUpload(name="results.json", size_bytes=len(CONTENT), sha256=SHA256)
    access = store.presigned_put(RESULTS, file, {"epoch-id": EPOCH_ID}, now(), 60)
    false = b"x" * len(CONTENT)
    assert await put(access, false) >= 400
    assert await put(access, CONTENT, **{"x-amz-meta-epoch-id": "2026-11-22T08-00-00"}) == 403
    assert await put(access, CONTENT) == 200
    reader = ObjectReader(config(servers))
    found = await reader.look(VALIDATOR_BUCKET, RESULTS.prefix + file.name)
    reader.close()
    assert found is not None
    assert (found.size, found.sha256) == (len(CONTENT), SHA256)
    assert found.metadata["epoch-id"] == EPOCH_ID


async def credentials(store: ObjectStore) -> S3Credentials:
    policy = credential_policies.upload_session_policy(MINE)
    session = await store.session(policy, credential_policies.session_name(MINER_HOTKEY), 900)
    assert session is not None
    return S3Credentials(
        access_key=session.access_key,
        secret_key=session.secret_key.get_secret_value(),
        session_token=session.session_token.get_secret_value(),
        bucket=MINE.bucket,
        region=store.region,
        endpoint=store.endpoint_url,
        prefix=MINE.prefix,
        expiry=session.expires_at,
    )


async def test_a_large_file_goes_in_parts(store: ObjectStore, tmp_path: Path):
    path, counts = tmp_path / "large.parquet", []
    size = 2 * PART_BYTES + 5
    path.write_bytes(b"7" * size)
    key = MINE.prefix + "large.parquet"
    await upload_in_parts(
        await credentials(store),
        key,
        path,
        timeout_seconds=60,
        progress=lambda sent, whole: counts.append((sent, whole)),
    )
    (found,) = [one for one in (await store.list_versions(MINE, None)).versions if one.key == key]
    assert found.size == size
    assert found.etag.strip('"').endswith("-3")
    assert counts[-1] == (size, size)


async def test_parts_outside_the_folder_are_refused(store: ObjectStore, tmp_path: Path):
    path = tmp_path / "large.parquet"
    path.write_bytes(b"7" * (PART_BYTES + 1))
    key = MINE.prefix.replace(MINER_HOTKEY, STRANGER_HOTKEY) + "large.parquet"
    with pytest.raises(TransferError, match="AccessDenied") as refused:
        await upload_in_parts(await credentials(store), key, path, timeout_seconds=60)
    assert refused.value.status == 403
    assert refused.value.retry_after is None


async def test_a_store_that_is_not_there_may_be_tried_again(store: ObjectStore, tmp_path: Path):
    path = tmp_path / "large.parquet"
    path.write_bytes(b"7" * (PART_BYTES + 1))
    gone = (await credentials(store)).model_copy(update={"endpoint": "http://127.0.0.1:9"})
    with pytest.raises(TransferError, match="did not reply") as failed:
        await upload_in_parts(gone, MINE.prefix + "x", path, timeout_seconds=60)
    assert failed.value.retry_after is not None


@asynccontextmanager
async def hostile(reply: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """Run an object store that begins a reply to every request, and continues it as `reply` says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n\r\n")
        with suppress(ConnectionError):
            await reply(writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def endless(writer: asyncio.StreamWriter) -> None:
    for _ in range(64):
        writer.write(b"x" * 2**20)
        await writer.drain()


async def dripping(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("reply", [endless, dripping])
async def test_a_hostile_store_neither_fills_the_memory_nor_holds_the_thread(
    store: ObjectStore, tmp_path: Path, reply: Callable[[asyncio.StreamWriter], Awaitable[None]]
):
    path = tmp_path / "large.parquet"
    path.write_bytes(b"7" * (PART_BYTES + 1))
    async with hostile(reply) as url:
        given = (await credentials(store)).model_copy(update={"endpoint": url})
        with pytest.raises(TransferError):
            await upload_in_parts(given, MINE.prefix + "x", path, timeout_seconds=3)
        await wait_until(lambda: _busy() == 0)


def _busy() -> int:
    """Return how many threads run boto3."""
    frames = sys._current_frames().values()
    return sum("boto" in name for frame in frames for name in _files(frame))


def _files(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back


@pytest.mark.long
async def test_everything_works_with_a_store_that_takes_no_forms(tmp_path: Path, path: Path, monkeypatch):
    monkeypatch.setattr(multipart, "MIN_PARTS_FILE_BYTES", 1024)  # STS makes no session this short
    settings = {**GENEROUS, "S3_TAKES_FORMS": "false"}
    options = StackOptions(epoch_seconds=6, state=tmp_path / "state", settings=settings)
    results = tmp_path / "results.json"
    results.write_text("{}")
    async with Stack.running(options) as stack:
        miner = keypair(stack.ready, "miner-5").ss58_address
        async with opened("async", **arguments(stack.ready, "miner-5")) as client:
            async for epoch in client.epochs():
                if epoch.via != "request":
                    break
            keys = [(await client.upload(path, epoch=epoch, name=name)).key for name in ("a.csv", "b/c.csv")]
        async with opened("async", **arguments(stack.ready, "validator-1")) as validator:
            async for later in validator.epochs():
                if later.id > epoch.id:
                    break
            uploads = [one async for one in validator.uploads(epoch, miner=miner)]
            read = await validator.download(uploads[0], to=tmp_path)
            report = await validator.submit_results(
                epoch, scores={miner: 0.9}, listings_validated=7, duration_seconds=1.5, files=[results]
            )
    assert [one.key for one in uploads] == keys
    assert read.read_bytes() == CONTENT
    assert [one.checked_by for one in report.files] == ["checksum"]
