"""Tests epochs as subscribers of a running stack receive them."""

import asyncio
import hashlib
from itertools import pairwise

import pytest
import pytest_asyncio

from devstack.stack import Stack
from tests.support.people import client
from zipcast.client.client import ReceivedEpoch
from zipcast.client.local_stack import Ready
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.selection import seeds

PARTICIPANTS = [f"miner-{number}" for number in range(1, 9)] + ["validator-1", "validator-2"]


async def pushed(
    ready: Ready, name: str, count: int, first_ids: list[str], everybody_has_one: asyncio.Barrier
) -> list[ReceivedEpoch]:
    """Return the first `count` epochs that are pushed to this participant, beginning with the first epoch
    that all participants have."""
    received: list[ReceivedEpoch] = []
    async with client(ready, name) as connected:
        async for epoch in connected.epochs():
            if epoch.via != "push":
                continue
            if not received:
                first_ids.append(epoch.epoch.message.epoch_id)
                await everybody_has_one.wait()
            received.append(epoch)
            common = [item for item in received if item.epoch.message.epoch_id >= max(first_ids)]
            if len(common) == count:
                break
        assert connected.refused_messages == 0
    return common


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def everybody(stack: Stack) -> list[list[ReceivedEpoch]]:
    """Return three successive epochs as each participant received them."""
    first_ids: list[str] = []
    barrier = asyncio.Barrier(len(PARTICIPANTS))
    return await asyncio.gather(*(pushed(stack.ready, name, 3, first_ids, barrier) for name in PARTICIPANTS))


@pytest.fixture
def messages(everybody: list[list[ReceivedEpoch]]) -> list[EpochMessage]:
    return [item.epoch.message for item in everybody[0]]


def test_every_subscriber_has_the_same_signed_bytes_and_none_before_the_start(everybody):
    for received in zip(*everybody, strict=True):
        assert len({item.epoch.envelope for item in received}) == 1
        assert all(item.milliseconds_after_start >= 0 for item in received)


def test_epochs_follow_each_other_without_a_gap(messages: list[EpochMessage]):
    for earlier, later in pairwise(messages):
        assert later.epoch_start == earlier.epoch_end
        assert later.previous_epoch_id == earlier.epoch_id


def test_each_message_reveals_the_last_seed_and_keeps_the_promises_of_the_one_before(
    messages: list[EpochMessage],
):
    for earlier, later in pairwise(messages):
        assert later.seed_commitment == earlier.next_seed_commitment
        seed = bytes.fromhex(later.revealed_seed or "")
        assert hashlib.sha256(seed).hexdigest() == earlier.seed_commitment
        picked = seeds.selected_zipcodes_hash((z.zipcode, z.expected_listings) for z in earlier.zipcodes)
        start = int(earlier.epoch_start.timestamp())
        draw_seed = seeds.derive_draw_seed(seed, earlier.used_round())
        assert seeds.derive_nonce(draw_seed, earlier.epoch_id, start, picked) == earlier.nonce


def test_totals_are_within_tolerance(messages: list[EpochMessage]):
    for message in messages:
        total = sum(item.expected_listings for item in message.zipcodes)
        assert total == message.metadata.total_expected_listings
        tolerated = message.target_listings * message.tolerance_percent / 100
        assert abs(total - message.target_listings) <= tolerated


def test_no_zipcode_returns_during_its_cooldown(messages: list[EpochMessage]):
    chosen = [item.zipcode for message in messages for item in message.zipcodes]
    assert len(chosen) == len(set(chosen))


async def test_asking_for_the_running_epoch_gives_the_bytes_that_were_pushed(ready: Ready):
    async with client(ready, "miner-3") as connected:
        async for epoch in connected.epochs():
            if epoch.via == "push":
                assert (await connected.current()).envelope == epoch.epoch.envelope
                break
