"""Tests issued credentials on the real store with everything that a thief or a curious neighbour would
try."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio
from botocore.exceptions import ClientError

from devstack.object_store import MINER_BUCKET, VALIDATOR_BUCKET, admin_client
from devstack.servers import Servers
from storage.objects import credential_policies
from storage.objects.checks.probing import client
from storage.objects.credential_policies import Scope
from storage.objects.store import ObjectStore, PostForm
from tests.support.fakes import EPOCH_ID, MINER_HOTKEY, STRANGER_HOTKEY, VALIDATOR_HOTKEY
from tests.support.store_settings import config
from zipcast.protocol.hotkeys import MalformedHotkeyError, parse_hotkey, public_key

pytestmark = pytest.mark.long

CONTENT = b"x" * 2_000
OTHER_EPOCH = "2026-11-22T08-00-00"
MINE = credential_policies.validator_scope(VALIDATOR_BUCKET, VALIDATOR_HOTKEY, EPOCH_ID)
SIBLING = credential_policies.validator_scope(VALIDATOR_BUCKET, VALIDATOR_HOTKEY, OTHER_EPOCH)
THEIRS = credential_policies.validator_scope(VALIDATOR_BUCKET, STRANGER_HOTKEY, EPOCH_ID)
FOLDER = credential_policies.miner_scope(MINER_BUCKET, MINER_HOTKEY, EPOCH_ID)


@dataclass(frozen=True)
class Held:
    """The credentials of one validator and one miner. `owner` sees everything."""

    session: Any
    owner: Any
    form: PostForm


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def held(servers: Servers) -> AsyncIterator[Held]:
    store = ObjectStore(config(servers))
    session = await store.session(credential_policies.upload_session_policy(MINE), "zipcast-thief", 3600)
    owner = admin_client(servers.state, servers.s3_environment["S3_ENDPOINT_URL"])
    for scope in (MINE, SIBLING, THEIRS):
        await asyncio.to_thread(owner.put_object, Bucket=scope.bucket, Key=f"{scope.prefix}a", Body=CONTENT)
    yield Held(client(config(servers), session), owner, store.post_form(FOLDER, {}, datetime.now(UTC), 600))
    store.close()


def keys_outside() -> list[tuple[str, str]]:
    prefix = MINE.prefix
    return [
        ("another hotkey", f"{THEIRS.prefix}b"),
        ("another epoch", f"{SIBLING.prefix}b"),
        ("a sibling that begins alike", f"{prefix.removesuffix('/')}0/b"),
        ("the folder's parent", prefix.rpartition("/epoch=")[0] + "/b"),
        ("up with dots", f"{prefix}../epoch={OTHER_EPOCH}/b"),
        (
            "up with encoded slashes",
            f"{prefix}..%2Fepoch={OTHER_EPOCH}%2Fb".replace(prefix, "validators/%2F"),
        ),
        ("a wildcard for a hotkey", f"validators/*/epoch={EPOCH_ID}/b"),
        ("a variable for a hotkey", "validators/${aws:username}/b"),
        ("a leading slash", f"/{prefix}b"),
        ("an empty key part", f"validators//{prefix}b"),
    ]


@pytest.mark.parametrize(("what", "key"), keys_outside(), ids=lambda text: str(text).replace(" ", "-")[:40])
async def test_a_session_puts_nothing_outside_its_folder(held: Held, what: str, key: str):
    before = await _everything(held, MINE.bucket)
    try:
        await asyncio.to_thread(held.session.put_object, Bucket=MINE.bucket, Key=key, Body=CONTENT)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] in {400, 403}, what
    added = set(await _everything(held, MINE.bucket)) - set(before)
    # A store may resolve dots itself. Then the resulting key must still be inside of the folder.
    assert all(name.startswith(MINE.prefix) for name in added), what


async def _everything(held: Held, bucket: str) -> list[str]:
    listed = await asyncio.to_thread(held.owner.list_object_versions, Bucket=bucket)
    return [version["Key"] for version in listed.get("Versions", [])]


def other_ways(s3: Any) -> dict[str, Callable[[], Any]]:
    bucket, inside, outside = MINE.bucket, f"{MINE.prefix}a", f"{THEIRS.prefix}a"
    grant = {"Bucket": bucket, "Key": inside}
    return {
        "read another's": lambda: s3.get_object(Bucket=bucket, Key=outside),
        "head another's": lambda: s3.head_object(Bucket=bucket, Key=outside),
        "copy another's in": lambda: s3.copy_object(
            **{**grant, "Key": f"{MINE.prefix}stolen"}, CopySource={"Bucket": bucket, "Key": outside}
        ),
        "copy own out": lambda: s3.copy_object(
            Bucket=bucket, Key=f"{THEIRS.prefix}planted", CopySource={"Bucket": bucket, "Key": inside}
        ),
        "begin a multipart elsewhere": lambda: s3.create_multipart_upload(Bucket=bucket, Key=outside),
        "delete its own": lambda: s3.delete_object(**grant),
        "delete another's": lambda: s3.delete_object(Bucket=bucket, Key=outside),
        "open its own to all": lambda: s3.put_object_acl(**grant, ACL="public-read"),
        "tag its own": lambda: s3.put_object_tagging(
            **grant, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}
        ),
        "list all": lambda: s3.list_objects_v2(Bucket=bucket),
        "list another's": lambda: s3.list_objects_v2(Bucket=bucket, Prefix=THEIRS.prefix),
        "list above": lambda: s3.list_objects_v2(Bucket=bucket, Prefix=MINE.prefix.rpartition("epoch=")[0]),
        "list versions": lambda: s3.list_object_versions(Bucket=bucket),
        "list uploads": lambda: s3.list_multipart_uploads(Bucket=bucket),
        "list buckets' policy": lambda: s3.get_bucket_policy(Bucket=bucket),
        "make the bucket public": lambda: s3.put_bucket_acl(Bucket=bucket, ACL="public-read"),
        "the miners' bucket": lambda: s3.list_objects_v2(Bucket=MINER_BUCKET, Prefix="data/"),
        "put among the miners": lambda: s3.put_object(
            Bucket=MINER_BUCKET, Key=f"{FOLDER.prefix}b", Body=b"x"
        ),
    }


@pytest.mark.parametrize("what", list(other_ways(None)))
async def test_a_session_does_nothing_else(held: Held, what: str):
    with pytest.raises(ClientError) as refused:
        await asyncio.to_thread(other_ways(held.session)[what])
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, what


async def test_a_session_deletes_nothing_in_bulk(held: Held):
    """The reply has status 200, and refuses each key."""
    wanted = {"Objects": [{"Key": f"{MINE.prefix}a"}, {"Key": f"{THEIRS.prefix}a"}]}
    answer = await asyncio.to_thread(held.session.delete_objects, Bucket=MINE.bucket, Delete=wanted)
    assert {one["Code"] for one in answer["Errors"]} == {"AccessDenied"}
    assert "Deleted" not in answer


async def test_a_multipart_begun_inside_ends_inside_alone(held: Held):
    s3, key = held.session, f"{MINE.prefix}parts"
    begun = await asyncio.to_thread(s3.create_multipart_upload, Bucket=MINE.bucket, Key=key)
    where = {"UploadId": begun["UploadId"], "Bucket": MINE.bucket}
    part = await asyncio.to_thread(s3.upload_part, **where, Key=key, PartNumber=1, Body=CONTENT)
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    for other in (f"{THEIRS.prefix}parts", f"{SIBLING.prefix}parts"):
        with pytest.raises(ClientError):
            await asyncio.to_thread(s3.complete_multipart_upload, **where, Key=other, MultipartUpload=parts)
    await asyncio.to_thread(s3.complete_multipart_upload, **where, Key=key, MultipartUpload=parts)
    assert key in await _everything(held, MINE.bucket)


def tampered() -> dict[str, Callable[[dict[str, str]], dict[str, str]]]:
    prefix = FOLDER.prefix
    return {
        "another hotkey": lambda f: {**f, "key": prefix.replace(MINER_HOTKEY, STRANGER_HOTKEY) + "b"},
        "another epoch": lambda f: {**f, "key": prefix.replace(EPOCH_ID, OTHER_EPOCH) + "b"},
        "a sibling that begins alike": lambda f: {**f, "key": prefix.removesuffix("/") + "0/b"},
        "another case": lambda f: {**f, "key": prefix.swapcase() + "b"},
        "public": lambda f: {**f, "key": prefix + "b", "acl": "public-read"},
        "another storage class": lambda f: {**f, "key": prefix + "b", "x-amz-storage-class": "GLACIER"},
        "a longer life": lambda f: {**f, "key": prefix + "b", "policy": f["policy"][:-8] + "AAAAAAAA"},
        "another signature": lambda f: {**f, "key": prefix + "b", "x-amz-signature": "0" * 64},
        "no signature": lambda f: (
            {n: v for n, v in f.items() if n != "x-amz-signature"} | {"key": prefix + "b"}
        ),
        "another day": lambda f: {**f, "key": prefix + "b", "x-amz-date": "20200101T000000Z"},
        "another bucket's form": lambda f: {**f, "key": prefix + "b", "bucket": VALIDATOR_BUCKET},
    }


async def post(form: PostForm, fields: dict[str, str], url: str | None = None) -> int:
    async with httpx.AsyncClient() as http:
        return (await http.post(url or form.url, data=fields, files={"file": CONTENT})).status_code


@pytest.mark.parametrize("what", [name for name in tampered() if name != "another bucket's form"])
async def test_a_form_that_was_changed_uploads_nothing(held: Held, what: str):
    before = await _everything(held, FOLDER.bucket)
    assert 400 <= await post(held.form, tampered()[what](held.form.fields)) < 500, what
    assert await _everything(held, FOLDER.bucket) == before


async def test_a_form_works_in_its_own_bucket_alone(held: Held):
    url = held.form.url.replace(MINER_BUCKET, VALIDATOR_BUCKET)
    assert 400 <= await post(held.form, {**held.form.fields, "key": f"{FOLDER.prefix}b"}, url) < 500


@pytest.mark.parametrize(
    "key", [f"{FOLDER.prefix}../../hotkey={STRANGER_HOTKEY}/b", f"{FOLDER.prefix}..%2F..%2Fb"]
)
async def test_dots_in_a_forms_key_lead_nowhere(held: Held, key: str):
    """S3 keys are flat. Such a key is inside of the folder or is refused, and never becomes a path."""
    before = set(await _everything(held, FOLDER.bucket))
    await post(held.form, {**held.form.fields, "key": key})
    added = set(await _everything(held, FOLDER.bucket)) - before
    assert all(name.startswith(FOLDER.prefix) for name in added)


async def test_an_expired_form_is_refused(servers: Servers):
    store = ObjectStore(config(servers))
    form = store.post_form(Scope(MINER_BUCKET, FOLDER.prefix), {}, datetime.now(UTC), 1)
    await asyncio.sleep(2.1)  # This is not synchronisation but the lifetime of the form.
    assert await post(form, {**form.fields, "key": f"{FOLDER.prefix}late"}) == 403
    store.close()


def test_a_hotkey_in_another_case_is_nobodys_hotkey():
    """The local store ignores case in policies, so the policy for `abc` would also open `ABC`. Of the
    spellings of a real address in another case, SS58's checksum accepts one in 65,536. That one is another
    public key, whose private key nobody has. So no two hotkeys that can sign differ in case alone."""
    chance = random.Random(46)  # noqa: S311 - the same respellings every time
    letters = [place for place, letter in enumerate(VALIDATOR_HOTKEY) if letter.isalpha()]
    passed = []
    for _ in range(200_000):
        changed = list(VALIDATOR_HOTKEY)
        for place in chance.sample(letters, chance.randint(1, 4)):
            changed[place] = changed[place].swapcase()
        with suppress(MalformedHotkeyError):
            passed.append(parse_hotkey("".join(changed)))
    assert len(passed) < 20
    assert public_key(VALIDATOR_HOTKEY) not in {public_key(hotkey) for hotkey in passed}
