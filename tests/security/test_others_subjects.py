"""Tests that a registered hotkey reaches only its own subjects and its own inbox."""

import asyncio

import pytest
import pytest_asyncio

from tests.support.people import ask, keypair, quiet, raw_connection, signed_headers
from tests.support.processes import wait_until
from tests.support.raw_nats import RawNats, proven, publication, raw_nats
from zipcast.client.connection import Server, connect
from zipcast.client.local_stack import Ready
from zipcast.protocol import subjects
from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.verbs import Verb

DENIED = b"Permissions Violation"


def victim(ready: Ready) -> str:
    return keypair(ready, "validator-1").ss58_address


def forbidden_to_hear(ready: Ready) -> list[str]:
    hotkey = victim(ready)
    return [
        ">",
        "*",
        "*.>",
        "zipcast.>",
        "zipcast.v1.>",
        "zipcast.v1.*",
        "zipcast.v1.*.>",
        "zipcast.v1.*.*.*",
        f"zipcast.v1.{hotkey}.>",
        f"zipcast.v1.{hotkey}.s3.validator-upload",
        "zipcast.ingest.epoch",
        "zipcast.bridge.v1.>",
        "zipcast.admin.v1.>",
        "_INBOX.>",
        "_INBOX.*",
        "_INBOX.*.>",
        f"_INBOX.{hotkey}.>",
        f"_INBOX.{hotkey}.*",
        f"_INBOX.{hotkey}",
        "_INBOX.bridge.>",
        "_INBOX.responder.>",
        "_INBOX.schedulers.>",
        "$JS.>",
        "$JS.API.>",
        "$JS.EVENT.>",
        "$KV.>",
        "$KV.registry.>",
        "$SYS.>",
        "$SYS.REQ.USER.AUTH",
        "$SRV.>",
        "_R_.>",
    ]


def forbidden_to_say(ready: Ready) -> list[str]:
    hotkey, attacker = victim(ready), keypair(ready, "miner-6").ss58_address
    return [
        "zipcast.ingest.epoch",
        "zipcast.v1.epoch",
        f"zipcast.v1.{hotkey}.epoch.current",
        f"zipcast.v1.{hotkey}.s3.miner-upload",
        f"zipcast.v1.{hotkey}.s3.validator-upload",
        f"zipcast.v1.{hotkey}.auth.legacy",
        # The name of the hotkey on a subject for validators does not make it a validator.
        f"zipcast.v1.{attacker}.s3.validator-upload",
        f"zipcast.v1.{attacker}.s3.validator-read",
        f"zipcast.v1.{attacker}.s3.folder-access",
        f"zipcast.v1.{attacker}.epoch.current.more",
        "zipcast.bridge.v1.s3.folder-access",
        "zipcast.bridge.v1.s3.validator-upload",
        "zipcast.bridge.v1.health",
        "zipcast.admin.v1.x",
        f"_INBOX.{hotkey}.x",
        f"_INBOX.{attacker}.x",
        "_INBOX.bridge.x",
        "_INBOX.responder.x",
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.EPOCHS",
        "$JS.API.STREAM.PURGE.EPOCHS",
        "$JS.API.STREAM.DELETE.EPOCHS",
        "$JS.API.STREAM.MSG.GET.EPOCHS",
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.API.CONSUMER.CREATE.EPOCHS",
        "$JS.API.DIRECT.GET.KV_registry.$KV.registry.snapshot",
        "$KV.registry.snapshot",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.SERVER.ID.KICK",
        "$SYS.REQ.USER.AUTH",
        "$SYS.REQ.USER.INFO",
        "$SRV.PING",
    ]


async def test_no_subject_but_the_epochs_and_his_own_inbox_can_be_heard(ready: Ready):
    async with proven(ready, keypair(ready, "miner-6")) as raw:
        for subject in forbidden_to_hear(ready):
            for queue in ("", " responder", " callout"):
                heard = await raw.said(f"SUB {subject}{queue} 1\r\n".encode())
                refusal = f'{DENIED.decode()} for Subscription to "{subject}"'.encode()
                allowed = refusal not in heard and b"Invalid" not in heard
                assert not allowed, (subject, queue, heard)


async def test_no_subject_but_his_own_requests_can_be_published_to(ready: Ready):
    async with proven(ready, keypair(ready, "miner-6")) as raw:
        for subject in forbidden_to_say(ready):
            heard = await raw.said(publication(subject, b"{}"))
            assert f'{DENIED.decode()} for Publish to "{subject}"'.encode() in heard, (subject, heard)


async def test_the_nats_client_is_told_of_each_violation(ready: Ready):
    told: list[Exception] = []

    async def tell(error: Exception) -> None:
        told.append(error)

    connection = await connect(
        Server.parse(ready.nats),
        keypair(ready, "miner-6"),
        network=ready.network,
        netuid=ready.netuid,
        on_error=tell,
        on_close=quiet,
    )
    await connection.publish("zipcast.v1.epoch", b"canary")
    await connection.subscribe("_INBOX.>")
    await wait_until(lambda: len(told) == 2)
    await connection.close()
    assert all("permissions violation" in str(error).lower() for error in told)


@pytest_asyncio.fixture(loop_scope="session")
async def eavesdropper(ready: Ready):
    """Return an attacker who tried to subscribe to everything, and receives from now on."""
    async with proven(ready, keypair(ready, "miner-6")) as raw:
        subjects_ = "".join(f"SUB {one} {n}\r\n" for n, one in enumerate(forbidden_to_hear(ready), 1))
        await raw.said(subjects_.encode())
        yield raw


async def test_who_subscribed_to_everything_hears_nothing_of_a_victims_requests(
    ready: Ready, eavesdropper: RawNats
):
    signer = keypair(ready, "validator-1")
    connection = await raw_connection(ready, signer)
    own = await connection.subscribe(f"_INBOX.{signer.ss58_address}.canary")
    answer = await ask(ready, connection, signer, Verb.EPOCH_CURRENT, b"{}")
    subject = subjects.request(parse_hotkey(signer.ss58_address), Verb.EPOCH_CURRENT)
    headers = signed_headers(ready, signer, subject, b"{}")
    await connection.publish(subject, b"{}", reply=f"_INBOX.{signer.ss58_address}.canary", headers=headers)
    assert (await own.next_msg(5)).data
    heard = await eavesdropper.said(b"")
    await connection.close()
    assert answer.data
    assert b"MSG" not in heard, heard


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.API.STREAM.PURGE.EPOCHS",
        "$JS.API.STREAM.DELETE.EPOCHS",
        "$JS.API.STREAM.MSG.GET.EPOCHS",
        "zipcast.v1.epoch",
        "zipcast.ingest.epoch",
        "$KV.registry.snapshot",
        "_INBOX.bridge.canary",
        "_INBOX.schedulers.canary",
        "_INBOX.{victim}.canary",
        "_INBOX.{victim}.>",
        "_INBOX.>",
        "_INBOX.*.canary",
        "zipcast.v1.{victim}.epoch.current",
        "zipcast.bridge.v1.s3.folder-access",
        "$SYS.REQ.SERVER.PING",
    ],
)
@pytest.mark.parametrize("verb", [Verb.EPOCH_CURRENT, Verb.S3_MINER_UPLOAD])
async def test_a_reply_subject_leads_the_responder_nowhere(ready: Ready, reply: str, verb: Verb):
    """Neither a reply nor a refusal goes there: the stream gets no message, and subscribers get none."""
    attacker, target = keypair(ready, "miner-6"), keypair(ready, "validator-1")
    watching = await raw_connection(ready, target)
    inbox = await watching.subscribe(f"_INBOX.{target.ss58_address}.>")
    epochs = await watching.subscribe(subjects.EPOCH)
    await watching.flush()
    subject = subjects.request(parse_hotkey(attacker.ss58_address), verb)
    reply = reply.format(victim=target.ss58_address)
    async with proven(ready, attacker) as raw:
        for body in (b"{}", b"{"):
            headers = signed_headers(ready, attacker, subject, body)
            await raw.said(publication(subject, body, reply=reply.encode(), headers=headers))
    # The same responder replied to this request after the hostile ones, so it has handled them.
    connection = await raw_connection(ready, attacker)
    assert (await ask(ready, connection, attacker, verb, b"{}")).data
    await watching.flush()
    received = [*_waiting(inbox), *_waiting(epochs)]
    await asyncio.gather(connection.close(), watching.close())
    # Epochs that started meanwhile were signed, and came through the stream.
    assert all("Nats-Sequence" in (message.headers or {}) for message in received), received


def _waiting(subscription) -> list:
    queue = subscription._pending_queue
    return [queue.get_nowait() for _ in range(queue.qsize())]


async def test_a_miner_does_not_take_part_in_answering(ready: Ready):
    """A member of the responder's queue group would get other hotkeys' requests."""
    async with proven(ready, keypair(ready, "miner-6")) as raw:
        heard = await raw.said(b"SUB zipcast.v1.*.epoch.current responder 1\r\n")
        assert DENIED in heard
        signer = keypair(ready, "validator-1")
        connection = await raw_connection(ready, signer)
        for _ in range(10):
            assert (await ask(ready, connection, signer, Verb.EPOCH_CURRENT, b"{}")).data
        await connection.close()
        assert b"MSG" not in await raw.said(b"")


async def test_ten_thousand_subscriptions_cost_the_connection_only(ready: Ready):
    hotkey = keypair(ready, "miner-6").ss58_address
    async with proven(ready, keypair(ready, "miner-6")) as raw:
        flood = "".join(f"SUB _INBOX.{hotkey}.{n} {n}\r\n" for n in range(1, 10_001))
        heard = await raw.said(flood.encode())
    assert b"maximum subscriptions exceeded" in heard.lower(), heard[-300:]
    connection = await raw_connection(ready, keypair(ready, "miner-5"))
    assert (await ask(ready, connection, keypair(ready, "miner-5"), Verb.EPOCH_CURRENT, b"{}")).data
    await connection.close()


async def test_a_connection_that_is_never_proven_is_closed(ready: Ready):
    """Open two hundred TCP connections without CONNECT: nats-server closes each, and lets others in
    meanwhile."""

    async def hold() -> None:
        async with raw_nats(ready) as raw:
            heard = await asyncio.wait_for(raw.reader.read(65536), 10)
            assert b"Authentication Timeout" in heard

    async with asyncio.TaskGroup() as holding:
        for _ in range(200):
            holding.create_task(hold())
        for _ in range(3):
            connection = await raw_connection(ready, keypair(ready, "miner-5"))
            await connection.close()
