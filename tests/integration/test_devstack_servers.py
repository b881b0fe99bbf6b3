"""Tests the real servers that all other tests and `zipcast up` use."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import httpx
import nats
import psycopg
import pytest
import pytest_asyncio
from boto3.session import Session
from botocore.exceptions import ClientError

from devstack.kept_part import Event, PartStarted
from devstack.servers import Servers
from devstack.state import State
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

pytestmark = pytest.mark.long


class Revived:
    def __init__(self) -> None:
        self.pids: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, PartStarted) and event.restarted:
            self.pids[event.name] = event.pid


@pytest.fixture(scope="module")
def revived() -> Revived:
    return Revived()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def servers(tmp_path_factory, revived) -> AsyncIterator[Servers]:
    """Run servers for these tests alone, because they kill them."""
    async with Servers.running(State(tmp_path_factory.mktemp("own-servers")), revived) as servers:
        yield servers


def s3_client(servers: Servers, session: dict[str, str] | None = None) -> "S3Client":
    """Return the responder's client, or one with the credentials of a session."""
    settings = servers.s3_environment
    return Session().client(
        "s3",
        endpoint_url=settings["S3_ENDPOINT_URL"],
        region_name=settings["S3_REGION"],
        aws_access_key_id=session["AccessKeyId"] if session else settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=session["SecretAccessKey"] if session else settings["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=session["SessionToken"] if session else None,
    )


def assume_role(servers: Servers, prefix: str) -> dict[str, str]:
    settings = servers.s3_environment
    statement = {
        "Effect": "Allow",
        "Action": ["s3:PutObject"],
        "Resource": [f"arn:aws:s3:::{settings['S3_VALIDATOR_BUCKET']}/{prefix}*"],
    }
    client = Session().client(
        "sts",
        endpoint_url=settings["S3_ENDPOINT_URL"],
        region_name=settings["S3_REGION"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
    )
    answer = client.assume_role(
        RoleArn=settings["S3_ROLE_ARN"],
        RoleSessionName="test",
        DurationSeconds=900,
        Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    return dict(answer["Credentials"])  # type: ignore[arg-type]


async def connect_schedulers(servers: Servers) -> nats.NATS:
    return await nats.connect(
        servers.nats_url,
        nkeys_seed_str=servers.keys["schedulers"]["SCHEDULERS_NATS_SEED"],
        inbox_prefix=b"_INBOX.schedulers",
        allow_reconnect=False,
    )


async def test_a_service_user_enters_nats_with_its_key_and_jetstream_answers(servers):
    client = await connect_schedulers(servers)
    assert client.is_connected
    answer = await client.request("$JS.API.INFO", b"", timeout=2)
    assert "error" not in json.loads(answer.data)
    await client.close()


async def test_nobody_reaches_postgres_without_the_password(servers):
    with pytest.raises(psycopg.OperationalError, match="password"):
        await psycopg.AsyncConnection.connect(servers.admin_url.replace("zipcast:", "zipcast:not", 1))


async def test_fresh_databases_are_migrated_and_apart(servers):
    first, second = await servers.fresh_database(), await servers.fresh_database()
    async with await psycopg.AsyncConnection.connect(first) as connection:
        await connection.execute("create table only_here ()")
        assert await (await connection.execute("select count(*) from zipcodes")).fetchone() == (0,)
    async with await psycopg.AsyncConnection.connect(second) as connection:
        found = await connection.execute("select to_regclass('only_here'), to_regclass('zipcodes')")
        assert await found.fetchone() == (None, "zipcodes")
    await servers.drop_database(first)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        await psycopg.AsyncConnection.connect(first)


async def test_both_buckets_keep_every_version(servers):
    client = s3_client(servers)
    for bucket in (servers.s3_environment["S3_BUCKET"], servers.s3_environment["S3_VALIDATOR_BUCKET"]):
        put = [
            await asyncio.to_thread(client.put_object, Bucket=bucket, Key="versioned", Body=body)
            for body in (b"first", b"second")
        ]
        got = await asyncio.to_thread(
            client.get_object, Bucket=bucket, Key="versioned", VersionId=put[0]["VersionId"]
        )
        assert got["Body"].read() == b"first"
    client.close()


async def test_a_session_is_held_to_its_own_policy(servers):
    session = await asyncio.to_thread(assume_role, servers, "validators/a/")
    client, bucket = s3_client(servers, session), servers.s3_environment["S3_VALIDATOR_BUCKET"]
    await asyncio.to_thread(client.put_object, Bucket=bucket, Key="validators/a/1", Body=b"mine")
    for method, arguments in (
        (client.put_object, {"Bucket": bucket, "Key": "validators/b/1"}),
        (client.put_object, {"Bucket": servers.s3_environment["S3_BUCKET"], "Key": "validators/a/1"}),
        (client.get_object, {"Bucket": bucket, "Key": "validators/a/1"}),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            await asyncio.to_thread(method, **arguments)
    client.close()


async def test_a_form_signed_with_the_long_term_keys_uploads(servers):
    client = s3_client(servers)
    form = client.generate_presigned_post(servers.s3_environment["S3_BUCKET"], "form", ExpiresIn=60)
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(form["url"], data=form["fields"], files={"file": b"content"})
    assert answer.status_code == httpx.codes.NO_CONTENT
    client.close()


async def test_strangers_read_nothing_by_any_http_port_of_the_object_store(servers):
    ports, bucket = servers.ports, servers.s3_environment["S3_BUCKET"]
    client = s3_client(servers)
    await asyncio.to_thread(client.put_object, Bucket=bucket, Key="secret", Body=b"content")
    client.close()
    async with httpx.AsyncClient(trust_env=False) as http:
        for port, path in ((ports.s3, ""), (ports.weed_filer, "/buckets")):
            answer = await http.get(f"http://127.0.0.1:{port}{path}/{bucket}/secret")
            assert answer.status_code >= httpx.codes.BAD_REQUEST


async def test_postgres_killed_comes_back_with_what_it_acknowledged(servers, revived):
    url = await servers.fresh_database()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("create table kept as select 7 as value")
        os.kill(servers.supervisor.pids["postgres"], signal.SIGKILL)
    await wait_until(lambda: "postgres" in revived.pids)
    async with await psycopg.AsyncConnection.connect(url) as connection:
        assert await (await connection.execute("select value from kept")).fetchone() == (7,)


@pytest.mark.parametrize("name", ["nats", "object_store"])
async def test_the_other_servers_come_back_as_well(servers, revived, name):
    os.kill(servers.supervisor.pids[name], signal.SIGKILL)
    await wait_until(lambda: name in revived.pids)
    if name == "nats":
        await (await connect_schedulers(servers)).close()
        return
    client = s3_client(servers)
    key = {"Bucket": servers.s3_environment["S3_BUCKET"], "Key": "after"}
    await asyncio.to_thread(client.put_object, **key, Body=b"again")
    client.close()
