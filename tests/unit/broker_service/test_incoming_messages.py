"""Tests how messages are handled before they are parsed."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry

from broker_service.responder.incoming_messages import MAX_AT_ONCE_OF_ONE, HotkeyIntake
from broker_service.responder.metrics import ResponderMetrics
from service.nats_client import MutedSubjects, RawMessage
from tests.support.fakes import MINER_HOTKEY, VALIDATOR_HOTKEY, FakeClock
from zipcast.protocol import subjects
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.base import CALLER_OF_COPY, HEADER_CALLER
from zipcast.protocol.subjects import BRIDGE_HEALTH, bridge_request
from zipcast.protocol.verbs import Verb

PER_MINUTE = 300
BURST = 30


@dataclass
class FakeClient:
    """Keeps delivered messages and replies."""

    muted: MutedSubjects = field(default_factory=MutedSubjects)
    intake: object = None
    delivered: list[RawMessage] = field(default_factory=list)
    answers: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    async def deliver(self, message: RawMessage) -> bool:
        self.delivered.append(message)
        return message.data != b"unreadable"

    async def publish(self, to: str, body: bytes, headers: dict[str, str]) -> None:
        self.answers.append((to, json.loads(body)))


@dataclass
class FakeTrail:
    noted: list[dict[str, str]] = field(default_factory=list)

    def note(self, **stated: str) -> None:
        self.noted.append(stated)


class Side:
    def __init__(self) -> None:
        self.clock, self.client, self.trail = (
            FakeClock(datetime(2026, 11, 30, tzinfo=UTC)),
            FakeClient(),
            FakeTrail(),
        )
        self.measured = CollectorRegistry()
        self.intake = HotkeyIntake(
            self.client,  # type: ignore[arg-type]
            PER_MINUTE,
            self.clock,
            ResponderMetrics(self.measured),
            self.trail,  # type: ignore[arg-type]
        )

    async def send(self, message: RawMessage, times: int = 1) -> None:
        """Deliver a message as the client reads it. Messages on muted subjects do not reach the intake."""
        for _ in range(times):
            if not self.client.muted.drops(message.subject, self.clock.monotonic()):
                await self.intake.take(message)

    async def work(self) -> int:
        """Handle what may be handled now. Yields the number of messages handled so far."""
        running = asyncio.create_task(self.intake.run())
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return len(self.client.delivered)

    async def answer_all(self) -> int:
        """Reply to all messages until none is left."""
        answered = 0
        while await self.work() > answered:
            for message in self.client.delivered[answered:]:
                self.intake.done(parsed(message))
                answered += 1
        return answered


def direct(
    hotkey: Hotkey = MINER_HOTKEY, verb: Verb = Verb.EPOCH_CURRENT, reply: str | None = None
) -> RawMessage:
    inbox = f"{subjects.inbox_prefix(hotkey)}.x" if reply is None else reply
    return RawMessage(1, subjects.request(hotkey, verb).encode(), inbox.encode(), b"{}", b"")


def bridged(hotkey: Hotkey, verb: Verb = Verb.MINER_STATUS, mark: str = "") -> RawMessage:
    headers = f"NATS/1.0\r\n{HEADER_CALLER}: {hotkey}{mark}\r\n\r\n".encode()
    return RawMessage(2, bridge_request(verb).encode(), b"_INBOX.bridge.x", b"{}", headers)


def parsed(message: RawMessage) -> Msg:
    """Return the message as nats-py would deliver it."""
    lines = [line.split(": ") for line in message.headers.decode().split("\r\n")[1:] if line]
    return Msg(None, message.subject.decode(), message.reply.decode(), message.data, dict(lines) or None)  # type: ignore[arg-type]


async def test_a_hotkey_that_sends_too_many_is_refused_once_a_second_and_the_rest_is_dropped() -> None:
    side = Side()
    await side.send(direct(), 20_000)
    assert len(side.client.answers) == 1
    to, body = side.client.answers[0]
    assert (to, body["error"]) == (f"_INBOX.{MINER_HOTKEY}.x", "rate_limited")
    assert await side.answer_all() == BURST
    for _ in range(4):
        await side.clock.sleep(1.01)
        await side.send(direct(), 1000)
    assert len(side.client.answers) == 5
    assert [note["error"] for note in side.trail.noted] == ["rate_limited"] * 5
    assert side.measured.get_sample_value("zipcast_requests_dropped_total") > 20_000


async def test_no_minute_lets_more_of_one_hotkey_through_than_its_limit() -> None:
    side = Side()
    for _ in range(600):
        await side.send(direct(), 50)
        await side.answer_all()
        await side.clock.sleep(0.1)
    assert len(side.client.delivered) <= PER_MINUTE


async def test_its_flood_on_one_subject_counts_on_all_of_them() -> None:
    side = Side()
    await side.send(direct(), BURST)
    await side.send(direct(verb=Verb.MINER_STATUS))
    assert await side.answer_all() == BURST
    assert len(side.client.answers) == 1


async def test_another_hotkey_is_served_meanwhile_and_next() -> None:
    side = Side()
    await side.send(direct(), 20_000)
    await side.send(direct(VALIDATOR_HOTKEY))
    await side.work()
    owners = [subjects.named_owner(message.subject.decode()) for message in side.client.delivered]
    assert owners.count(MINER_HOTKEY) == MAX_AT_ONCE_OF_ONE
    assert VALIDATOR_HOTKEY in owners


async def test_bridged_requests_of_a_hotkey_count_apart_and_are_refused_each() -> None:
    """The bridge waits for each reply, and a stranger may repeat an overheard request there."""
    side = Side()
    await side.send(bridged(MINER_HOTKEY), BURST + 5)
    assert [to for to, _ in side.client.answers] == ["_INBOX.bridge.x"] * 5
    await side.send(direct())
    await side.send(bridged(VALIDATOR_HOTKEY))
    assert await side.answer_all() == BURST + 2


async def test_copies_of_a_bridged_request_use_up_nothing_of_its_sender() -> None:
    """A stranger repeats an overheard request. Limit, queue and places belong to the sender of the
    original."""
    side = Side()
    await side.send(bridged(MINER_HOTKEY, mark=CALLER_OF_COPY), BURST + 5)
    assert await side.work() == MAX_AT_ONCE_OF_ONE
    await side.send(bridged(MINER_HOTKEY), MAX_AT_ONCE_OF_ONE)
    assert await side.work() == 2 * MAX_AT_ONCE_OF_ONE
    assert len(side.client.answers) == 5
    assert await side.answer_all() == BURST + MAX_AT_ONCE_OF_ONE


async def test_health_waits_behind_nobody() -> None:
    side = Side()
    for number in range(3):
        await side.send(bridged(MINER_HOTKEY, list(Verb)[number]), BURST)
    await side.send(RawMessage(3, BRIDGE_HEALTH.encode(), b"_INBOX.bridge.x", b"{}", b""))
    await side.work()
    assert BRIDGE_HEALTH.encode() in [message.subject for message in side.client.delivered]


async def test_a_refusal_goes_to_the_senders_own_inbox_only() -> None:
    for reply in ("zipcast.v1.epoch", f"_INBOX.{VALIDATOR_HOTKEY}.x", "$JS.API.STREAM.PURGE.EPOCHS", ""):
        side = Side()
        await side.send(direct(reply=reply), BURST + 1)
        assert side.client.answers == []
    side = Side()
    hostile = direct()._replace(reply=b"\xff\xfe")
    await side.send(hostile, BURST + 1)
    assert side.client.answers == []


async def test_a_message_that_cannot_be_read_leaves_its_place() -> None:
    side = Side()
    await side.send(direct()._replace(data=b"unreadable"), MAX_AT_ONCE_OF_ONE)
    await side.send(direct())
    assert await side.work() == MAX_AT_ONCE_OF_ONE + 1


@pytest.mark.parametrize(
    "headers",
    [
        f"NATS/1.0\r\n{HEADER_CALLER}: {MINER_HOTKEY}\r\n{HEADER_CALLER}: {VALIDATOR_HOTKEY}\r\n\r\n",
        f"NATS/1.0\r\n{HEADER_CALLER}:  {MINER_HOTKEY}\r\n\r\n",
        f"NATS/1.0\r\n{HEADER_CALLER.lower()}: {MINER_HOTKEY}\r\n\r\n",
        f"NATS/1.0\r\n{HEADER_CALLER}: nobody\r\n\r\n",
        "NATS/1.0\r\n\r\n",
    ],
)
async def test_a_place_is_freed_however_a_bridges_headers_are_read(headers: str) -> None:
    """Otherwise the holder of the bridge's key could fill a verb's queue until the responder is restarted."""
    side = Side()
    message = bridged(MINER_HOTKEY)._replace(headers=headers.encode())
    for number in range(2 * MAX_AT_ONCE_OF_ONE):
        await side.send(message)
        assert await side.work() == number + 1
        side.intake.done(parsed(side.client.delivered[-1]))
        await side.clock.sleep(60)
    (queue,) = side.intake._queues.values()
    assert queue._in_work.total() == 0
