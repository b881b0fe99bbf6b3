"""Tests that requests to JetStream with any reply subject cannot make a reply an epoch, the registry or a
client's request."""

import pytest
from pydantic import SecretStr

from broker_service.callout.used_passwords import SpentPasswords
from devstack.stack import Stack
from schedulers.stream.epoch_stream import EpochStream
from service import nats_connection
from service.lifecycle import Lifecycle
from tests.support.fakes import MINER_HOTKEY
from tests.support.people import client, keypair
from zipcast.protocol import subjects
from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.verbs import Verb

REGISTRY_PART = "$KV.registry.snapshot.1.0"
READS_IT = f"$JS.API.DIRECT.GET.KV_{subjects.REGISTRY_BUCKET}.{REGISTRY_PART}"
# The asking user, its key and the request. The reply is a part of the registry, or a receipt.
ASKERS = {
    "bridge-follow": ("bridge", "BRIDGE_FOLLOW_NATS_SEED", READS_IT),
    "responder-follow": ("responder", "RESPONDER_FOLLOW_NATS_SEED", READS_IT),
    "callout-follow": ("callout", "CALLOUT_FOLLOW_NATS_SEED", "$KV.spent_passwords.5HotKey.1"),
}


@pytest.mark.parametrize("user", ASKERS)
async def test_no_answer_of_jetstream_leaves_the_account_of_who_asked(stack: Stack, user: str):
    process, name, subject = ASKERS[user]
    servers, life = stack.servers, Lifecycle(None)
    asker = await nats_connection.connect(
        servers.nats_url, user=user, seed=SecretStr(servers.keys[process][name]), life=life
    )
    seed = SecretStr(servers.keys["schedulers"]["SCHEDULERS_NATS_SEED"])
    scheduler = await nats_connection.connect(servers.nats_url, user="schedulers", seed=seed, life=life)
    life.stop()
    if user == "callout-follow":
        await SpentPasswords(asker.jetstream(timeout=10)).spend(MINER_HOTKEY, 1)  # creates the bucket
    # A request to the intended subject gets a reply.
    assert (await asker.request(subject, b"", timeout=10)).data
    replies = (subjects.EPOCH_INGEST, subjects.EPOCH_REBUILD, REGISTRY_PART)
    for reply in replies:
        await asker.publish(subject, b"", reply=reply)
    victim = parse_hotkey(keypair(stack.ready, "miner-1").ss58_address)
    for _ in range(2_000):  # more than its own requests may be
        await asker.publish(subject, b"", reply=subjects.request(victim, Verb.EPOCH_CURRENT))
    await asker.flush()
    async with client(stack.ready, "miner-1") as miner:
        assert (await miner.current()).message.epoch_id
        pushed = await anext(one async for one in miner.epochs() if one.via == "push")
    epochs = EpochStream(scheduler.jetstream(timeout=2))
    newest = await epochs.last()
    assert newest is not None
    assert newest.epoch_id >= pushed.epoch.message.epoch_id
    stream = await scheduler.jetstream().stream_info(subjects.EPOCH_STREAM)
    for number in range(stream.state.first_seq, stream.state.last_seq + 1):
        stored = await scheduler.jetstream().get_msg(subjects.EPOCH_STREAM, number)
        assert (stored.headers or {}).keys() >= {"Nats-Msg-Id"}, stored
    await asker.close()
    await scheduler.close()
