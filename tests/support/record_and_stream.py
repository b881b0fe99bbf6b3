"""Provides database and stream on real servers, for tests that delete data from one of them."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from schedulers.epochs.preparation import Preparer
from schedulers.epochs.seed_secrets import Secrets
from schedulers.stream.epoch_stream import EpochStream
from schedulers.stream.publisher import Publisher
from storage.database import epochs
from storage.database.epochs import StoredEpoch
from tests.support.lost_rows import lose_epochs_from
from tests.support.scheduling import FIRST, TRUST, preparer, upcoming
from zipcast.verification.epochs import Evidence, verify_epochs


def publisher(database: AsyncEngine, stream: EpochStream, secrets: Secrets = FIRST) -> Publisher:
    """Return the publisher of a replica that has just started."""
    return Publisher(preparer(database, secrets), stream, TRUST)


async def published(of: Preparer, stream: EpochStream, count: int) -> list[StoredEpoch]:
    """Prepare, publish and mark this many epochs."""
    side = Publisher(of, stream, TRUST)
    await side.open()
    stored = [await of.prepare(interval) for interval in upcoming(count)]
    for one in stored:
        await side.publish(one)
    return stored


async def lose_rows(database: AsyncEngine, first: StoredEpoch) -> None:
    """Restore the database to its state before this epoch, as from a backup."""
    async with database.begin() as connection:
        await lose_epochs_from(connection, first.epoch_id)


async def snapshot(database: AsyncEngine) -> dict[str, list[tuple[object, ...]]]:
    """Return everything that a restored database should have again. A message does not contain the times of
    writing and the import."""
    queries = {
        "epochs": "select epoch_id, start_at, end_at, status, target_listings, nonce, seed, secret_id,"
        " seed_commitment, candidate_pool_hash, message_sha256, published_at, stream_sequence from epochs",
        "epoch_assignments": "select epoch_id, zipcode, position, expected_listings from epoch_assignments",
        "epoch_messages": "select epoch_id, payload, signer, signature from epoch_messages",
        "epoch_inputs": "select epoch_id, inputs from epoch_inputs",
    }
    async with database.connect() as connection:
        return {
            table: [tuple(row) for row in (await connection.execute(text(f"{query} order by 1, 2"))).all()]
            for table, query in queries.items()
        }


async def verified(database: AsyncEngine) -> list[str]:
    """Verify all epochs of the database, and return the faults."""
    async with database.connect() as connection:
        ids = (await connection.execute(text("select epoch_id, seed from epochs"))).all()
        evidence = []
        for epoch_id, seed in ids:
            stored = await epochs.prepared_epoch(connection, epoch_id)
            evidence.append(Evidence(epoch_id, None if stored is None else stored.envelope, seed))
    return [fault for finding in verify_epochs(evidence, TRUST) for fault in finding.faults]


async def held(stream: EpochStream) -> list[tuple[str, int]]:
    """Return the ids and sequence numbers in the stream, oldest first."""
    found, recorded = [], await stream.last()
    while recorded is not None:
        found.append((recorded.epoch_id, recorded.sequence))
        recorded = await stream.before(recorded.sequence)
    return found[::-1]
