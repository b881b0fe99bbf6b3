"""Tests that presigned URLs and forms are, byte for byte, those of botocore at the same time."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from storage.objects.credential_policies import Listing, Scope, upload_form
from storage.objects.store import ObjectStore, ObjectStoreConfig, open_client
from tests.support.fakes import MINER_HOTKEY
from zipcast.protocol.messages.access import FileToUpload

SCOPE = Scope("uploads", f"data/hotkey={MINER_HOTKEY}/epoch=2026-11-22T04-00-00/")
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1)).map(  # noqa: DTZ001
    lambda at: at.replace(tzinfo=UTC, microsecond=0)
)
CONFIGS = [
    ObjectStoreConfig(endpoint, region, "AKIA+/=", SecretStr("sec/ret+="), None)
    for endpoint in (None, "http://127.0.0.1:9000", "https://nyc3.digitaloceanspaces.com")
    for region in ("us-east-1", "eu-central-1")
]
STORES = [(ObjectStore(config), open_client(config, "s3")) for config in CONFIGS]
KEYS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60
).filter(
    # No folder begins like this, and botocore would normalise it.
    lambda key: key[0] not in "/."
)

WORDS = st.from_regex(r"[A-Za-z0-9]+(?: [A-Za-z0-9:.-]+)*", fullmatch=True)
HASHES = st.binary(min_size=32, max_size=32)


@contextmanager
def at_that_time(at: datetime) -> Iterator[None]:
    """Set botocore's clock, which otherwise uses only the system's time."""

    def now(*, remove_tzinfo: bool = True) -> datetime:
        return at.replace(tzinfo=None) if remove_tzinfo else at

    with (
        patch("botocore.auth.get_current_datetime", now),
        patch("botocore.signers.get_current_datetime", now),
    ):
        yield


def taken_apart(url: str) -> tuple[str, list[tuple[str, str]]]:
    parts = urlsplit(url)
    return url.partition("?")[0], sorted(parse_qsl(parts.query, keep_blank_values=True))


@pytest.mark.parametrize(("store", "client"), STORES)
@settings(max_examples=30)
@given(at=TIMES, key=KEYS, version=st.none() | KEYS, seconds=st.integers(1, 604_800))
def test_an_object_is_addressed_as_botocore_does(store, client, at, key, version, seconds):
    params = {"Bucket": "uploads", "Key": f"data/{key}"} | ({} if version is None else {"VersionId": version})
    with at_that_time(at):
        expected = client.generate_presigned_url("get_object", params, seconds)
        found = store.get_url("uploads", f"data/{key}", version, at, seconds)
    assert taken_apart(found) == taken_apart(expected)


@pytest.mark.parametrize(("store", "client"), STORES)
@settings(max_examples=30)
@given(at=TIMES, after=st.none() | KEYS, folders=st.booleans())
def test_a_list_is_addressed_as_botocore_does(store, client, at, after, folders):
    listing = Listing("uploads", "data/", "/" if folders else None)
    params = {"Bucket": "uploads", "Prefix": "data/"}
    params |= {"Delimiter": "/"} if folders else {}
    params |= {} if after is None else {"StartAfter": after}
    with at_that_time(at):
        expected = client.generate_presigned_url("list_objects_v2", params, 60)
        found = store.list_url(listing, at, 60, after)
    assert taken_apart(found) == taken_apart(expected)


@pytest.mark.parametrize(("store", "client"), STORES)
@settings(max_examples=30)
@given(at=TIMES, name=KEYS, value=WORDS, size=st.integers(0, 5 * 1024**3), sha256=st.none() | HASHES)
def test_an_upload_is_addressed_as_botocore_does(store, client, at, name, value, size, sha256):
    file = FileToUpload.model_construct(name=name, size_bytes=size, sha256=sha256 and sha256.hex())
    params = {"Bucket": "uploads", "Key": SCOPE.prefix + name, "ContentLength": size}
    params |= {"Metadata": {"note": value}}
    params |= {} if sha256 is None else {"ChecksumSHA256": base64.b64encode(sha256).decode()}
    with at_that_time(at):
        expected = client.generate_presigned_url("put_object", params, 60)
        found = store.presigned_put(SCOPE, file, {"note": value}, at, 60)
    assert taken_apart(found.url) == taken_apart(expected)


@pytest.mark.parametrize(("store", "client"), STORES)
@settings(max_examples=30)
@given(at=TIMES, with_checksum=st.booleans(), value=st.text(max_size=20))
def test_a_form_binds_to_what_botocore_would(store, client, at, with_checksum, value):
    fields, conditions = upload_form(SCOPE, {"note": value}, with_checksum=with_checksum)
    with at_that_time(at):
        expected = client.generate_presigned_post(
            SCOPE.bucket, SCOPE.prefix + "${filename}", dict(fields), list(conditions), 60
        )
        found = store.post_form(SCOPE, {"note": value}, at, 60, with_checksum=with_checksum)
    assert found.url == expected["url"]
    assert found.fields.keys() == expected["fields"].keys()
    policies = [json.loads(base64.b64decode(one["policy"])) for one in (found.fields, expected["fields"])]
    assert policies[0]["expiration"] == policies[1]["expiration"]
    assert sorted(map(str, policies[0]["conditions"])) == sorted(map(str, policies[1]["conditions"]))
    same = {
        name: text for name, text in expected["fields"].items() if name not in {"policy", "x-amz-signature"}
    }
    assert same.items() <= found.fields.items()
