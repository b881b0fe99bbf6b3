"""Uses the object store without blocking the event loop: presigned forms and URLs, lists of objects, and STS
sessions.

Signing (`presigning`) takes 0.1 ms and needs no request, so it works even if the store is down. Requests to
the store run in a few threads with a time limit, because boto3 blocks. `credential_policies` makes the policy
documents, and `reading` reads single objects.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from opentelemetry import trace
from pydantic import SecretStr
from urllib3.exceptions import HTTPError

from storage.objects import credential_policies
from storage.objects.credential_policies import Folder, Listing, Scope
from storage.objects.presigning import Signer, address_of
from zipcast.client.bounded_answers import bound_answers
from zipcast.client.http import is_loopback
from zipcast.protocol.messages.access import FileToUpload

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
    from types_boto3_sts.client import STSClient

Result = TypeVar("Result")
_TRACER = trace.get_tracer("zipcast")

PAGE_SIZE = 500
# The shortest session that AWS STS gives: a session of AssumeRole lasts 15 minutes to 12 hours.
MIN_SESSION_SECONDS = 900

# The errors of a failed call. ResponseParserError and KeyError mean that something other than the store
# answered, such as a proxy with its own error page. HTTPError means that a reply with an error, sent instead
# of a file, was too large or too slow.
STORE_FAULTS = (BotoCoreError, ClientError, ResponseParserError, HTTPError, KeyError, TimeoutError)


class ObjectStoreUnavailableError(Exception):
    """The object store or STS did not respond in time, or refused the request. The message contains no text
    from the driver."""


@dataclass(frozen=True, slots=True)
class ObjectStoreConfig:
    """The configuration of an object store. `endpoint_url` is None for AWS, and `role_arn` is None without
    STS. Without `takes_forms`, the store refuses uploads by POST, as Backblaze B2 does."""

    endpoint_url: str | None
    region: str
    access_key_id: str
    secret_access_key: SecretStr
    role_arn: str | None
    deadline_seconds: float = 5.0
    threads: int = 8
    takes_forms: bool = True


@dataclass(frozen=True, slots=True)
class PostForm:
    url: str
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class PresignedPut:
    """A URL that takes one file, with exactly these headers."""

    url: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class SessionCredentials:
    access_key: str
    secret_key: SecretStr
    session_token: SecretStr
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    key: str
    version_id: str
    size: int
    etag: str
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class Marker:
    """The place at which a list of objects continues: after this version of this key, or, without a version,
    after the key."""

    key: str
    version_id: str = ""


@dataclass(frozen=True, slots=True)
class VersionPage:
    """Object versions in the order of keys, the newest of a key first, and the start of the next page."""

    versions: tuple[ObjectVersion, ...]
    next_marker: Marker | None


class ObjectStore:
    """An S3-compatible object store. Every coroutine can raise ObjectStoreUnavailableError."""

    def __init__(
        self,
        config: ObjectStoreConfig,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_error` is called once for every call that fails."""
        self._config = config
        self._signer = Signer(config.access_key_id, config.secret_access_key, config.region)
        self._addresses: dict[str, str] = {}
        self._on_error = on_error
        self._threads = ThreadPoolExecutor(config.threads, thread_name_prefix="object-store")
        self._s3: S3Client = open_client(config, "s3")
        self._sts: STSClient | None = open_client(config, "sts") if config.role_arn else None

    @property
    def region(self) -> str:
        return self._config.region

    @property
    def endpoint_url(self) -> str | None:
        return self._config.endpoint_url

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def takes_forms(self) -> bool:
        return self._config.takes_forms

    @property
    def has_sts(self) -> bool:
        """Return whether the provider has STS, which is needed for sessions."""
        return self._sts is not None

    def post_form(
        self,
        scope: Scope,
        metadata: dict[str, str],
        at: datetime,
        lifetime_seconds: int,
        *,
        with_checksum: bool = False,
        least_bytes: int = credential_policies.MIN_UPLOAD_BYTES,
    ) -> PostForm:
        """Return a presigned POST form for keys below `scope`, valid from `at` on. `fields["key"]` ends in
        `${filename}`."""
        fields, conditions = credential_policies.upload_form(
            scope, metadata, with_checksum=with_checksum, least_bytes=least_bytes
        )
        key = scope.prefix + "${filename}"
        signed = self._signer.form(scope.bucket, key, fields, conditions, at, lifetime_seconds)
        return PostForm(self.address(scope.bucket), signed)

    def presigned_put(
        self,
        scope: Scope,
        file: FileToUpload,
        metadata: dict[str, str],
        at: datetime,
        lifetime_seconds: int,
    ) -> PresignedPut:
        """Return a presigned PUT URL for one file below `scope`, valid from `at` on."""
        headers = credential_policies.upload_headers(metadata, file.size_bytes, file.sha256)
        address = address_of(self.address(scope.bucket), scope.prefix + file.name)
        url = self._signer.url(address, {}, at, lifetime_seconds, method="PUT", headers=headers)
        return PresignedPut(url, headers)

    def list_url(
        self, scope: Scope | Listing, at: datetime, lifetime_seconds: int, start_after: str | None = None
    ) -> str:
        """Return a presigned ListObjectsV2 URL of `scope`, valid from `at` on, for one page of at most 1,000
        keys or folders."""
        # Keys are URL-encoded in the reply, because XML cannot represent every character that a key may
        # contain.
        query = {"list-type": "2", "prefix": scope.prefix, "encoding-type": "url"}
        if isinstance(scope, Listing) and scope.delimiter is not None:
            query["delimiter"] = scope.delimiter
        if start_after is not None:
            query["start-after"] = start_after
        return self._signer.url(self.address(scope.bucket), query, at, lifetime_seconds)

    def get_url(
        self, bucket: str, key: str, version_id: str | None, at: datetime, lifetime_seconds: int
    ) -> str:
        """Return a presigned GET URL of exactly this version, or, without a version, of the newest one. It is
        valid from `at` on."""
        query = {} if version_id is None else {"versionId": version_id}
        address = address_of(self.address(bucket), key)
        return self._signer.url(address, query, at, lifetime_seconds)

    def address(self, bucket: str) -> str:
        """Return the bucket's URL, which boto3 computes for each provider and region."""
        if bucket not in self._addresses:
            self._addresses[bucket] = self._s3.generate_presigned_post(bucket, "key")["url"]
        return self._addresses[bucket]

    async def reach(self, bucket: str) -> None:
        """Check that the bucket exists and is accessible."""
        await self._run(lambda: self._s3.head_bucket(Bucket=bucket))

    async def list_folders(
        self, listing: Listing | Folder, after: str | None
    ) -> tuple[list[str], str | None]:
        """Return one page of the folders in `listing`, and the token of the next page, if any."""
        more: dict[str, Any] = {} if after is None else {"ContinuationToken": after}

        def read() -> tuple[list[str], str | None]:
            page = self._s3.list_objects_v2(
                Bucket=listing.bucket, Prefix=listing.prefix, Delimiter="/", **more
            )
            folders = [found["Prefix"] for found in page.get("CommonPrefixes", [])]
            return folders, page.get("NextContinuationToken")

        return await self._run(read)

    async def list_versions(
        self, scope: Scope | Folder, after: Marker | None, page_size: int = PAGE_SIZE
    ) -> VersionPage:
        """Return one page of the versions below `scope`."""
        # Leave out an empty marker, because AWS refuses an empty version id.
        position: dict[str, Any] = {}
        if after is not None:
            position["KeyMarker"] = after.key
            if after.version_id:
                position["VersionIdMarker"] = after.version_id

        def read() -> VersionPage:
            page = self._s3.list_object_versions(
                Bucket=scope.bucket, Prefix=scope.prefix, MaxKeys=page_size, **position
            )
            versions = tuple(
                ObjectVersion(
                    found["Key"], found["VersionId"], found["Size"], found["ETag"], found["LastModified"]
                )
                for found in page.get("Versions", [])
            )
            if not page.get("IsTruncated", False):
                return VersionPage(versions, None)
            marker = Marker(page.get("NextKeyMarker", ""), page.get("NextVersionIdMarker", ""))
            return VersionPage(versions, marker)

        return await self._run(read)

    async def session(self, policy: str, name: str, lifetime_seconds: int) -> SessionCredentials | None:
        """Return STS credentials restricted by a session policy, or None if the provider has no STS."""
        sts = self._sts
        if sts is None:
            return None

        def assume() -> SessionCredentials:
            answer = sts.assume_role(
                RoleArn=self._config.role_arn or "",
                RoleSessionName=name,
                Policy=policy,
                DurationSeconds=max(lifetime_seconds, MIN_SESSION_SECONDS),
            )["Credentials"]
            return SessionCredentials(
                answer["AccessKeyId"],
                SecretStr(answer["SecretAccessKey"]),
                SecretStr(answer["SessionToken"]),
                answer["Expiration"],
            )

        return await self._run(assume)

    async def _run(self, call: Callable[[], Result]) -> Result:
        loop = asyncio.get_running_loop()
        try:
            with _TRACER.start_as_current_span("object store"):
                async with asyncio.timeout(self._config.deadline_seconds):
                    return await loop.run_in_executor(self._threads, call)
        except STORE_FAULTS as error:
            self._on_error()
            raise ObjectStoreUnavailableError(type(error).__name__) from error


def open_client(  # type: ignore[no-untyped-def]  # noqa: ANN201 - boto3 overloads
    config: ObjectStoreConfig,
    service: str,
    session: SessionCredentials | None = None,
    *,
    attempts: int = 2,
    file_seconds: float | None = None,
):
    """Return a boto3 client with the user's keys or a session's; it blocks. It has as many connections as the
    store has threads. Each reply is limited in size and time; reading a file may take `file_seconds`,
    whatever its size."""
    key, secret = config.access_key_id, config.secret_access_key
    if session is not None:
        key, secret = session.access_key, session.secret_key
    # Divide the time limit among the attempts, so that no thread runs longer than its caller waits.
    timeout_seconds = config.deadline_seconds / (2 * attempts)
    client = boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=config.endpoint_url,
        region_name=config.region,
        aws_access_key_id=key,
        aws_secret_access_key=secret.get_secret_value(),
        aws_session_token=None if session is None else session.session_token.get_secret_value(),
        config=Config(
            signature_version="s3v4" if service == "s3" else None,
            connect_timeout=timeout_seconds,
            read_timeout=timeout_seconds,
            retries={"total_max_attempts": attempts},
            max_pool_connections=config.threads,
            proxies={} if is_loopback(config.endpoint_url or "") else None,
            # On AWS, use the host of the region. The global host may reply with a redirect, which uploads by
            # form do not follow.
            s3={"addressing_style": "path"}
            if config.endpoint_url
            else {"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
        ),
    )
    seconds = config.deadline_seconds / attempts if file_seconds is None else file_seconds
    bound_answers(client, seconds, is_file=file_seconds is not None)
    return client
