"""`zipcast s3` on a real store: what is proven, what is found wanting, what is taken back."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from botocore.exceptions import ClientError
from pydantic import SecretStr
from typer.testing import CliRunner

from devstack.object_store import MINER_BUCKET, VALIDATOR_BUCKET, admin_client
from devstack.servers import Servers
from storage.objects import credential_policies as policies
from storage.objects.bucket_policies import BucketPolicies
from storage.objects.checks import Finding, Status, check_object_store
from storage.objects.checks.probing import client
from storage.objects.store import ObjectStore, ObjectStoreConfig
from tests.support.fakes import EPOCH_ID, MINER_HOTKEY, STRANGER_HOTKEY, VALIDATOR_HOTKEY, FakeClock
from tests.support.processes import wait_until
from tests.support.store_settings import config as config_of
from zipcast.cli.app import app
from zipcast.clock import Clock, SystemClock

DOCUMENTS = Path(__file__).parents[2] / "deploy" / "s3"
CONTENT = b"x" * 2_000


@pytest.fixture
def config(servers: Servers) -> ObjectStoreConfig:
    return config_of(servers)


@pytest_asyncio.fixture(loop_scope="session")
async def buckets(servers: Servers) -> AsyncIterator[tuple[str, str]]:
    """The local ones, put back in order afterwards."""
    s3 = admin_client(servers.state, servers.s3_environment["S3_ENDPOINT_URL"])
    yield MINER_BUCKET, VALIDATOR_BUCKET
    for bucket in (MINER_BUCKET, VALIDATOR_BUCKET):
        with suppress(ClientError):  # where no test put one
            await asyncio.to_thread(s3.delete_bucket_policy, Bucket=bucket)
        status = {"Status": "Enabled"}
        await asyncio.to_thread(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration=status)


async def findings(
    config: ObjectStoreConfig, buckets: tuple[str, str], clock: Clock | None = None
) -> dict[str, Finding]:
    checks = check_object_store(config, *buckets, STRANGER_HOTKEY, clock or SystemClock())
    return {finding.subject: finding async for finding in checks}


async def test_the_local_store_does_what_zipcast_relies_on(
    servers: Servers, config: ObjectStoreConfig, buckets: tuple[str, str]
):
    found = await findings(config, buckets)
    assert [finding for finding in found.values() if finding.status is Status.FAILED] == []
    warned = {subject for subject, finding in found.items() if finding.status is Status.WARNING}
    unknown_here = ("public access block", "accepts acl=private")
    assert warned == {f"{bucket}: {what}" for bucket in buckets for what in unknown_here}
    tried = {"sessions: delete", "sessions: put into another epoch", f"{buckets[0]}: a form with another key"}
    assert tried <= found.keys()
    s3 = admin_client(servers.state, config.endpoint_url or "")
    for bucket in buckets:
        left = await asyncio.to_thread(s3.list_object_versions, Bucket=bucket, Prefix="")
        keys = [version["Key"] for version in left.get("Versions", [])]
        assert [key for key in keys if STRANGER_HOTKEY in key and "1970" in key] == []


async def test_versioning_that_is_off_is_found(
    servers: Servers, config: ObjectStoreConfig, buckets: tuple[str, str]
):
    s3 = admin_client(servers.state, config.endpoint_url or "")
    off = {"Status": "Suspended"}
    await asyncio.to_thread(s3.put_bucket_versioning, Bucket=buckets[0], VersioningConfiguration=off)
    found = await findings(config, buckets)
    assert found[f"{buckets[0]}: versioning"].status is Status.FAILED
    assert "versioning.json" in found[f"{buckets[0]}: versioning"].fix


async def test_a_public_bucket_is_found(
    servers: Servers, config: ObjectStoreConfig, buckets: tuple[str, str]
):
    s3 = admin_client(servers.state, config.endpoint_url or "")
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{buckets[1]}"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    await asyncio.to_thread(s3.put_bucket_policy, Bucket=buckets[1], Policy=policy)
    found = await findings(config, buckets)
    assert found[f"{buckets[1]}: not public"].status is Status.FAILED


@pytest.mark.parametrize(
    ("action", "what"),
    [
        ("s3:ListBucketVersions", "list versions (AccessDenied)"),
        ("s3:GetObject", "inspect (403)"),
        ("s3:GetObjectVersion", "read (AccessDenied)"),
    ],
)
async def test_a_right_to_read_that_is_missing_is_found(
    servers: Servers, config: ObjectStoreConfig, buckets: tuple[str, str], action: str, what: str
):
    """What sealing and validators need; without it epochs would stay unsealed for ever."""
    s3 = admin_client(servers.state, config.endpoint_url or "")
    arn = f"arn:aws:s3:::{buckets[0]}"
    statement = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": [arn, f"{arn}/*"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    await asyncio.to_thread(s3.put_bucket_policy, Bucket=buckets[0], Policy=policy)
    found = await findings(config, buckets)
    for subject in (f"{buckets[0]}: reading the uploaded file", "sessions for reading"):
        assert found[subject].status is Status.FAILED
        assert what in found[subject].message
        assert found[subject].fix


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"access_key_id": "nobody"}, f"{MINER_BUCKET}: reachable"),
        ({"role_arn": "arn:aws:iam::000000000000:role/none"}, "sessions"),
    ],
)
async def test_wrong_keys_and_roles_are_found(
    config: ObjectStoreConfig, buckets: tuple[str, str], changes: dict[str, str], subject: str
):
    found = await findings(replace(config, **changes), buckets)
    assert found[subject].status is Status.FAILED
    assert found[subject].fix


async def test_a_missing_bucket_is_found_and_nothing_else_is_tried(config: ObjectStoreConfig):
    found = await findings(config, ("zipcast-none", VALIDATOR_BUCKET))
    assert list(found) == ["zipcast-none: reachable"]
    assert found["zipcast-none: reachable"].status is Status.FAILED


async def test_no_sts_is_said_not_failed(config: ObjectStoreConfig, buckets: tuple[str, str]):
    found = await findings(replace(config, role_arn=None), buckets)
    assert found["sessions"].status is Status.WARNING


@pytest.mark.parametrize(("behind", "status"), [(10, Status.WARNING), (120, Status.FAILED)])
async def test_a_clock_that_is_off_is_found(
    config: ObjectStoreConfig, buckets: tuple[str, str], behind: int, status: Status
):
    clock = FakeClock(SystemClock().now() - timedelta(seconds=behind))
    assert (await findings(config, buckets, clock))["clocks"].status is status


async def test_who_is_revoked_loses_form_and_session_at_once_and_gets_them_back(
    servers: Servers, config: ObjectStoreConfig, buckets: tuple[str, str]
):
    """With issued credentials in hand, as a thief has them."""
    operator = {**servers.s3_environment, **_operator_keys(servers)}
    store = ObjectStore(config)
    mine = policies.miner_scope(buckets[0], MINER_HOTKEY, EPOCH_ID)
    results = policies.validator_scope(buckets[1], VALIDATOR_HOTKEY, EPOCH_ID)
    session = await store.session(policies.upload_session_policy(results), "zipcast-test", 3600)
    form, others = (store.post_form(scope, {}, datetime.now(UTC), 600) for scope in (mine, results))

    async def post(form_of, key: str) -> int:
        async with httpx.AsyncClient() as http:
            data = {**form_of.fields, "key": key}
            return (await http.post(form_of.url, data=data, files={"file": CONTENT})).status_code

    def put() -> None:
        client(config, session).put_object(Bucket=results.bucket, Key=results.prefix + "a", Body=CONTENT)

    assert await post(form, mine.prefix + "a") == 204
    await asyncio.to_thread(put)
    run = CliRunner().invoke
    revoked = await asyncio.to_thread(
        run, app, ["s3", "revoke", MINER_HOTKEY, VALIDATOR_HOTKEY], env=operator
    )
    assert revoked.exit_code == 0, revoked.output
    assert await post(form, mine.prefix + "b") == 403
    assert await post(others, results.prefix + "b") == 403
    with pytest.raises(Exception, match="AccessDenied"):
        await asyncio.to_thread(put)
    listed = await asyncio.to_thread(run, app, ["s3", "revoked"], env=operator)
    assert set(listed.output.split()) == {MINER_HOTKEY, VALIDATOR_HOTKEY}
    restored = await asyncio.to_thread(run, app, ["s3", "restore", MINER_HOTKEY], env=operator)
    assert restored.exit_code == 0, restored.output
    assert await post(form, mine.prefix + "c") == 204
    assert await post(others, results.prefix + "c") == 403
    store.close()


def _operator_keys(servers: Servers) -> dict[str, str]:
    kept = json.loads((servers.state.objects / "s3.json").read_text())
    (admin,) = (one for one in kept["identities"] if one["name"] == "admin")
    pair = admin["credentials"][0]
    return {"AWS_ACCESS_KEY_ID": pair["accessKey"], "AWS_SECRET_ACCESS_KEY": pair["secretKey"]}


async def test_the_command_shows_what_it_tried_and_fails_where_something_does(servers: Servers):
    run = CliRunner().invoke
    good = await asyncio.to_thread(run, app, ["s3", "check"], env=dict(servers.s3_environment))
    assert good.exit_code == 0, good.output
    assert "sessions: put inside: uploading works" in good.output
    wrong = {**servers.s3_environment, "AWS_SECRET_ACCESS_KEY": "0" * 40}
    bad = await asyncio.to_thread(run, app, ["s3", "check"], env=wrong)
    assert bad.exit_code == 1
    assert "user-policy.json" in bad.output
    assert "0" * 40 not in bad.output


@asynccontextmanager
async def picky_store(mode: str) -> AsyncIterator[ObjectStoreConfig]:
    """A store that differs from AWS: `md5` demands Content-MD5, `r2` takes no form uploads."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(__file__).parents[1] / "support" / "cases" / "picky_store.py"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(program), str(port), mode), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await wait_until(lambda: _listens(port))
        yield ObjectStoreConfig(
            endpoint_url=f"http://127.0.0.1:{port}",
            region="us-east-1",
            access_key_id="key",
            secret_access_key=SecretStr("secret"),
            role_arn=None,
        )
    finally:
        process.terminate()
        await process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_a_store_that_demands_md5_takes_revocations() -> None:
    async with picky_store("md5") as config:
        policies = BucketPolicies(config, "miners", "validators")
        denied = frozenset({MINER_HOTKEY})
        assert await asyncio.to_thread(policies.change, lambda revoked: revoked | denied) == denied
        assert await asyncio.to_thread(policies.revoked) == denied


async def test_a_store_without_form_uploads_says_so_in_its_own_words() -> None:
    async with picky_store("r2") as config:
        found = await findings(config, ("miners", "validators"))
    form = found["miners: a form"]
    assert form.status is Status.FAILED
    assert form.message == "the store says NotImplemented: Presigned post requests are not yet implemented"
    assert "POST" in form.fix
