"""Reading who is registered and publishing it as a snapshot to NATS KV and PostgreSQL.

Owns the source of the registry and the compare-and-set that keeps snapshots in block order. The
file source stands in for the chain in local work, behind the same interface.
"""

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Protocol

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime import logs
from runtime.registry import RAO_PER_ALPHA
from storage.registry import newest_snapshot, store_snapshot
from zipcast.clock import Clock
from zipcast.hotkeys import MalformedHotkeyError, parse_hotkey
from zipcast.messages import RegisteredNeuron, RegistrySnapshot
from zipcast.subjects import REGISTRY_BUCKET, REGISTRY_KEY

log = logs.logger()

POLL_SECONDS = 0.5
STEP_SECONDS = 15.0
# An unchanged registry is published again this often, so that its age tells when it was last read.
REPUBLISH_AFTER = timedelta(minutes=5)


class RegistryUnreadableError(Exception):
    """The source could not be read; the last good snapshot stays in force."""


class RegistrySource(Protocol):
    """Where the metagraph comes from."""

    async def read(self) -> tuple[RegisteredNeuron, ...] | None:
        """The neurons, or None if nothing changed since the last reading.

        Raises RegistryUnreadableError."""
        ...


class FileNeuron(BaseModel):
    """One entry of the registry file; stake in alpha, up to nine decimals."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    uid: Annotated[int, Field(ge=0, le=65535)]
    hotkey: str
    coldkey: str
    validator_permit: bool
    alpha_stake: Annotated[float, Field(ge=0, le=1e9)]

    def neuron(self) -> RegisteredNeuron:
        return RegisteredNeuron(
            uid=self.uid,
            hotkey=parse_hotkey(self.hotkey),
            coldkey=parse_hotkey(self.coldkey),
            validator_permit=self.validator_permit,
            alpha_stake_rao=round(self.alpha_stake * RAO_PER_ALPHA),
        )


_FILE = TypeAdapter(list[FileNeuron])


@dataclass(slots=True)
class FileRegistry:
    """A JSON file that stands in for the chain; read again whenever its bytes change."""

    path: Path
    _digest: str = field(default="")

    async def read(self) -> tuple[RegisteredNeuron, ...] | None:
        try:
            content = self.path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if digest == self._digest:
                return None
            neurons = tuple(entry.neuron() for entry in _FILE.validate_json(content))
        except (OSError, ValidationError, MalformedHotkeyError) as error:
            raise RegistryUnreadableError(f"{self.path.name}: {error}") from error
        if len({neuron.hotkey for neuron in neurons}) != len(neurons):
            raise RegistryUnreadableError(f"{self.path.name}: a hotkey stands twice")
        self._digest = digest
        return neurons


@dataclass(slots=True)
class RegistryPublisher:
    """Publishes what the source reads, for as long as `run` runs."""

    source: RegistrySource
    jetstream: JetStreamContext
    database: AsyncEngine
    network: str
    netuid: int
    clock: Clock
    published: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a snapshot of this process's reading is out."""
    _neurons: tuple[RegisteredNeuron, ...] | None = field(default=None)
    _held: RegistrySnapshot | None = field(default=None)
    _held_revision: int = field(default=0)
    _held_value: bytes = field(default=b"")
    _kept_block: int = field(default=0)
    _complaint: str = field(default="")

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(STEP_SECONDS):
                    await self.poll()
            except (RegistryUnreadableError, NatsError, SQLAlchemyError, TimeoutError) as error:
                self._complain(error)
            else:
                self._complaint = ""
            await self.clock.sleep(POLL_SECONDS)

    async def poll(self) -> None:
        """Read once; publish if KV holds something else, nothing, or a snapshot that grows old."""
        neurons = await self.source.read()
        if neurons is not None:
            self._neurons = neurons
        if self._neurons is None:
            return
        bucket = await self._bucket()
        await self._look(bucket)
        held, now = self._held, self.clock.now()
        if held is None or held.neurons != self._neurons or now - held.taken_at >= REPUBLISH_AFTER:
            await self._publish(bucket, self._neurons, now)
        self.published.set()
        await self._keep()

    def _complain(self, error: Exception) -> None:
        """Once per cause, not twice a second."""
        complaint = f"{type(error).__name__}: {error}"
        if complaint != self._complaint:
            log.error("registry_not_published", error=type(error).__name__, reason=str(error))
        self._complaint = complaint

    async def _look(self, bucket: KeyValue) -> None:
        """What KV holds now: it may have lost everything, or another replica may have published."""
        try:
            entry = await bucket.get(REGISTRY_KEY)
        except KeyNotFoundError:
            self._held, self._held_revision, self._held_value = None, 0, b""
            return
        self._held_revision, value = entry.revision or 0, entry.value or b""
        # By content: a bucket that was lost and made anew counts its revisions from one again.
        if value == self._held_value:
            return
        self._held_value = value
        try:
            self._held = RegistrySnapshot.model_validate_json(value)
        except ValidationError:
            log.error("registry_snapshot_unreadable", revision=entry.revision)
            self._held = None

    async def _publish(self, bucket: KeyValue, neurons: tuple[RegisteredNeuron, ...], now: datetime) -> None:
        snapshot = RegistrySnapshot(
            network=self.network,
            netuid=self.netuid,
            block_number=await self._next_block(),
            taken_at=now.replace(microsecond=0),
            neurons=neurons,
        )
        try:
            value = snapshot.to_bytes()
            revision = await bucket.update(REGISTRY_KEY, value, last=self._held_revision)
        except KeyWrongLastSequenceError:
            log.info("registry_published_by_another")
            return
        self._held, self._held_revision, self._held_value = snapshot, revision, value
        log.info("registry_published", block=snapshot.block_number, neurons=len(neurons))

    async def _next_block(self) -> int:
        """The file has no blocks; a count that only grows keeps the order that blocks give. Where KV
        has lost its count, the record still has it: followers ignore a block they have passed."""
        if self._held is not None:
            return self._held.block_number + 1
        async with self.database.connect() as connection:
            kept = await newest_snapshot(connection, self.network, self.netuid)
        return 1 if kept is None else kept.block_number + 1

    async def _keep(self) -> None:
        """The last good copy, in PostgreSQL. Apart from publishing: its failure repeats no publication."""
        held = self._held
        if held is None or held.block_number == self._kept_block:
            return
        async with self.database.begin() as connection:
            await store_snapshot(connection, held)
        self._kept_block = held.block_number

    async def _bucket(self) -> KeyValue:
        try:
            return await self.jetstream.key_value(REGISTRY_BUCKET)
        except BucketNotFoundError:
            config = KeyValueConfig(bucket=REGISTRY_BUCKET, history=1, direct=True)
            return await self.jetstream.create_key_value(config)
