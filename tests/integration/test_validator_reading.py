"""Tests what validators can read with the object store: ended epochs, and nothing else."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from botocore.exceptions import ClientError

from devstack.object_store import admin_client
from devstack.stack import Stack
from tests.support.people import client, fresh_grant, keypair, legacy, read_sealed
from tests.support.uploads import CONTENT, s3_client
from zipcast.client.local_stack import Ready
from zipcast.client.transfers import post_file
from zipcast.protocol import signed_texts
from zipcast.protocol.calendar import parse_epoch_id
from zipcast.protocol.errors import ErrorCode, ServiceError

NEW = b"changed\n" * 200


async def test_reading_credentials_open_the_ended_epoch_of_every_miner_and_nothing_else(
    ready: Ready, tmp_path: Path
):
    file = tmp_path / "listings.csv"
    file.write_bytes(CONTENT)
    async with client(ready, "miner-3") as one, client(ready, "miner-4") as two:
        grant = await fresh_grant(one)
        epoch_id = grant.epoch_id
        keys = [await post_file(grant.url, grant.fields, "listings.csv", file)]
        other = await two.miner_upload(epoch_id)
        keys.append(await post_file(other.url, other.fields, "listings.csv", file))
        async with client(ready, "validator-1") as validator:
            page = await read_sealed(validator, epoch_id, with_credentials=True)
        running = await fresh_grant(one)
        newer = await post_file(running.url, running.fields, "listings.csv", file)
    assert {found.key for found in page.objects} >= set(keys)
    credentials = page.s3_credentials
    assert credentials is not None
    s3, bucket = s3_client(credentials), credentials.bucket
    for key in keys:
        read = await asyncio.to_thread(s3.get_object, Bucket=bucket, Key=key)
        assert read["Body"].read() == CONTENT
        folder = key.removesuffix("listings.csv")
        listed = await asyncio.to_thread(s3.list_objects_v2, Bucket=bucket, Prefix=folder)
        assert [found["Key"] for found in listed["Contents"]] == [key]
    outside = [
        (s3.get_object, {"Key": newer}),
        (s3.list_objects_v2, {"Prefix": newer.removesuffix("listings.csv")}),
        (s3.list_objects_v2, {"Prefix": "data/"}),
        (s3.put_object, {"Key": keys[0], "Body": NEW}),
        (s3.delete_object, {"Key": keys[0]}),
    ]
    for call, arguments in outside:
        with pytest.raises(ClientError, match=r"AccessDenied|403"):
            await asyncio.to_thread(call, Bucket=bucket, **arguments)
    with pytest.raises(ClientError, match=r"AccessDenied|403"):
        await asyncio.to_thread(s3.get_object, Bucket=ready.s3.validator_bucket, Key=keys[0])


async def thousand_and_five(stack: Stack, ready: Ready, folder: str) -> list[str]:
    """Upload 1,005 objects, and return their keys. A presigned list has at most 1,000."""
    s3 = admin_client(stack.servers.state, ready.s3.endpoint)
    names = [f"{folder}{number:04}.json" for number in range(1_005)]

    def put(some: list[str]) -> None:
        for name in some:
            s3.put_object(Bucket=ready.s3.miner_bucket, Key=name, Body=b"x")

    await asyncio.gather(*(asyncio.to_thread(put, names[part::4]) for part in range(4)))
    return names


async def listed(next_page: Callable[[str | None], Awaitable[str]]) -> tuple[list[str], int]:
    """Return all keys, read page by page, and the number of pages. `next_page` returns the URL of the page
    after a key."""
    found: list[str] = []
    pages, more = 0, True
    async with httpx.AsyncClient() as http:
        while more:
            answer = await http.get(await next_page(found[-1] if found else None))
            assert answer.status_code == 200, answer.text
            keys = re.findall(r"<Key>([^<]+)</Key>", answer.text)
            assert len(keys) <= 1_000
            found += [unquote(key) for key in keys]
            pages, more = pages + 1, "<IsTruncated>true</IsTruncated>" in answer.text
    return found, pages


@pytest.mark.long  # a thousand uploads
async def test_a_list_of_an_ended_epoch_goes_on_after_a_thousand_keys(stack: Stack, ready: Ready):
    miner = keypair(ready, "miner-6").ss58_address
    async with client(ready, "validator-2") as validator:
        running = (await validator.current()).message.epoch_id
        with pytest.raises(ServiceError) as refused:
            await validator.miner_list(running, miner)
        assert refused.value.code is ErrorCode.EPOCH_NOT_ENDED
        ended = (await anext(validator.epochs())).epoch.message.previous_epoch_id
        assert ended is not None
        names = await thousand_and_five(stack, ready, f"data/hotkey={miner}/epoch={ended}/")

        async def next_page(after: str | None) -> str:
            return (await validator.miner_list(ended, miner, after)).url

        assert await listed(next_page) == (names, 2)


@pytest.mark.long  # a thousand uploads
async def test_a_legacy_client_reads_all_keys(stack: Stack, ready: Ready, http: httpx.AsyncClient):
    miner, signer = keypair(ready, "miner-7").ss58_address, keypair(ready, "validator-1")
    names = await thousand_and_five(stack, ready, f"data/hotkey={miner}/many/")
    signed_at = iter(range(int(time.time()) - 50, int(time.time())))  # a text of its own for each page

    async def of_the_miner(after: str | None) -> str:
        text = signed_texts.MINER_ACCESS_COMMITMENT.replace("{miner_hotkey}", miner)
        body = legacy(signer, text, timestamp=next(signed_at)) | {"miner_hotkey": miner}
        more = {} if after is None else {"start_after": after}
        reply = await http.post("/get-miner-specific-access", json=body | more)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["miner_url"])

    async def of_all(after: str | None) -> str:
        body = legacy(signer, signed_texts.VALIDATOR_ACCESS_COMMITMENT, timestamp=next(signed_at))
        more = {} if after is None else {"start_after": after}
        reply = await http.post("/get-validator-access", json=body | more)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["urls"]["global"]["list_all_data"])

    found, pages = await listed(of_the_miner)
    assert (sorted(set(found) & set(names)), pages) == (names, 2)
    everything, _ = await listed(of_all)
    assert set(names) <= set(everything)


@pytest.mark.long
async def test_what_is_changed_after_the_deadline_does_not_count(stack: Stack, ready: Ready, tmp_path: Path):
    """The legacy form can write to the folders of all epochs for a day. What it changes is a new version."""
    file = tmp_path / "listings.csv"
    file.write_bytes(CONTENT)
    address = keypair(ready, "miner-5").ss58_address
    async with client(ready, "miner-5") as miner, client(ready, "validator-1") as validator:
        grant = await fresh_grant(miner)
        key = await post_file(grant.url, grant.fields, "listings.csv", file)
        page = await read_sealed(validator, grant.epoch_id, miner_hotkey=address)
        s3 = admin_client(stack.servers.state, ready.s3.endpoint)
        await asyncio.to_thread(s3.put_object, Bucket=grant.bucket, Key=key, Body=NEW)
        again = await read_sealed(validator, grant.epoch_id, miner_hotkey=address)
    assert [(one.key, one.version_id) for one in again.objects] == [
        (one.key, one.version_id) for one in page.objects
    ]
    assert parse_epoch_id(grant.epoch_id) <= again.objects[0].last_modified
    async with httpx.AsyncClient() as http:
        assert (await http.get(again.objects[0].url)).content == CONTENT
