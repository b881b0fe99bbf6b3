"""Tests the files of a validator's report against the real object store: every way of uploading, and every
false statement."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import pytest_asyncio
from botocore.config import Config
from sqlalchemy import func, select

from broker_service.responder.upload_access import required_metadata
from devstack.servers import Servers
from storage.database.tables import ValidatorResult
from storage.objects import credential_policies
from storage.objects.reading import ObjectReader
from tests.support.fakes import VALIDATOR_HOTKEY
from tests.support.results_side import (
    CONTENT,
    MINUTE,
    OTHERS,
    ResultsSide,
    a_report,
    base64_sha256,
    caller,
    file,
    metadata,
    object_store_config,
)
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.results import ReportedFile

LARGE = b"0123456789abcdef" * 327_680 * 2  # two parts of five megabytes


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def side(servers: Servers) -> AsyncIterator[ResultsSide]:
    url = await servers.fresh_database()
    async with ResultsSide.running(servers, url) as side:
        yield side
    await servers.drop_database(url)


async def session_client(side: ResultsSide, interval: EpochInterval) -> Any:
    """Return a client with session credentials for the validator's folder of that epoch."""
    scope = side.scope(interval)
    name = credential_policies.session_name(VALIDATOR_HOTKEY)
    session = await side.store.session(credential_policies.upload_session_policy(scope), name, 3600)
    assert session is not None
    return boto3.client(
        "s3",
        endpoint_url=side.store.endpoint_url,
        region_name=side.store.region,
        aws_access_key_id=session.access_key,
        aws_secret_access_key=session.secret_key.get_secret_value(),
        aws_session_token=session.session_token.get_secret_value(),
        config=Config(s3={"addressing_style": "path"}),
    )


async def by_session(side: ResultsSide, interval: EpochInterval, folder: Path, *, checksum: bool) -> str:
    s3 = await session_client(side, interval)
    key = side.scope(interval).prefix + "results.json"
    more = {"ChecksumAlgorithm": "SHA256"} if checksum else {}
    put = {"Bucket": side.bucket, "Key": key, "Body": CONTENT, "Metadata": metadata(interval), **more}
    await asyncio.to_thread(s3.put_object, **put)
    return key


async def by_form(side: ResultsSide, interval: EpochInterval, folder: Path, *, checksum: bool) -> str:
    scope = side.scope(interval)
    needed = required_metadata(VALIDATOR_HOTKEY, interval.epoch_id, datetime.now(UTC))
    form = side.store.post_form(scope, needed, datetime.now(UTC), 60, with_checksum=checksum)
    key = scope.prefix + "audit/results.json"
    more = {"x-amz-checksum-sha256": base64_sha256()} if checksum else {}
    async with httpx.AsyncClient() as http:
        fields = {**form.fields, "key": key, **more}
        answer = await http.post(form.url, data=fields, files={"file": CONTENT})
    assert answer.status_code == 204, answer.text
    return key


async def by_curl(side: ResultsSide, interval: EpochInterval, folder: Path, *, checksum: bool) -> str:
    scope = side.scope(interval)
    needed = required_metadata(VALIDATOR_HOTKEY, interval.epoch_id, datetime.now(UTC))
    form = side.store.post_form(scope, needed, datetime.now(UTC), 60, with_checksum=checksum)
    key = scope.prefix + "by curl.json"
    fields = {**form.fields, "key": key}
    if checksum:
        fields["x-amz-checksum-sha256"] = base64_sha256()
    path = folder / "results.json"
    path.write_bytes(CONTENT)
    stated = [part for name, value in fields.items() for part in ("--form-string", f"{name}={value}")]
    arguments = ["-sS", "--fail-with-body", *stated, "-F", f"file=@{path}", form.url]
    curl = await asyncio.create_subprocess_exec("curl", *arguments, stdout=asyncio.subprocess.PIPE)
    told, _ = await curl.communicate()
    assert curl.returncode == 0, told
    return key


@pytest.mark.parametrize("upload", [by_session, by_form, by_curl])
@pytest.mark.parametrize("checksum", [True, False])
async def test_every_way_of_uploading_is_proven_by_checksum_or_content(
    side: ResultsSide, tmp_path: Path, upload: Any, checksum: bool
):
    interval = await side.past()
    key = await upload(side, interval, tmp_path, checksum=checksum)
    reply = await side.report(a_report(interval, file(key)))
    (checked,) = reply.files
    assert (checked.key, checked.checked_by) == (key, "checksum" if checksum else "content")
    head = await asyncio.to_thread(side.s3.head_object, Bucket=side.bucket, Key=key)
    assert checked.version_id == head["VersionId"]


async def test_an_upload_in_parts_is_proven_by_its_content(side: ResultsSide):
    """The store has a checksum of the parts' checksums, which does not prove the whole content."""
    interval = await side.past()
    s3, key = await session_client(side, interval), side.scope(interval).prefix + "large.parquet"

    def upload() -> None:
        put = {"Bucket": side.bucket, "Key": key}
        begun = s3.create_multipart_upload(**put, Metadata=metadata(interval), ChecksumAlgorithm="SHA256")
        parts = []
        for number in (1, 2):
            half = LARGE[: len(LARGE) // 2] if number == 1 else LARGE[len(LARGE) // 2 :]
            part = {"UploadId": begun["UploadId"], "PartNumber": number}
            done = s3.upload_part(**put, **part, Body=half, ChecksumAlgorithm="SHA256")
            told = {name: done[name] for name in ("ETag", "ChecksumSHA256")}
            parts.append({**told, "PartNumber": number})
        s3.complete_multipart_upload(**put, UploadId=begun["UploadId"], MultipartUpload={"Parts": parts})

    await asyncio.to_thread(upload)
    reply = await side.report(a_report(interval, file(key, LARGE)))
    assert [one.checked_by for one in reply.files] == ["content"]
    with pytest.raises(ServiceError, match="SHA-256") as caught:
        await side.report(a_report(interval, file(key, LARGE[:-1] + b"x")))
    assert caught.value.code is ErrorCode.FILE_MISMATCH


async def refused(side: ResultsSide, interval: EpochInterval, *files: ReportedFile) -> str:
    """Check that the report is refused with a message that names the wrong file, and that nothing is
    stored."""
    with pytest.raises(ServiceError) as caught:
        await side.report(a_report(interval, *files))
    assert (caught.value.code, caught.value.status) == (ErrorCode.FILE_MISMATCH, 422)
    query = select(func.count()).where(ValidatorResult.epoch_id == interval.epoch_id)
    async with side.owner.connect() as connection:
        assert (await connection.execute(query)).scalar() == 0
    return caught.value.message


async def test_a_file_that_is_not_there_is_named(side: ResultsSide):
    interval = await side.past()
    prefix = side.scope(interval).prefix
    good, missing = file(prefix + "good.json"), file(prefix + "missing.json")
    await asyncio.to_thread(side.put, good.key, CONTENT, metadata(interval))
    message = await refused(side, interval, good, missing)
    assert message.startswith(f"{missing.key}: ")


async def test_a_file_that_was_deleted_is_not_there(side: ResultsSide):
    interval = await side.past()
    one = file(side.scope(interval).prefix + "gone.json")
    await asyncio.to_thread(side.put, one.key, CONTENT, metadata(interval))
    await asyncio.to_thread(side.s3.delete_object, Bucket=side.bucket, Key=one.key)
    assert "does not exist" in await refused(side, interval, one)


async def test_a_file_elsewhere_is_foreign_whoever_put_it_there(side: ResultsSide):
    interval = await side.past()
    prefix, hotkey = side.scope(interval).prefix, VALIDATOR_HOTKEY
    others = side.scope(interval, OTHERS[0]).prefix
    elsewhere = [
        others + "results.json",
        prefix.replace("epoch=", "epoch=2020-01-01T00-00-00/") + "results.json",
        f"validators/{hotkey}/epoch={interval.epoch_id}-2/results.json",
        f"validators/{hotkey.lower()}/epoch={interval.epoch_id}/results.json",
        f"data/hotkey={hotkey}/epoch={interval.epoch_id}/results.json",
        prefix,
        prefix + f"../../../{others}results.json",
        prefix + "./results.json",
        prefix + "/results.json",
        "/" + prefix + "results.json",
    ]
    await asyncio.to_thread(side.put, elsewhere[0], CONTENT, metadata(interval))
    for key in elsewhere:
        assert f"below {prefix}" in await refused(side, interval, file(key))


@pytest.mark.parametrize("checksum", [True, False])
async def test_a_file_that_was_cut_or_changed_is_told_from_the_one_reported(
    side: ResultsSide, checksum: bool
):
    interval = await side.past()
    one = file(side.scope(interval).prefix + "results.json")
    for body, fault in ((CONTENT[:-1], f"{len(CONTENT) - 1} bytes"), (CONTENT.upper(), "SHA-256")):
        await asyncio.to_thread(side.put, one.key, CONTENT, metadata(interval), checksum=checksum)
        await asyncio.to_thread(side.put, one.key, body, metadata(interval), checksum=checksum)
        message = await refused(side, interval, one)
        assert message.startswith(one.key)
        assert fault in message


WRONG: list[tuple[dict[str, str | None], str]] = [
    ({"epoch_id": None}, "epoch-id"),
    ({"validator_hotkey": None}, "validator-hotkey"),
    ({"validation_timestamp": None}, "validation-timestamp"),
    ({"epoch_id": "2020-01-01T00-00-00"}, "epoch-id"),
    ({"validator_hotkey": OTHERS[0]}, "validator-hotkey"),
    ({"validation_timestamp": "yesterday"}, "validation-timestamp"),
    ({"validation_timestamp": "2026-11-22T04:00:00"}, "validation-timestamp"),
    ({"validation_timestamp": "2026-02-30T04:00:00Z"}, "validation-timestamp"),
    ({"validation_timestamp": "2020-01-01T00:00:00Z"}, "validation-timestamp"),
    ({"validation_timestamp": "2199-01-01T00:00:00Z"}, "validation-timestamp"),
]


async def test_metadata_that_is_missing_or_wrong_is_named(side: ResultsSide):
    interval = await side.past()
    one = file(side.scope(interval).prefix + "results.json")
    for changed, fault in WRONG:
        await asyncio.to_thread(side.put, one.key, CONTENT, metadata(interval, **changed))
        message = await refused(side, interval, one)
        assert message.startswith(one.key)
        assert fault in message


async def test_beyond_the_bound_a_checksum_is_required_and_suffices(side: ResultsSide):
    interval = await side.past()
    prefix = side.scope(interval).prefix
    files = [file(prefix + f"{number}.json") for number in range(3)]
    for one in files:
        await asyncio.to_thread(side.put, one.key, CONTENT, metadata(interval), checksum=False)
    report = a_report(interval, *files)
    bound = 3 * len(CONTENT)
    with pytest.raises(ServiceError, match=prefix) as caught:
        await side.report(report, desk=side.desk(most_hashed_bytes=bound - 1))
    assert caught.value.code is ErrorCode.CHECKSUM_REQUIRED
    for one in files[1:]:
        await asyncio.to_thread(side.put, one.key, CONTENT, metadata(interval))
    reply = await side.report(report, desk=side.desk(most_hashed_bytes=len(CONTENT)))
    assert [one.checked_by for one in reply.files] == ["content", "checksum", "checksum"]


class SlowReader(ObjectReader):
    """Computes hashes only when the test allows it."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.go_on, self.hashed = asyncio.Event(), 0

    async def hash(self, found: Any) -> str:
        self.hashed += 1
        await self.go_on.wait()
        return await super().hash(found)


async def test_a_file_that_takes_long_to_read_is_read_once_while_the_validator_asks_again(
    side: ResultsSide, servers: Servers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("broker_service.responder.reported_files.TIMEOUT_SECONDS", 0.05)
    interval = await side.past()
    one = file(side.scope(interval).prefix + "results.json")
    await asyncio.to_thread(side.put, one.key, CONTENT, metadata(interval), checksum=False)
    reader = SlowReader(object_store_config(servers))
    desk, report = side.desk(reader=reader), a_report(interval, one)
    for _ in range(2):
        with pytest.raises(ServiceError) as caught:
            await side.report(report, desk=desk)
        assert (caught.value.code, caught.value.retry_after_seconds) == (ErrorCode.REQUEST_UNDER_WAY, 5)
    reader.go_on.set()
    monkeypatch.setattr("broker_service.responder.reported_files.TIMEOUT_SECONDS", 5)
    assert (await side.report(report, desk=desk)).in_force
    assert reader.hashed == 1
    reader.close()


async def test_a_store_that_hangs_is_told_in_time_and_the_same_request_succeeds_later(
    side: ResultsSide, servers: Servers
):
    interval = await side.past()
    one = file(side.scope(interval).prefix + "results.json")
    await asyncio.to_thread(side.put, one.key, CONTENT, metadata(interval))
    report = a_report(interval, one)
    proof = side.proof(report)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        config = object_store_config(servers, endpoint_url=address, deadline_seconds=0.4)
        reader = ObjectReader(config)
        with pytest.raises(ServiceError) as caught:
            await side.desk(reader=reader).report(caller(), proof, report)
        assert caught.value.code is ErrorCode.CREDENTIALS_UNAVAILABLE
        reader.close()
    assert (await side.desk().report(caller(), proof, report)).in_force


@pytest.mark.parametrize(
    ("ends_in", "code"),
    [
        (timedelta(seconds=40), ErrorCode.EPOCH_NOT_ENDED),
        (timedelta(hours=2), ErrorCode.EPOCH_NOT_FOUND),
    ],
)
async def test_an_epoch_that_runs_or_has_not_started_is_not_reported_on(
    side: ResultsSide, ends_in: timedelta, code: ErrorCode
):
    interval = await side.epoch(ends_in, MINUTE)
    with pytest.raises(ServiceError) as caught:
        await side.report(a_report(interval))
    assert caught.value.code is code
