"""Tests the fake service for users' tests, with both clients. It listens only on this machine."""

import subprocess
import sys
from pathlib import Path

import pytest

import zipcast
from tests.support.both_clients import opened
from zipcast import ErrorCode
from zipcast.testing import PAGE_SIZE, FakeService

pytestmark = pytest.mark.parametrize("kind", ["async", "sync"])
FILES = PAGE_SIZE + 5


async def test_a_miner_and_a_validator_can_be_tested_with_it(kind: str, tmp_path: Path):
    file = tmp_path / "listings.bin"
    file.write_bytes(bytes(range(256)) + b"\r\n--\r\n")
    with FakeService() as service:
        first = service.start_epoch()
        miner, validator = service.keypair("miner"), service.keypair("validator")
        async with opened(kind, **service.arguments, wallet=miner) as client:
            epochs = client.epochs()
            epoch = await anext(epochs)
            assert epoch.message == first
            for number in range(FILES):
                await client.upload(file, epoch=epoch, name=f"{number}.bin")
            await client.report_status(epoch, "COMPLETED", listings_scraped=3)
            second = service.start_epoch()
            assert (await anext(epochs)).message == second
            with pytest.raises(zipcast.TooLateError):
                await client.upload(file, epoch=first.epoch_id)
        assert len(service.stored(first)) == FILES
        assert [(who, one.listings_scraped) for who, one in service.reports] == [(miner.ss58_address, 3)]
        async with opened(kind, **service.arguments, wallet=validator) as client:
            read = [path async for _, path in client.download_all(first.epoch_id, to=tmp_path)]
            assert {path.read_bytes() for path in read} == {file.read_bytes()}
            assert len(read) == FILES
            done = await client.submit_results(
                first.epoch_id,
                scores={miner.ss58_address: 1.0},
                listings_validated=3,
                duration_seconds=1,
                files=[file],
            )
            assert (await client.results(first.epoch_id)).epoch_id == first.epoch_id
        assert done.in_force
        assert [one.top_miners[0].hotkey for _, one in service.results] == [miner.ss58_address]


async def test_a_refusal_is_repeated_or_raised_as_the_real_one(kind: str, tmp_path: Path):
    file = tmp_path / "listings.bin"
    file.write_bytes(b"x")
    with FakeService() as service:
        epoch = service.start_epoch()
        service.refuse("s3.miner-upload", ErrorCode.CREDENTIALS_UNAVAILABLE, retry_after=1)
        async with opened(kind, **service.arguments, wallet=service.keypair("miner")) as client:
            assert (await client.upload(file, epoch=epoch)).epoch_id == epoch.epoch_id
            service.refuse("miner.status", ErrorCode.NOT_REGISTERED)
            with pytest.raises(zipcast.NotRegisteredError) as refused:
                await client.report_status(epoch, "COMPLETED")
    assert refused.value.request_id


async def test_without_an_epoch_the_error_says_so(kind: str):
    with FakeService() as service:
        async with opened(kind, **service.arguments, wallet=service.keypair("miner")) as client:
            with pytest.raises(zipcast.ServiceError) as refused:
                await client.current()
    assert refused.value.code is ErrorCode.NO_CURRENT_EPOCH


def test_a_program_is_configured_by_its_environment(kind: str):
    opening = "connect_sync" if kind == "sync" else "connect"
    program = (
        f"import zipcast; print(zipcast.{opening}(wallet=zipcast.Keypair.create_from_uri('//A')).hotkey)"
    )
    with FakeService() as service:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PATH": "", **service.environment},
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == service.keypair("A").ss58_address
