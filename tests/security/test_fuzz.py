"""Sends fifty thousand malformed requests over NATS and HTTP. There must be no fault of the service, no hang
and no growth of memory, and good requests must get replies all the time.

Each case is made from SEED and its number (`malformed.py`), which a failure names.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg

from devstack.options import StackOptions
from devstack.stack import Stack
from service.http_server import ARRIVAL_SECONDS
from tests.support.long_epochs import amid_an_epoch
from tests.support.malformed import chooser, http_case, nats_case
from tests.support.operator_view import log_lines
from tests.support.people import ask, coldkey, keypair, legacy, raw_connection, signed_headers
from tests.support.processes import GENEROUS, wait_until
from tests.support.raw_http import connected, statuses
from tests.support.raw_nats import RawNats, proven
from zipcast.client.local_stack import Ready
from zipcast.protocol import btauth, signed_texts, subjects
from zipcast.protocol.errors import ERRORS
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.messages.base import HEADER_ERROR
from zipcast.protocol.verbs import MINER_VERBS, Verb

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

SEED = 1
OVER_NATS, OVER_HTTP = 17_000, 8_000
WARM_UP = 5_000
# The growth of a process that is allowed after its warm-up, about the size of its pools and histograms.
GROWTH_BYTES = 48 * 1024**2
AT_ONCE, HTTP_AT_ONCE = 100, 48
TIMEOUT_SECONDS = 20
FAULTS = {str(code) for code, meaning in ERRORS.items() if meaning.status >= 500}
CURRENT = "/api/v1/zipcode-assignments/current"
OURS = ("schedulers", "responder", "callout", "http_bridge", "nats")


def resident(ready: Ready) -> dict[str, int]:
    """Return the bytes in memory of each process."""
    found = {}
    for name in OURS:
        status = Path(f"/proc/{ready.pids[name]}/status").read_text()
        (kilobytes,) = re.findall(r"VmRSS:\s+([0-9]+) kB", status)
        found[name] = int(kilobytes) * 1024
    return found


class Fuzzer:
    """Sends cases to a stack as one of its miners."""

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.attacker, self.honest = keypair(ready, "miner-8"), keypair(ready, "miner-1")
        self.coldkey = coldkey(ready, "miner-8")
        self.asked_well = 0

    def signed_for_nats(self, subject: str, body: bytes) -> dict[str, str]:
        return signed_headers(self.ready, self.attacker, subject, body)

    def signed_for_http(self, target: str, body: bytes) -> dict[str, str]:
        return btauth.sign(
            self.attacker,
            method="POST",
            path=target,
            body=body,
            receiver=self.ready.signer,
            nonce_ns=time.time_ns(),
        )

    def good(self) -> dict[str, object]:
        """Return a body that would be accepted."""
        commitment = f"s3:data:access:{self.coldkey}:{self.attacker.ss58_address}:{{timestamp}}"
        return {"coldkey": self.coldkey, **legacy(self.attacker, commitment)}

    async def ask_well(self, http: httpx.AsyncClient, connection) -> None:
        answer = await http.get(CURRENT, params=legacy(self.honest, signed_texts.CURRENT_COMMITMENT))
        assert answer.status_code == 200, answer.text
        reply = await ask(self.ready, connection, self.honest, Verb.EPOCH_CURRENT, b"{}")
        assert b'"epochId"' in reply.data
        self.asked_well += 1

    async def throw_http(self, first: int, count: int) -> None:
        """Send this many cases, HTTP_AT_ONCE at a time."""
        numbers = iter(range(first, first + count))

        async def work() -> None:
            for number in numbers:
                await self._throw_one(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(HTTP_AT_ONCE):
                group.create_task(work())

    async def _throw_one(self, number: int) -> None:
        random = chooser(SEED, number)
        data = http_case(random, self.good, self.signed_for_http)
        heard = bytearray()
        try:
            async with (
                connected(self.ready) as (reader, writer),
                asyncio.timeout(ARRIVAL_SECONDS + TIMEOUT_SECONDS),
            ):
                writer.write(data)
                while part := await reader.read(65536):
                    heard += part
        except ConnectionError:
            pass  # the bridge closed the connection before it read everything
        except TimeoutError:
            pytest.fail(f"no end: HTTP case {SEED}:{number} {data[:200]!r}")
        faults = [status for status in statuses(bytes(heard)) if status >= 500]
        assert not faults, f"HTTP case {SEED}:{number} {data[:200]!r}: {heard[:500]!r}"


class NatsFuzzer:
    """Sends cases over one connection as raw bytes, and receives replies on another."""

    def __init__(self, fuzzer: Fuzzer, listening) -> None:
        self.fuzzer, self.listening = fuzzer, listening
        self.hotkey = parse_hotkey(fuzzer.attacker.ss58_address)
        self.subjects = [subjects.request(self.hotkey, verb) for verb in sorted(MINER_VERBS)]
        self.answers: dict[int, str] = {}

    async def listen(self) -> None:
        await self.listening.subscribe(f"_INBOX.{self.hotkey}.fuzz.>", cb=self._hear)
        await self.listening.flush()

    async def _hear(self, message) -> None:
        self.answers[int(message.subject.split(".")[3])] = (message.headers or {}).get(HEADER_ERROR, "")

    async def throw(self, first: int, count: int) -> None:
        """Send the cases in batches. Each batch must have its replies before the next one is sent."""
        async with proven(self.fuzzer.ready, self.fuzzer.attacker) as raw:
            for start in range(first, first + count, AT_ONCE):
                await self._batch(raw, range(start, min(start + AT_ONCE, first + count)))

    async def _batch(self, raw: RawNats, numbers: range) -> None:
        self.answers.clear()
        expected = set()
        data = bytearray(b"PONG\r\n")  # a PONG to a PING of the server, which may have sent one
        for number in numbers:
            inbox = f"_INBOX.{self.hotkey}.fuzz.{number}"
            case = nats_case(chooser(SEED, number), self.subjects, inbox, self.fuzzer.signed_for_nats)
            data += case.data
            if case.answered:
                expected.add(number)
        heard = await raw.said(bytes(data))
        assert b"PONG" in heard, f"nats-server hung up on one of {SEED}:{numbers}: {heard[-200:]!r}"
        await wait_until(lambda: expected <= set(self.answers), TIMEOUT_SECONDS)
        for number, error in self.answers.items():
            assert error not in FAULTS, f"NATS case {SEED}:{number}: {error}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def unlimited(tmp_path_factory) -> AsyncIterator[Stack]:
    """Run a stack with very high limits, whose epoch does not end during the test."""
    state = tmp_path_factory.mktemp("unlimited") / "state"
    async with amid_an_epoch(StackOptions(epoch_seconds=43_200, state=state, settings=GENEROUS)) as stack:
        yield stack


async def test_twenty_five_thousand_malformed_requests_change_nothing(unlimited: Stack):
    ready = unlimited.ready
    fuzzer = Fuzzer(ready)
    honest = await raw_connection(ready, fuzzer.honest)
    listening = await raw_connection(ready, fuzzer.attacker)
    over_nats = NatsFuzzer(fuzzer, listening)
    await over_nats.listen()
    pids, done = dict(ready.pids), asyncio.Event()

    async def ask_throughout() -> None:
        while not done.is_set():
            await fuzzer.ask_well(http, honest)
            await asyncio.sleep(0.05)

    async def throw_all() -> dict[str, int]:
        await asyncio.gather(fuzzer.throw_http(0, WARM_UP), over_nats.throw(0, WARM_UP))
        warm = resident(ready)
        await asyncio.gather(
            fuzzer.throw_http(WARM_UP, OVER_HTTP - WARM_UP), over_nats.throw(WARM_UP, OVER_NATS - WARM_UP)
        )
        done.set()
        return warm

    # Open a connection for each request, because a kept one may end while this busy process does other work.
    fresh = httpx.Limits(max_keepalive_connections=0)
    async with (
        httpx.AsyncClient(base_url=ready.http, limits=fresh, timeout=TIMEOUT_SECONDS) as http,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(ask_throughout())
        throwing = group.create_task(throw_all())
    grown = {name: now - throwing.result()[name] for name, now in resident(ready).items()}
    await asyncio.gather(honest.close(), listening.close())
    assert fuzzer.asked_well > 100
    assert unlimited.ready.pids == pids
    assert max(grown.values()) < GROWTH_BYTES, grown
    for process in ("responder", "http_bridge"):
        lines = log_lines(unlimited, process)
        assert not [line for line in lines if line["action"] in {"request_failed", "nats_disconnected"}]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def limited(tmp_path_factory) -> AsyncIterator[Ready]:
    """Run a stack with the limits of production."""
    state = tmp_path_factory.mktemp("limited") / "state"
    async with amid_an_epoch(StackOptions(epoch_seconds=43_200, state=state)) as stack:
        yield stack.ready


async def test_with_the_limits_of_production_a_flood_is_refused_to_the_flooder_alone(limited: Ready):
    elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    flooder = Fuzzer(limited)
    flooding, honest = (
        await raw_connection(limited, flooder.attacker),
        await raw_connection(limited, flooder.honest),
    )
    async with (
        httpx.AsyncClient(base_url=limited.http) as http,
        httpx.AsyncClient(base_url=limited.http, transport=elsewhere) as other,
    ):
        over_http = [(await http.get("/rate-limits")).status_code for _ in range(1_500)]
        over_nats = await answers_to_a_flood(limited, flooding, flooder.attacker)
        for _ in range(5):  # fewer than ten a minute, which is the limit of a hotkey
            await flooder.ask_well(other, honest)
        again = [await http.get("/rate-limits") for _ in range(1_500)]
        assert "rate_limited" in {answer.json().get("error") for answer in again}
    await asyncio.gather(flooding.close(), honest.close())
    assert over_http[:900] == [200] * 900
    assert 429 in over_http
    assert set(over_http) == {200, 429}
    assert set(over_nats) == {"malformed_request", "rate_limited"}


async def answers_to_a_flood(ready: Ready, connection: Client, signer: Keypair) -> list[str]:
    """Return the errors of the replies until one refuses because of the limit. Most of the other requests get
    no reply. They are so few that the hotkey is not kicked."""
    hotkey = parse_hotkey(signer.ss58_address)
    subject, inbox = subjects.request(hotkey, Verb.S3_MINER_UPLOAD), f"{subjects.inbox_prefix(hotkey)}.flood"
    errors: list[str] = []

    async def hear(answer: Msg) -> None:
        errors.append(str(json.loads(answer.data)["error"]))

    await connection.subscribe(inbox, cb=hear)
    for _ in range(900):
        headers = signed_headers(ready, signer, subject, b'{"epochId":7}')
        await connection.publish(subject, b'{"epochId":7}', reply=inbox, headers=headers)
    await wait_until(lambda: {"malformed_request", "rate_limited"} <= set(errors))
    return errors
