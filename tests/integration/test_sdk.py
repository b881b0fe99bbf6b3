"""Tests the public client, with and without asyncio, against the real stack."""

from dataclasses import replace
from pathlib import Path

import pytest

import zipcast
from tests.support.both_clients import arguments, opened
from tests.support.people import keypair
from tests.support.uploads import CONTENT
from zipcast import (
    ClosedError,
    DamagedFileError,
    ErrorCode,
    NotRegisteredError,
    RefusedError,
    ServiceError,
    TooLargeError,
    TooLateError,
    TooSmallError,
    UnavailableError,
    WrongNetuidError,
    WrongNetworkError,
    WrongSignerError,
    Zipcast,
    ZipcastError,
)
from zipcast.client.local_stack import Ready
from zipcast.client.transfers import part_of
from zipcast.protocol.hotkeys import Keypair

pytestmark = [pytest.mark.long, pytest.mark.parametrize("kind", ["async", "sync"])]


@pytest.fixture
def listings(tmp_path: Path) -> Path:
    file = tmp_path / "listings.csv"
    file.write_bytes(CONTENT)
    return file


async def next_start(client: Zipcast) -> zipcast.Epoch:
    """Return an epoch that has just started, so that there is time for uploads."""
    async for epoch in client.epochs():
        if epoch.via == "push":
            return epoch
    raise AssertionError("the iteration ended")


async def wait_for_end(client: Zipcast, epoch: zipcast.Epoch) -> None:
    async for later in client.epochs():
        if later.id > epoch.id:
            return


async def test_a_miner_and_a_validator_do_their_whole_work(
    kind: str, ready: Ready, tmp_path: Path, listings: Path
):
    miner = keypair(ready, "miner-5").ss58_address
    sent: list[tuple[int, int]] = []
    async with opened(kind, **arguments(ready, "miner-5")) as client:
        epoch = await next_start(client)
        assert epoch.zipcodes
        assert (await client.current()).id >= epoch.id
        done = await client.upload(
            listings, epoch=epoch, name=f"{kind}/a.csv", progress=lambda *counts: sent.append(counts)
        )
        await client.upload(listings, epoch=epoch, name=f"{kind}/b.csv")
        receipt = await client.report_status(epoch, "COMPLETED", listings_scraped=7, s3_upload_complete=True)
    assert sent[-1] == (len(CONTENT), len(CONTENT))
    assert receipt.status == "COMPLETED"
    scores = tmp_path / "scores.json"
    scores.write_text("{}")
    async with opened(kind, **arguments(ready, "validator-1")) as validator:
        await wait_for_end(validator, epoch)
        found = {one.name: one async for one in validator.uploads(epoch, miner=miner)}
        read = await validator.download(found[f"{kind}/a.csv"], to=tmp_path)
        report = await validator.submit_results(
            epoch, scores={miner: 0.9}, listings_validated=7, duration_seconds=1.5, files=[scores]
        )
        results = await validator.results(epoch)
    assert found[f"{kind}/a.csv"].key == done.key
    assert read.read_bytes() == CONTENT
    assert read.parent == tmp_path
    assert [one.checked_by for one in report.files] == ["checksum"]
    assert any(one.miners_evaluated == 1 for one in results.reports)


async def test_a_download_continues_where_it_stopped_and_is_checked(
    kind: str, ready: Ready, tmp_path: Path, listings: Path
):
    async with opened(kind, **arguments(ready, "miner-7")) as client:
        epoch = await next_start(client)
        await client.upload(listings, epoch=epoch)
    miner = keypair(ready, "miner-7").ss58_address
    async with opened(kind, **arguments(ready, "validator-1", retry_seconds=0)) as validator:
        await wait_for_end(validator, epoch)
        upload = await anext(validator.uploads(epoch, miner=miner))
        whole, counts = tmp_path / "whole", []
        # A presigned URL that expires soon is renewed.
        await validator.download(replace(upload, expires_at=epoch.start_at), to=whole)
        assert whole.read_bytes() == CONTENT
        with pytest.raises(DamagedFileError):
            await validator.download(replace(upload, etag="0" * 32), to=tmp_path / "other")
        with pytest.raises(zipcast.TransferError):
            await validator.download(
                replace(upload, size_bytes=upload.size_bytes + 1), to=tmp_path / "longer"
            )
        assert not (tmp_path / "other").exists()
        assert not (tmp_path / "longer").exists()
        # The start of the file exists already, with other bytes. This shows that only the rest is read.
        part_of(tmp_path / "half", upload.etag).write_bytes(CONTENT[:400])
        await validator.download(upload, to=tmp_path / "half", progress=lambda *count: counts.append(count))
    assert (tmp_path / "half").read_bytes() == CONTENT
    assert counts[0][0] > 400


async def test_files_of_a_wrong_size_or_too_late_are_refused_before_they_are_sent(
    kind: str, ready: Ready, tmp_path: Path, listings: Path
):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"x")
    with large.open("wb") as file:
        file.truncate(6 * 2**30)
    sent: list[int] = []
    async with opened(kind, **arguments(ready, "miner-6")) as client:
        epoch = await next_start(client)
        with pytest.raises(TooSmallError):
            await client.upload(small, epoch=epoch)
        with pytest.raises(TooLargeError):
            await client.upload(large, epoch=epoch, progress=lambda count, _: sent.append(count))
        assert sent == []
        assert epoch.previous_id is not None
        with pytest.raises(TooLateError):
            await client.upload(listings, epoch=epoch.previous_id)
        with pytest.raises(FileNotFoundError):
            await client.upload(tmp_path / "none", epoch=epoch)


async def test_refusals_name_the_request_and_the_remedy(kind: str, ready: Ready):
    async with opened(kind, **arguments(ready, "validator-2", retry_seconds=0)) as client:
        with pytest.raises(ServiceError) as refused:
            await client.results("2020-01-01T00-00-00")
        running = await next_start(client)
        with pytest.raises(ServiceError) as early:
            [one async for one in client.uploads(running)]
        with pytest.raises(ServiceError) as malformed:
            await client.report_status(running, "COMPLETED", listings_scraped=-1)
    assert refused.value.code is ErrorCode.EPOCH_NOT_FOUND
    assert refused.value.request_id
    assert refused.value.remedy
    assert early.value.code is ErrorCode.EPOCH_NOT_ENDED
    assert malformed.value.code is ErrorCode.MALFORMED_REQUEST


async def test_a_miner_gets_no_uploads_to_read(kind: str, ready: Ready):
    async with opened(kind, **arguments(ready, "miner-1")) as client:
        with pytest.raises(ServiceError) as refused:
            [one async for one in client.uploads("2020-01-01T00-00-00")]
    assert refused.value.code is ErrorCode.VALIDATOR_REQUIRED


async def test_a_closed_client_says_so(kind: str, ready: Ready):
    async with opened(kind, **arguments(ready, "miner-1")) as client:
        await anext(client.epochs())
    with pytest.raises(ClosedError):
        await anext(client.epochs())


@pytest.mark.parametrize(
    ("changed", "without_bridge", "with_bridge"),
    [
        ({"network": "finney"}, RefusedError, WrongNetworkError),
        ({"netuid": 1}, RefusedError, WrongNetuidError),
        ({"signer": Keypair.create_from_uri("//Other").ss58_address}, WrongSignerError, WrongSignerError),
        ({"wallet": Keypair.create_from_uri("//Stranger")}, RefusedError, NotRegisteredError),
        ({"servers": "nats://127.0.0.1:9"}, UnavailableError, None),
    ],
)
async def test_each_wrong_setting_ends_in_an_error_that_names_it(
    kind: str,
    ready: Ready,
    changed: dict[str, object],
    without_bridge: type[ZipcastError],
    with_bridge: type[ZipcastError] | None,
):
    given = arguments(ready, "miner-1", retry_seconds=0) | changed
    for http, expected in ((None, without_bridge), (ready.http, with_bridge)):
        if expected is None:  # the bridge replaces NATS
            async with opened(kind, **given, http=http) as client:
                assert (await anext(client.epochs())).zipcodes
            continue
        with pytest.raises(expected):
            async with opened(kind, **given, http=http) as client:
                await anext(client.epochs())


async def test_everything_works_over_http_alone(kind: str, ready: Ready, tmp_path: Path, listings: Path):
    miner = keypair(ready, "miner-4").ss58_address
    async with opened(kind, **arguments(ready, "miner-4", servers=None, http=ready.http)) as client:
        epoch = await next_start(client)
        done = await client.upload(listings, epoch=epoch)
        receipt = await client.report_status(epoch, "COMPLETED", s3_upload_complete=True)
        assert receipt.epoch_id == epoch.id
    async with opened(kind, **arguments(ready, "validator-2", servers=None, http=ready.http)) as validator:
        await wait_for_end(validator, epoch)
        found = [one async for one in validator.uploads(epoch, miner=miner)]
        assert [one.key for one in found] == [done.key]
        assert (await validator.download(found[0], to=tmp_path / "read")).read_bytes() == CONTENT
        report = await validator.submit_results(
            epoch, scores={miner: 1.0}, listings_validated=0, duration_seconds=1, files=[listings]
        )
        assert report.in_force
