"""Paging through versions on the real store: each key once, with the version that met the deadline."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import boto3
import pytest_asyncio
from botocore.config import Config
from pydantic import SecretStr

from broker_service.responder.reading import Reader
from devstack.servers import Servers
from runtime.identity import Caller
from storage.object_store import Marker, ObjectStore, ObjectStoreConfig, VersionPage
from storage.policies import Scope
from tests.unit.fakes import MINER_HOTKEY, VALIDATOR_HOTKEY, FakeClock, FakeRecord
from zipcast.calendar import parse_epoch_id
from zipcast.messages import ReadableObject, ValidatorReadRequest

# Far ahead, so that whatever is uploaded now is in time.
EPOCH_ID = "2099-01-01T00-00-00"
KEYS = ["a.json", "b.json", "c.json"]
VERSIONS = 4


class SmallPages(ObjectStore):
    """The real store with pages of three versions, so that one key's versions span pages."""

    async def list_versions(self, scope: Scope, after: Marker | None, page_size: int = 3) -> VersionPage:
        return await super().list_versions(scope, after, page_size)


@pytest_asyncio.fixture(loop_scope="session")
async def store(servers: Servers):
    environment = servers.s3_environment
    store = SmallPages(
        ObjectStoreConfig(
            endpoint_url=environment["S3_ENDPOINT_URL"],
            region=environment["S3_REGION"],
            access_key_id=environment["AWS_ACCESS_KEY_ID"],
            secret_access_key=SecretStr(environment["AWS_SECRET_ACCESS_KEY"]),
            role_arn=environment["S3_ROLE_ARN"],
        )
    )
    yield store
    store.close()


async def read_all(reader: Reader) -> list[ReadableObject]:
    caller = Caller(VALIDATOR_HOTKEY, "validator", uuid4().hex, "nats")
    found: list[ReadableObject] = []
    token: str | None = None
    while True:
        request = ValidatorReadRequest(epoch_id=EPOCH_ID, miner_hotkey=MINER_HOTKEY, page_token=token)
        page = await reader.miner_objects(caller, request)
        found += page.objects
        token = page.next_page_token
        if token is None:
            return found


async def test_a_key_whose_versions_span_pages_appears_once_with_its_newest(
    servers: Servers, store: SmallPages
):
    environment = servers.s3_environment
    s3 = boto3.client(
        "s3",
        endpoint_url=environment["S3_ENDPOINT_URL"],
        region_name=environment["S3_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )
    bucket = environment["S3_BUCKET"]
    prefix = f"data/hotkey={MINER_HOTKEY}/epoch={EPOCH_ID}/"
    newest = {}
    for key in KEYS:
        for number in range(VERSIONS):
            put = await asyncio.to_thread(
                s3.put_object, Bucket=bucket, Key=prefix + key, Body=b"x" * (number + 1)
            )
            newest[prefix + key] = put["VersionId"]
    after_the_end = parse_epoch_id(EPOCH_ID) + timedelta(days=1)
    reader = Reader(store, FakeRecord(), FakeClock(after_the_end), bucket)
    found = await read_all(reader)
    assert [(item.key, item.version_id) for item in found] == sorted(newest.items())
