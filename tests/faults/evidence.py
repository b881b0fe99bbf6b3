"""Reads what database and stream contain at the end of a run."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import nats
from nats.js import JetStreamContext
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from devstack.beacon_relay import stand_in_signature
from devstack.servers import Servers
from schedulers.stream.epoch_stream import EpochStream
from schedulers.stream.sealed_stream import SealedStream
from storage.database.tables import Epoch, EpochMessage
from tests.faults.observations import RecordRow, StreamEntry
from zipcast.protocol.envelope import Trust, UnverifiedEnvelope
from zipcast.protocol.sealing import open_sealed
from zipcast.protocol.subjects import service_inbox_prefix


@asynccontextmanager
async def _jetstream(servers: Servers) -> AsyncIterator[JetStreamContext]:
    """Return JetStream with the rights of the service user `schedulers`."""
    seed = servers.keys["schedulers"]["SCHEDULERS_NATS_SEED"]
    inbox = service_inbox_prefix("schedulers")
    connection = await nats.connect(servers.nats_url, nkeys_seed_str=seed, inbox_prefix=inbox)
    try:
        yield connection.jetstream(timeout=2)
    finally:
        await connection.close()


@asynccontextmanager
async def open_stream(servers: Servers) -> AsyncIterator[EpochStream]:
    """Return the stream of epochs."""
    async with _jetstream(servers) as jetstream:
        yield EpochStream(jetstream)


async def read_seals(
    servers: Servers, trust: Trust, stream: Sequence[StreamEntry]
) -> list[UnverifiedEnvelope]:
    """Return the content of the sealed epochs that belong to the stream's epochs."""
    found: list[UnverifiedEnvelope] = []
    async with _jetstream(servers) as jetstream:
        seals = SealedStream(jetstream, trust)
        for entry in stream:
            sealed = await seals.held(entry.envelope.epoch_id)
            if sealed is not None:
                signature = stand_in_signature(sealed.round_number)
                found.append(open_sealed(sealed, signature, trust).envelope)
    return found


async def read_stream(servers: Servers) -> list[StreamEntry]:
    """Return all messages of the stream, oldest first."""
    found: list[StreamEntry] = []
    async with open_stream(servers) as stream:
        held = await stream.last()
        while held is not None:
            found.append(StreamEntry(held.sequence, held.stored_at, held.envelope))
            held = await stream.before(held.sequence)
    return found[::-1]


async def read_record(database: AsyncEngine) -> list[RecordRow]:
    """Return every epoch of the database, oldest first."""
    async with database.connect() as connection:
        messages = (await connection.execute(select(EpochMessage.__table__))).all()
        query = select(Epoch.epoch_id, Epoch.status, Epoch.stream_sequence, Epoch.message_sha256)
        epochs = (await connection.execute(query.order_by(Epoch.start_at))).all()
    stored: defaultdict[str, dict[str, UnverifiedEnvelope]] = defaultdict(dict)
    for row in messages:
        envelope = UnverifiedEnvelope(bytes(row.payload), row.signer, row.signature, row.epoch_id)
        stored[row.epoch_id][row.message_sha256] = envelope
    return [
        RecordRow(
            row.epoch_id,
            row.status,
            row.stream_sequence,
            tuple(stored[row.epoch_id].values()),
            stored[row.epoch_id].get(row.message_sha256 or ""),
        )
        for row in epochs
    ]
