"""Tests in which order the callout replies to requests, and which get no reply."""

import asyncio
import base64
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from nats.errors import NoServersError
from nats.js.errors import APIError
from prometheus_client import CollectorRegistry

from access.source_addresses import parse_networks
from broker_service.callout import decision
from broker_service.callout.address_limits import AddressLimits
from broker_service.callout.connections import Connections, Kick
from broker_service.callout.decision import Decider
from broker_service.callout.metrics import CalloutMetrics
from broker_service.callout.refusal_log import RefusalLog
from broker_service.callout.request_queue import MAX_SPENDING, MAX_WAITING, Callout
from broker_service.callout.used_passwords import SpentPasswords
from service.token_buckets import Buckets, Rate
from tests.support.callout_requests import (
    NOW,
    SERVER_BOX,
    claims,
    exchange,
    opened,
    read_token,
    sealed,
    token,
)
from tests.support.fakes import MINER, MINER_HOTKEY, STRANGER_HOTKEY, FakeClock, registry
from zipcast.protocol import signed_texts

NONCE = claims()["nats"]["client_info"]["nonce"]


@dataclass
class FakeMessage:
    data: bytes
    reply: str
    headers: dict[str, str] = field(default_factory=lambda: {"Nats-Server-Xkey": SERVER_BOX.public})


@dataclass
class FakeConnection:
    """Keeps the replies, by reply subject, in order."""

    answers: dict[str, bytes] = field(default_factory=dict)

    async def publish(self, reply: str, answer: bytes) -> None:
        self.answers[reply] = answer


class FakeReconciler:
    def __init__(self) -> None:
        self.kicked: list[Kick] = []

    async def kick(self, kicks: list[Kick]) -> None:
        self.kicked += kicks


class FakeBucket:
    """Has the spent passwords. It does not reply before the test allows it."""

    def __init__(self) -> None:
        self.go_on, self.fault, self.asked = asyncio.Event(), None, 0

    async def publish(self, subject: str, headers: dict[str, str]) -> None:
        self.asked += 1
        await self.go_on.wait()
        if self.fault is not None:
            raise self.fault


class Side:
    """A callout whose parts are all real, except nats-server."""

    def __init__(self, *, burst: float = 100_000, per_hotkey: int = 10) -> None:
        self.clock = FakeClock(datetime.fromtimestamp(NOW, UTC))
        self.nats, self.bucket, self.reconciler = FakeConnection(), FakeBucket(), FakeReconciler()
        spent = SpentPasswords(self.bucket)  # type: ignore[arg-type]
        self.measured = CollectorRegistry()
        rate = Rate(burst, 0.001)
        self.callout = Callout(
            connection=self.nats,  # type: ignore[arg-type]
            exchange=exchange(),
            limits=AddressLimits(rate, rate),
            decider=Decider(registry(), "test", 46, ("loopback",), require_unspent=spent.require_unspent),
            spent=spent,
            connections=Connections(per_hotkey),
            reconciler=self.reconciler,  # type: ignore[arg-type]
            clock=self.clock,
            metrics=CalloutMetrics(self.measured),
            refusals=RefusalLog(self.clock),
            proven=Buckets(Rate(burst, 0.001)),
        )

    async def ask(self, reply: str, *, host: str = "192.0.2.7", ago: int = 0, **offered: str) -> None:
        stated: dict[str, Any] = claims(**offered)
        stated["iat"] = NOW - ago
        stated["nats"]["client_info"] |= {"host": host, "id": len(reply)}
        await self.callout.take(FakeMessage(sealed(token(stated)), reply))  # type: ignore[arg-type]

    async def work(self) -> list[str]:
        """Handle all requests. Yields the replies in their order."""
        running = asyncio.create_task(self.callout.run())
        for _ in range(50):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return list(self.nats.answers)

    def refusal(self, reply: str) -> str:
        return str(opened(self.nats.answers[reply])["nats"].get("error", ""))

    def counted(self, name: str, **labels: str) -> float:
        return self.measured.get_sample_value(name, labels) or 0.0


def by_nonce() -> dict[str, str]:
    text = signed_texts.connection_text("test", 46, "loopback", MINER_HOTKEY, NONCE)
    return {"auth_token": MINER_HOTKEY, "sig": base64.b64encode(MINER.sign(text)).decode()}


def by_password(at: int = NOW) -> dict[str, str]:
    text = signed_texts.connection_at_text("test", 46, "loopback", MINER_HOTKEY, at)
    return {"user": MINER_HOTKEY, "pass": f"{at}.{MINER.sign(text).hex()}"}


async def test_the_newest_question_is_answered_first() -> None:
    side = Side()
    for reply in "abc":
        await side.ask(reply, auth_token=STRANGER_HOTKEY)
    assert await side.work() == ["c", "b", "a"]


async def test_a_grant_names_the_role_and_is_counted_as_a_connection() -> None:
    side = Side()
    await side.ask("a", **by_nonce())
    await side.work()
    user = read_token(opened(side.nats.answers["a"])["nats"]["jwt"])
    assert user["name"] == f"miner.{MINER_HOTKEY}"
    assert len(side.callout.connections) == 1


async def test_one_connection_too_many_has_the_oldest_kicked() -> None:
    side = Side(per_hotkey=1)
    for reply in ("a", "bb"):
        await side.ask(reply, **by_nonce())
        await side.work()
        side.clock.wall += timedelta(seconds=1)
    assert [kick.connection.place.client_id for kick in side.reconciler.kicked] == [1]


async def test_a_question_is_answered_for_as_long_as_nats_server_waits_for_it() -> None:
    side = Side()
    await side.ask("a", **by_nonce())
    await side.clock.sleep(1.6)
    assert await side.work() == ["a"]


async def test_a_question_that_nats_server_has_given_up_gets_no_answer() -> None:
    side = Side()
    await side.ask("a", **by_nonce())
    await side.clock.sleep(1.8)
    await side.ask("b", **by_nonce())
    assert await side.work() == ["b"]
    assert side.counted("zipcast_callout_requests_stale_total") == 1


async def test_what_the_server_asked_long_ago_comes_last_and_is_answered_all_the_same() -> None:
    """A wrong clock makes every request look old. This must not keep anyone out."""
    side = Side()
    await side.ask("young", auth_token=STRANGER_HOTKEY)
    await side.ask("old", ago=4, auth_token=STRANGER_HOTKEY)
    await side.ask("ancient", ago=4000, auth_token=STRANGER_HOTKEY)
    assert await side.work() == ["young", "ancient", "old"]


async def test_beyond_its_limit_an_address_gets_no_answer_and_another_does() -> None:
    side = Side(burst=2)
    for reply in ("a", "b", "c"):
        await side.ask(reply, auth_token=STRANGER_HOTKEY)
    await side.ask("d", host="192.0.2.8", **by_nonce())
    assert await side.work() == ["d", "c", "b"]
    assert side.counted("zipcast_callout_requests_limited_total", reason="attempts") == 1


async def test_false_proofs_close_an_address_and_refusals_without_proof_do_not() -> None:
    side = Side(burst=3)
    side.callout.limits.attempts = Rate(100, 1)
    for number in range(9):
        await side.ask(f"unregistered-{number}", auth_token=STRANGER_HOTKEY)
    await side.work()
    assert len(side.nats.answers) == 9
    forged = by_nonce() | {"sig": "A" * 86}
    for number in range(9):
        await side.ask(f"forged-{number}", **forged)
    await side.work()
    assert len(side.nats.answers) == 9 + 3
    assert side.counted("zipcast_callout_requests_limited_total", reason="failures") == 6


async def test_room_for_waiting_questions_is_limited_and_the_oldest_go() -> None:
    side = Side()
    await side.ask("first", auth_token=STRANGER_HOTKEY)
    for number in range(MAX_WAITING):
        await side.callout.take(FakeMessage(b"", str(number)))  # type: ignore[arg-type]
    assert side.counted("zipcast_callout_requests_stale_total") == 1


async def test_a_question_of_no_server_of_ours_gets_no_answer() -> None:
    side = Side()
    await side.callout.take(FakeMessage(b"junk", "a"))  # type: ignore[arg-type]
    assert await side.work() == []
    assert side.counted("zipcast_callout_requests_malformed_total") == 1


async def test_others_do_not_wait_for_a_password_on_its_way_to_the_bucket() -> None:
    side = Side()
    await side.ask("password", **by_password())
    await side.work()
    await side.ask("nonce", **by_nonce())
    assert await side.work() == ["nonce"]
    side.bucket.go_on.set()
    assert await side.work() == ["nonce", "password"]
    assert side.refusal("password") == ""


UNSPENT = {
    "password used twice": APIError(code=400, err_code=10071),
    "passwords unavailable": NoServersError(),
}


@pytest.mark.parametrize("reason", UNSPENT)
async def test_a_password_that_cannot_be_spent_is_refused(reason: str) -> None:
    side = Side()
    side.bucket.fault = UNSPENT[reason]
    side.bucket.go_on.set()
    await side.ask("a", **by_password())
    await side.work()
    assert side.refusal("a") == reason
    assert len(side.callout.connections) == 0


@pytest.mark.parametrize("is_spent_here", [True, False])
async def test_a_spent_password_costs_its_hotkey_nothing_however_often_it_comes(is_spent_here: bool) -> None:
    """A stranger repeats an overheard password from many addresses. It may have been spent at another
    callout."""
    side = Side(per_hotkey=1000)
    side.callout.proven = Buckets(Rate(3, 0.001))
    side.bucket.go_on.set()
    if not is_spent_here:
        side.bucket.fault = UNSPENT["password used twice"]
    with patch.object(decision, "signature_is_valid", wraps=decision.signature_is_valid) as verified:
        for number in range(100):
            await side.ask(f"{number}", host=f"192.0.2.{number}", **by_password())
            await side.work()
    assert (side.bucket.asked, verified.call_count) == (1, 1)
    assert {side.refusal(f"{number}") for number in range(1, 100)} == {"password used twice"}
    for number in range(2):
        await side.ask(f"own-{number}", host="198.51.100.1", **by_nonce())
        await side.work()
        assert side.refusal(f"own-{number}") == ""


async def test_copies_of_a_password_that_is_being_spent_take_no_places() -> None:
    side = Side()
    for number in range(2 * MAX_SPENDING):
        await side.ask(f"{number}", **by_password())
        await side.work()
    assert side.bucket.asked == 1
    side.bucket.go_on.set()
    await side.work()
    assert side.refusal("0") == ""


async def test_a_password_that_could_not_be_spent_may_come_again() -> None:
    side = Side()
    side.bucket.fault = UNSPENT["passwords unavailable"]
    side.bucket.go_on.set()
    await side.ask("a", **by_password())
    await side.work()
    side.bucket.fault = None
    await side.ask("b", **by_password())
    await side.work()
    assert side.refusal("b") == ""


async def test_no_more_passwords_are_on_their_way_than_the_most() -> None:
    side = Side()
    for number in range(MAX_SPENDING + 1):
        await side.ask(f"{number}", **by_password(NOW + number - MAX_SPENDING // 2))
        await side.work()
    assert side.refusal(str(MAX_SPENDING)) == "passwords unavailable"
    assert len(side.nats.answers) == 1
    await side.callout.close()


async def test_a_hotkey_that_is_kept_out_is_told_so_once_a_second_before_any_cryptography() -> None:
    side = Side()
    side.callout.decider = replace(side.callout.decider, seconds_kept_out=lambda _: 120.0)
    for number in range(5):
        await side.ask(f"{number}", **by_nonce() | {"sig": "A" * 86})
    assert await side.work() == ["4"]
    assert "until 2026-" in side.refusal("4")
    assert side.counted("zipcast_connections_refused_total", reason="kept_out") == 5
    await side.clock.sleep(1)
    await side.ask("later", **by_nonce())
    assert await side.work() == ["4", "later"]
    assert len(side.callout.connections) == 0


async def test_other_hotkeys_get_in_while_one_is_kept_out() -> None:
    side = Side()
    side.callout.decider = replace(
        side.callout.decider, seconds_kept_out=lambda hotkey: 120.0 * (hotkey == STRANGER_HOTKEY)
    )
    await side.ask("a", **by_nonce())
    await side.work()
    assert side.refusal("a") == ""


async def test_a_hotkey_that_proves_itself_too_often_gets_no_answer() -> None:
    side = Side()
    side.callout.proven = Buckets(Rate(3, 1))
    for number in range(5):
        await side.ask(f"{number}", host=f"192.0.2.{number}", **by_nonce())
    await side.work()
    assert len(side.nats.answers) == 3
    assert side.counted("zipcast_callout_requests_limited_total", reason="hotkey") == 2


async def test_false_proofs_through_a_trusted_proxy_do_not_keep_a_proven_hotkey_out() -> None:
    side = Side(burst=5)
    rates = Rate(5, 0.001)
    side.callout.limits = AddressLimits(
        rates, rates, proxies=parse_networks("192.0.2.7"), proxy=Rate(1000, 1)
    )
    side.callout.proven = Buckets(Rate(100, 1))
    for number in range(50):
        await side.ask(f"forged-{number}", **by_nonce() | {"sig": "A" * 86})
        await side.work()
    for number in range(15):
        await side.ask(f"honest-{number}", **by_nonce())
        await side.work()
    answered = [reply.partition("-")[0] for reply in side.nats.answers]
    assert (answered.count("forged"), answered.count("honest")) == (5, 15)
