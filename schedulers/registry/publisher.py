"""Publishes registry snapshots to NATS KV, and stores copies in PostgreSQL.

A compare-and-set keeps snapshots in the order of blocks. If KV lost its data, the last good copy is published
again, even if no replica can read the chain.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue
from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.registry.source import Reading
from service import logs
from service.registry_copy import recall_from
from service.registry_parts import Head, read_parts, write_parts
from storage.database.registry import newest_snapshot, store_snapshot, trim_snapshots
from zipcast.protocol.messages.registry import RegistrySnapshot
from zipcast.protocol.subjects import REGISTRY_BUCKET, REGISTRY_KEY

log = logs.logger()


@dataclass(slots=True)
class RegistryPublisher:
    """Publishes snapshots. `held` is the snapshot in KV as of the last check or publication. Snapshots stay
    in PostgreSQL for `kept_for`, to explain later the decisions that were based on them."""

    jetstream: JetStreamContext
    database: AsyncEngine
    network: str
    netuid: int
    kept_for: timedelta = timedelta(days=30)
    replicas: int = 1
    held: RegistrySnapshot | None = field(default=None, init=False)
    _revision: int = field(default=0, init=False)
    _head: bytes = field(default=b"", init=False)
    _slot: int = field(default=0, init=False)
    _kept_block: int = field(default=0, init=False)

    async def look(self) -> None:
        """Read the snapshot in KV, since another replica may have published. If it is lost or unreadable,
        publish it again, from memory or from PostgreSQL. Raises nats.errors.Error."""
        bucket, remembered = await self._bucket(), self.held
        try:
            entry = await bucket.get(REGISTRY_KEY)
        except KeyNotFoundError as error:
            # A deleted key still has a revision, which the compare-and-set needs.
            self._revision = 0 if error.entry is None else error.entry.revision or 0
            self._head = b""
            await self._put_back(bucket, remembered)
            return
        self._revision, value = entry.revision or 0, entry.value or b""
        # Compare contents and not revisions, because a bucket that was lost and recreated counts its
        # revisions from one again.
        if value == self._head:
            return
        self._head = value
        try:
            head = Head.model_validate_json(value)
            self._slot = head.slot
            self.held = await read_parts(bucket, head)
        except (KeyNotFoundError, ValueError):
            log.error("registry_snapshot_unreadable", revision=entry.revision)
            await self._put_back(bucket, remembered)

    async def _put_back(self, bucket: KeyValue, remembered: RegistrySnapshot | None) -> None:
        self.held = None
        kept = remembered or await self._recall()
        if kept is not None:
            await self._put(bucket, kept)

    async def publish(self, reading: Reading, now: datetime) -> None:
        """Publish a reading. Raises nats.errors.Error, and DATABASE_ERRORS for a source without blocks."""
        block = await self._next_block() if reading.block_number is None else reading.block_number
        snapshot = RegistrySnapshot(
            network=self.network,
            netuid=self.netuid,
            block_number=block,
            taken_at=now.replace(microsecond=0),
            neurons=reading.neurons,
        )
        await self._put(await self._bucket(), snapshot)

    async def keep(self) -> None:
        """Store the last good copy in PostgreSQL, and delete some old ones. This is separate from publishing,
        so that a failure does not repeat the publication. Raises DATABASE_ERRORS."""
        held = self.held
        if held is None or held.block_number == self._kept_block:
            return
        async with self.database.begin() as connection:
            await store_snapshot(connection, held)
            await trim_snapshots(connection, self.network, self.netuid, held.taken_at - self.kept_for)
        self._kept_block = held.block_number

    async def _put(self, bucket: KeyValue, snapshot: RegistrySnapshot) -> None:
        slot = 1 - self._slot
        head = await write_parts(bucket, snapshot, slot)
        try:
            revision = await bucket.update(REGISTRY_KEY, head, last=self._revision)
        except KeyWrongLastSequenceError:
            log.info("registry_published_by_another")
            return
        self.held, self._revision, self._head, self._slot = snapshot, revision, head, slot
        log.info("registry_published", block=snapshot.block_number, neurons=len(snapshot.neurons))

    async def _next_block(self) -> int:
        """Return the next snapshot number, for a source that has no block numbers. Each number must be larger
        than the one before, because followers ignore snapshots with lower numbers. If KV lost the number, it
        is read from the database."""
        newest = self.held
        if newest is None:
            async with self.database.connect() as connection:
                newest = await newest_snapshot(connection, self.network, self.netuid)
        return 1 if newest is None else newest.block_number + 1

    async def _recall(self) -> RegistrySnapshot | None:
        return await recall_from(self.database, self.network, self.netuid)()

    async def _bucket(self) -> KeyValue:
        try:
            return await self.jetstream.key_value(REGISTRY_BUCKET)
        except BucketNotFoundError:
            config = KeyValueConfig(bucket=REGISTRY_BUCKET, history=1, direct=True, replicas=self.replicas)
            return await self.jetstream.create_key_value(config)
