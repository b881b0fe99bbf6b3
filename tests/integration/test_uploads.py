"""Tests issued credentials with the object store: they open their own folder and nothing else."""

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError
from sqlalchemy import select

from storage.database.engine import open_engine
from storage.database.tables import CredentialIssuance
from tests.support.people import client, fresh_grant, keypair, read_sealed
from tests.support.uploads import CONTENT, s3_client
from zipcast.client.local_stack import Ready
from zipcast.client.transfers import fetch, post_file
from zipcast.errors import TransferError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "listings.csv"
    path.write_bytes(CONTENT)
    return path


async def test_a_miners_upload_is_read_by_a_validator_once_the_epoch_has_ended(ready: Ready, file: Path):
    miner = keypair(ready, "miner-1").ss58_address
    async with client(ready, "miner-1") as miner_client, client(ready, "validator-1") as validator:
        grant = await fresh_grant(miner_client)
        epoch_id = grant.epoch_id
        assert grant.prefix == f"data/hotkey={miner}/epoch={epoch_id}/"
        assert grant.expires_at <= (await miner_client.current()).message.submission_deadline
        key = await post_file(grant.url, grant.fields, "19123/listings.csv", file)
        assert key == grant.prefix + "19123/listings.csv"
        async for received in miner_client.epochs():
            if received.epoch.message.epoch_id > epoch_id:
                break
        page = await read_sealed(validator, epoch_id, miner_hotkey=miner)
    assert [found.key for found in page.objects] == [key]
    assert await fetch(page.objects[0].url) == CONTENT


async def test_a_miners_form_takes_no_key_outside_its_folder(ready: Ready, file: Path):
    async with client(ready, "miner-2") as connected:
        grant = await fresh_grant(connected)
    for key in ("data/hotkey=somebody/x.csv", "validators/x.csv", "x.csv"):
        with pytest.raises(TransferError) as caught:
            await post_file(grant.url, {**grant.fields, "key": key}, "x.csv", file)
        assert caught.value.status == 403


async def test_a_file_below_the_smallest_size_is_refused_with_the_reason(ready: Ready, tmp_path: Path):
    tiny = tmp_path / "tiny.json"
    tiny.write_bytes(b"{}")
    async with client(ready, "miner-2") as connected:
        grant = await fresh_grant(connected)
    with pytest.raises(TransferError, match="EntityTooSmall"):
        await post_file(grant.url, grant.fields, "tiny.json", tiny)


async def test_a_validators_form_passes_unchanged_and_carries_the_required_metadata(ready: Ready, file: Path):
    validator = keypair(ready, "validator-1").ss58_address
    async with client(ready, "validator-1") as connected:
        epoch_id = (await connected.current()).message.epoch_id
        issued = await connected.validator_upload(epoch_id)
    assert issued.metadata.folder_path == f"validators/{validator}/epoch={epoch_id}/"
    key = await post_file(issued.upload_url, issued.fields, "results.csv", file)
    assert issued.s3_credentials is not None
    s3 = s3_client(issued.s3_credentials)
    head = await asyncio.to_thread(s3.head_object, Bucket=ready.s3.validator_bucket, Key=key)
    assert set(head["Metadata"]) == set(issued.upload_guidelines.required_metadata)
    assert head["Metadata"]["validator-hotkey"] == validator


async def test_session_credentials_open_one_folder_of_one_epoch(ready: Ready):
    async with client(ready, "validator-1") as one, client(ready, "validator-2") as other:
        epoch_id = (await one.current()).message.epoch_id
        credentials = (await one.validator_upload(epoch_id)).s3_credentials
        foreign = (await other.validator_upload(epoch_id)).s3_credentials
    assert credentials is not None
    assert foreign is not None
    s3, bucket = s3_client(credentials), credentials.bucket
    await asyncio.to_thread(s3.put_object, Bucket=bucket, Key=credentials.prefix + "a.json", Body=CONTENT)
    listed = await asyncio.to_thread(s3.list_objects_v2, Bucket=bucket, Prefix=credentials.prefix)
    assert credentials.prefix + "a.json" in [found["Key"] for found in listed["Contents"]]
    outside = [
        (s3.put_object, {"Bucket": bucket, "Key": foreign.prefix + "a.json", "Body": CONTENT}),
        (s3.get_object, {"Bucket": bucket, "Key": foreign.prefix + "a.json"}),
        (s3.put_object, {"Bucket": ready.s3.miner_bucket, "Key": credentials.prefix + "a", "Body": CONTENT}),
        (s3.list_objects_v2, {"Bucket": bucket, "Prefix": foreign.prefix}),
        (s3.list_objects_v2, {"Bucket": bucket}),
        (s3.delete_object, {"Bucket": bucket, "Key": credentials.prefix + "a.json"}),
    ]
    for call, arguments in outside:
        with pytest.raises(ClientError, match=r"AccessDenied|403"):
            await asyncio.to_thread(call, **arguments)


async def test_every_issuance_is_a_row(ready: Ready):
    async with client(ready, "miner-7") as connected:
        grant = await fresh_grant(connected)
    engine = open_engine(ready.postgres, application_name="test")
    query = select(CredentialIssuance.prefix, CredentialIssuance.expires_at, CredentialIssuance.role)
    async with engine.connect() as connection:
        rows = (await connection.execute(query.where(CredentialIssuance.prefix == grant.prefix))).all()
    await engine.dispose()
    assert [(row.prefix, row.role) for row in rows] == [(grant.prefix, "miner")]
    assert abs(rows[0].expires_at - grant.expires_at) <= timedelta(seconds=1)


async def test_nobody_lists_a_bucket_without_a_signature(ready: Ready):
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{ready.s3.endpoint}/{ready.s3.miner_bucket}/?list-type=2")
    assert answer.status_code == 403
