"""Provides the responder's handling of validators' reports on real servers and without NATS, with epochs at
any time and uploads of any kind."""

import base64
import hashlib
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncEngine

from access.requests import Caller, Proof
from broker_service.responder.database import Record
from broker_service.responder.metrics import ResponderMetrics
from broker_service.responder.reported_files import FileChecker
from broker_service.responder.upload_access import required_metadata
from broker_service.responder.validator_results import ResultsDesk
from devstack.logins import login_url
from devstack.servers import Servers
from service.registry import RegistryView
from storage.database.engine import open_engine
from storage.database.tables import Epoch, EpochAssignment, EpochMessage
from storage.objects import credential_policies
from storage.objects.credential_policies import Scope
from storage.objects.reading import ObjectReader
from storage.objects.store import ObjectStore, ObjectStoreConfig
from tests.support.current_epochs import current
from tests.support.fakes import (
    RAO,
    START_AT,
    VALIDATOR_HOTKEY,
    FakeClock,
    hotkey_of,
    keypair,
    neuron,
    snapshot,
)
from zipcast.clock import SystemClock
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.results import ReportedFile, ResultsReply, ResultsRequest

CONTENT = b'{"validated": true}\n' * 100
OTHERS = tuple(hotkey_of(keypair(name)) for name in ("Charlie", "Dave"))
VALIDATORS = (VALIDATOR_HOTKEY, *OTHERS)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ENDED = -MINUTE
ZIPCODES = ("19104", "07030", "10025", "19801", "21201")
EXPECTED = 1_000


@dataclass
class ResultsSide:
    """The parts for one test. `owner` has all rights on the database; `database` uses the responder's
    login."""

    bucket: str
    store: ObjectStore
    reader: ObjectReader
    owner: AsyncEngine
    database: AsyncEngine
    registry: RegistryView
    s3: Any
    _past: int = 0
    _signed: int = field(default_factory=time.time_ns)

    @classmethod
    @asynccontextmanager
    async def running(cls, servers: Servers, database_url: str) -> AsyncIterator["ResultsSide"]:
        config = object_store_config(servers)
        registry = RegistryView("local", 46, 1000)
        registry.adopt(snapshot(map(_validator, VALIDATORS), network="local"))
        side = cls(
            bucket=servers.s3_environment["S3_VALIDATOR_BUCKET"],
            store=ObjectStore(config),
            reader=ObjectReader(config),
            owner=open_engine(database_url, application_name="test"),
            database=open_engine(
                login_url(servers.state, database_url, "responder"), application_name="test"
            ),
            registry=registry,
            s3=s3_client(config),
        )
        yield side
        side.store.close()
        side.reader.close()
        await side.owner.dispose()
        await side.database.dispose()

    def desk(self, *, most_hashed_bytes: int = 2**28, reader: ObjectReader | None = None) -> ResultsDesk:
        metrics, clock = ResponderMetrics(CollectorRegistry()), SystemClock()
        files = FileChecker(reader or self.reader, clock, most_hashed_bytes, metrics)
        return ResultsDesk(
            Record(self.database, current(FakeClock(START_AT))),
            files,
            self.registry,
            clock,
            self.bucket,
            metrics,
        )

    async def epoch(self, ends_in: timedelta = ENDED, length: timedelta = HOUR) -> EpochInterval:
        """Store an epoch with assignments. Its message is not a valid epoch message."""
        now = datetime.now(UTC).replace(microsecond=0)
        interval = EpochInterval(now + ends_in - length, now + ends_in)
        await add_epoch(self.owner, interval)
        return interval

    async def past(self) -> EpochInterval:
        """Store a short epoch before all others, so that many fit into one database."""
        self._past += 1
        return await self.epoch(-self._past * 2 * MINUTE, MINUTE)

    async def move(self, interval: EpochInterval, end_at: datetime) -> None:
        """Move the epoch to another time without changing its id."""
        length = interval.end_at - interval.start_at
        moved = update(Epoch).where(Epoch.epoch_id == interval.epoch_id)
        async with self.owner.begin() as connection:
            await connection.execute(moved.values(start_at=end_at - length, end_at=end_at))

    async def reveal(self, interval: EpochInterval) -> None:
        """Move the epoch back so far that more than its length has passed since its end."""
        await self.move(interval, datetime.now(UTC) - timedelta(hours=2))

    def scope(self, interval: EpochInterval, hotkey: Hotkey = VALIDATOR_HOTKEY) -> Scope:
        return credential_policies.validator_scope(self.bucket, hotkey, interval.epoch_id)

    def put(self, key: str, body: bytes, metadata: dict[str, str], *, checksum: bool = True) -> str:
        """Write an object with the signing user's keys. They may write anywhere, which a client never can.
        This blocks."""
        more = {"ChecksumAlgorithm": "SHA256"} if checksum else {}
        put = self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=metadata, **more)
        return str(put["VersionId"])

    def proof(self, report: ResultsRequest, *, seconds_ago: float = 0) -> Proof:
        """Return the proof of a new signature. No two have the same nonce."""
        self._signed += 1
        signed_at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        return Proof(f"btauth:{self._signed}", signed_at, hashlib.sha256(report.to_bytes()).hexdigest())

    async def report(
        self, report: ResultsRequest, hotkey: Hotkey = VALIDATOR_HOTKEY, desk: ResultsDesk | None = None
    ) -> ResultsReply:
        return await (desk or self.desk()).report(caller(hotkey), self.proof(report), report)


def caller(hotkey: Hotkey = VALIDATOR_HOTKEY) -> Caller:
    return Caller(hotkey, "validator", "request-1", "nats")


def stake_of(hotkey: str) -> int:
    """Return the validator's stake in rao. Each validator has a different one."""
    return (1_000 + 500 * VALIDATORS.index(Hotkey(hotkey))) * RAO


def _validator(hotkey: Hotkey) -> Any:
    return neuron(hotkey, permit=True, rao=stake_of(hotkey), uid=VALIDATORS.index(hotkey))


def object_store_config(servers: Servers, **changed: Any) -> ObjectStoreConfig:
    environment = servers.s3_environment
    values = {
        "endpoint_url": environment["S3_ENDPOINT_URL"],
        "region": environment["S3_REGION"],
        "access_key_id": environment["AWS_ACCESS_KEY_ID"],
        "secret_access_key": SecretStr(environment["AWS_SECRET_ACCESS_KEY"]),
        "role_arn": environment["S3_ROLE_ARN"],
    }
    return ObjectStoreConfig(**values | changed)


def s3_client(config: ObjectStoreConfig) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=config.endpoint_url,
        region_name=config.region,
        aws_access_key_id=config.access_key_id,
        aws_secret_access_key=config.secret_access_key.get_secret_value(),
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


async def add_epoch(owner: AsyncEngine, interval: EpochInterval) -> None:
    payload = interval.epoch_id.encode()
    digest, at = hashlib.sha256(payload).hexdigest(), interval.start_at
    row = {
        "epoch_id": interval.epoch_id,
        "start_at": at,
        "end_at": interval.end_at,
        "status": "active",
        "seed_commitment": "00" * 32,
        "total_expected_listings": EXPECTED * len(ZIPCODES),
        "secret_id": "1",
        "message_sha256": digest,
        "prepared_at": at,
        "published_at": at,
    }
    message = {
        "epoch_id": interval.epoch_id,
        "message_sha256": digest,
        "payload": payload,
        "signer": "nobody",
        "signature": "00" * 64,
        "stored_at": at,
    }
    assigned = [
        {"epoch_id": interval.epoch_id, "zipcode": zipcode, "position": n, "expected_listings": EXPECTED}
        for n, zipcode in enumerate(ZIPCODES)
    ]
    async with owner.begin() as connection:
        await connection.execute(insert(Epoch), row)
        await connection.execute(insert(EpochMessage), message)
        await connection.execute(insert(EpochAssignment), assigned)


def metadata(
    interval: EpochInterval, hotkey: Hotkey = VALIDATOR_HOTKEY, **changed: str | None
) -> dict[str, str]:
    """Return the required metadata. Names in `changed` have underscores; the value None leaves a field
    out."""
    named = {name.replace("_", "-"): value for name, value in changed.items()}
    values = {**required_metadata(hotkey, interval.epoch_id, datetime.now(UTC)), **named}
    return {name: value for name, value in values.items() if value is not None}


def file(key: str, body: bytes = CONTENT) -> ReportedFile:
    return ReportedFile(key=key, size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest())


def base64_sha256(body: bytes = CONTENT) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def a_report(interval: EpochInterval, *files: ReportedFile, **changed: Any) -> ResultsRequest:
    values: dict[str, Any] = {
        "epoch_id": interval.epoch_id,
        "duration_seconds": 600.5,
        "miners_evaluated": 12,
        "top_miners": [],
        "listings_validated": 400,
        "files": files,
    }
    return ResultsRequest.model_validate(values | changed)


def ranked(hotkeys: Iterable[str]) -> list[dict[str, Any]]:
    return [{"hotkey": hotkey, "score": 1 - n / 10} for n, hotkey in enumerate(hotkeys)]
