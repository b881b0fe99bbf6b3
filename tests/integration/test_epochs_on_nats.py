"""Epochs as subscribers of a running stack see them."""

import asyncio
import hashlib

from tests.integration.people import client
from zipcast import fairness
from zipcast.client import ReceivedEpoch
from zipcast.ready import Ready


async def pushed(ready: Ready, name: str, count: int) -> list[ReceivedEpoch]:
    """The next `count` epochs that are pushed to one participant."""
    received = []
    async with client(ready, name) as connected:
        async for epoch in connected.epochs():
            if epoch.via == "push":
                received.append(epoch)
            if len(received) == count:
                break
        assert connected.refused_messages == 0
    return received


async def test_every_subscriber_has_the_same_signed_bytes_once_and_none_before_the_start(ready: Ready):
    names = [f"miner-{number}" for number in range(1, 9)] + ["validator-1", "validator-2"]
    everybody = await asyncio.gather(*(pushed(ready, name, 2) for name in names))
    for received in zip(*everybody, strict=True):
        assert len({item.epoch.envelope for item in received}) == 1
        assert all(item.milliseconds_after_start >= 0 for item in received)
    first, second = everybody[0]
    assert second.epoch.message.epoch_start == first.epoch.message.epoch_end


async def test_each_message_reveals_the_last_seed_and_keeps_the_promises_of_the_one_before(ready: Ready):
    first, second, third = [item.epoch.message for item in await pushed(ready, "miner-1", 3)]
    assert second.previous_epoch_id == first.epoch_id
    assert second.seed_commitment == first.next_seed_commitment
    assert second.revealed_seed is not None
    seed = bytes.fromhex(second.revealed_seed)
    assert hashlib.sha256(seed).hexdigest() == first.seed_commitment
    picked = fairness.selected_zipcodes_hash((z.zipcode, z.expected_listings) for z in first.zipcodes)
    start = int(first.epoch_start.timestamp())
    assert fairness.derive_nonce(seed, first.epoch_id, start, picked) == first.nonce
    assert third.revealed_seed != second.revealed_seed


async def test_totals_are_within_tolerance_and_no_zipcode_returns_during_its_cooldown(ready: Ready):
    messages = [item.epoch.message for item in await pushed(ready, "miner-2", 3)]
    for message in messages:
        total = sum(item.expected_listings for item in message.zipcodes)
        assert total == message.metadata.total_expected_listings
        assert (
            abs(total - message.target_listings) * 100 <= message.target_listings * message.tolerance_percent
        )
    chosen = [item.zipcode for message in messages for item in message.zipcodes]
    assert len(chosen) == len(set(chosen))


async def test_asking_for_the_running_epoch_gives_the_bytes_that_were_pushed(ready: Ready):
    async with client(ready, "miner-3") as connected:
        async for epoch in connected.epochs():
            if epoch.via == "push":
                assert (await connected.current()).envelope == epoch.epoch.envelope
                break
